"""Make a sheet and the two dozen invoices that it names, with seeded contradictions between them.

    python examples/make_invoices.py

Each row of ``Refunds_with_Invoices.xlsx`` is one line of an invoice in ``invoices/``. Beside them
``refunds_with_invoices_defects.json`` says which rows contradict their invoice: row number, from 0
below the header → kind of contradiction. The same files are made every time, but pictures differ by
the version of the libraries that draw them.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from invoice_files import Invoice, Line, on_paper
from make_master_refunds import VENDORS, Vendor, cents, write_sheet

HERE = Path(__file__).resolve().parent

#: Any other seed makes other invoices.
SEED = 20250320

#: First day of an invoice; one follows every few days.
FIRST = date(2025, 2, 3)


@dataclass(frozen=True)
class Row:
    """A row of the sheet; the fields are its columns, in their order."""

    Vendor: str
    Invoice_Number: str
    Date: date
    Description: str
    Quantity: int
    Unit_Price: Decimal
    Amount: Decimal
    Tax_Rate: Decimal
    Tax: Decimal
    Total: Decimal
    Currency: str
    Payment_Date: date
    Invoice_File: str


#: Column → width in characters, and the number format of its cells.
COLUMNS = {
    "Vendor": (30, "General"),
    "Invoice_Number": (16, "@"),
    "Date": (12, "yyyy-mm-dd"),
    "Description": (36, "General"),
    "Quantity": (10, "0"),
    "Unit_Price": (12, "#,##0.00"),
    "Amount": (14, "#,##0.00"),
    "Tax_Rate": (10, "0.00%"),
    "Tax": (12, "#,##0.00"),
    "Total": (14, "#,##0.00"),
    "Currency": (10, "General"),
    "Payment_Date": (14, "yyyy-mm-dd"),
    "Invoice_File": (34, "General"),
}


def row_of(invoice: Invoice, line: Line, file: str) -> Row:
    """Return the row that agrees with a line of its invoice."""
    return priced(
        Row(
            Vendor=invoice.vendor.name,
            Invoice_Number=invoice.number,
            Date=invoice.day,
            Description=line.description,
            Quantity=line.quantity,
            Unit_Price=line.price,
            Amount=Decimal(0),
            Tax_Rate=invoice.tax_rate,
            Tax=Decimal(0),
            Total=Decimal(0),
            Currency=invoice.currency,
            Payment_Date=invoice.day + timedelta(days=21),
            Invoice_File=file,
        )
    )


def priced(row: Row) -> Row:
    """Return ``row`` with figures that agree with each other: without the invoice all is well."""
    amount = row.Quantity * row.Unit_Price
    tax = cents(amount * row.Tax_Rate)
    return replace(row, Amount=amount, Tax=tax, Total=amount + tax)


def _another_number(invoice: Invoice) -> Invoice:
    number = int(invoice.number.removeprefix(invoice.vendor.prefix))
    return replace(invoice, number=f"{invoice.vendor.prefix}{number + 1:05}")


#: Kind of contradiction → what it does to a row that agrees with its invoice.
IN_THE_ROW: dict[str, Callable[[Row], Row]] = {
    "quantity_above_invoice": lambda row: priced(replace(row, Quantity=row.Quantity + 2)),
    "price_above_invoice": lambda row: priced(
        replace(row, Unit_Price=cents(row.Unit_Price * Decimal("1.15")))
    ),
    "tax_rate_above_invoice": lambda row: priced(
        replace(row, Tax_Rate=row.Tax_Rate + Decimal("0.05"))
    ),
    "another_currency": lambda row: replace(
        row, Currency="EUR" if row.Currency == "GBP" else "GBP"
    ),
}

#: Kind of contradiction → what it does to an invoice that agrees with its row.
IN_THE_INVOICE: dict[str, Callable[[Invoice], Invoice]] = {
    "line_not_on_invoice": lambda invoice: replace(invoice, lines=invoice.lines[1:]),
    "another_invoice": _another_number,
    # Only a reader sees this one; no figure is wrong.
    "goods_returned": lambda invoice: replace(
        invoice,
        notes=("All goods of this invoice were returned on arrival.", "A credit note will follow."),
    ),
}


@dataclass(frozen=True)
class Plan:
    """A file to make: its kind, how many lines it has, and how rows contradict it."""

    suffix: str
    lines: int = 2
    #: Row, counted within the invoice's lines → its contradiction. A row is made for each key.
    rows: dict[int, str | None] = field(default_factory=lambda: {0: None})
    #: How the pages are put on paper: digital, scanned or mixed.
    paper: str = "digital"


PLANS = (
    Plan("pdf"),
    Plan("pdf", rows={0: "quantity_above_invoice"}),
    Plan("png", paper="scanned"),
    Plan("pdf", lines=3, rows={0: None, 2: None}),
    Plan("pdf", lines=60, rows={44: "quantity_above_invoice"}),
    Plan("docx", rows={0: "tax_rate_above_invoice"}),
    Plan("pdf"),
    Plan("pdf", paper="scanned", rows={0: "price_above_invoice"}),
    Plan("eml", rows={0: "price_above_invoice"}),
    Plan("pdf", rows={0: "another_invoice"}),
    Plan("tiff", paper="scanned", lines=30, rows={27: None}),
    Plan("pdf", rows={0: "goods_returned"}),
    Plan("pdf"),
    Plan("html"),
    Plan("pdf", rows={0: "line_not_on_invoice"}),
    Plan("jpg", paper="scanned", rows={0: "quantity_above_invoice"}),
    Plan("pdf", paper="mixed", lines=30, rows={1: None, 26: "price_above_invoice"}),
    Plan("txt"),
    Plan("pdf", rows={0: "another_currency"}),
    Plan("pdf"),
    Plan("pdf", paper="scanned"),
    Plan("pdf", rows={0: "tax_rate_above_invoice"}),
    Plan("pdf"),
    Plan("pdf", lines=4, rows={3: None}),
)


def make_invoice(rng: random.Random, vendor: Vendor, number: int, day: date, lines: int) -> Invoice:
    """Return an invoice of ``lines`` lines, no two with the same description and figures."""
    made: list[Line] = []
    while len(made) < lines:
        description, low, high = vendor.goods[len(made) % len(vendor.goods)]
        if len(made) >= len(vendor.goods):
            description = f"{description}, site {len(made) // len(vendor.goods) + 1}"
        price = Decimal(rng.randint(low * 100, high * 100)) / 100
        made.append(Line(description, rng.randint(2, vendor.most_units), price))
    return Invoice(
        vendor,
        f"{vendor.prefix}{number:05}",
        day,
        tuple(made),
        vendor.tax_rate,
        vendor.currency,
    )


def make(folder: Path) -> tuple[list[Row], dict[int, str]]:
    """Write the invoices into ``folder``; return the rows, and row → contradiction."""
    rng = random.Random(SEED)
    rows: list[Row] = []
    contradictions = {}
    for at, plan in enumerate(PLANS):
        vendor = VENDORS[at % len(VENDORS)]
        invoice = make_invoice(
            rng, vendor, 1100 + 7 * at, FIRST + timedelta(days=4 * at), plan.lines
        )
        said = invoice
        for kind in plan.rows.values():
            said = IN_THE_INVOICE.get(str(kind), lambda same: same)(said)
        slug = vendor.name.split()[0].lower()
        file = f"{slug}/{invoice.number}.{plan.suffix}"
        (folder / slug).mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(on_paper(rng, said, plan.suffix, plan.paper))
        for line, kind in plan.rows.items():
            if kind:
                contradictions[len(rows)] = kind
            agreed = row_of(invoice, invoice.lines[line], file)
            rows.append(IN_THE_ROW.get(str(kind), lambda same: same)(agreed))
    return rows, contradictions


def main() -> None:
    """Write the sheet, the invoices and the list of contradictions."""
    parser = argparse.ArgumentParser(description="Make a sheet and the invoices it names.")
    parser.add_argument("--out", type=Path, default=HERE)
    folder = parser.parse_args().out
    rows, contradictions = make(folder / "invoices")
    sheet = folder / "Refunds_with_Invoices.xlsx"
    write_sheet(sheet, COLUMNS, rows, len(rows))
    listed = folder / f"{sheet.stem.lower()}_defects.json"
    listed.write_text(json.dumps(contradictions, indent=1) + "\n")
    print(f"{sheet}: {len(rows)} rows, {len(PLANS)} files, {len(contradictions)} contradictions")


if __name__ == "__main__":
    main()
