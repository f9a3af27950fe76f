"""Small sheets for tests."""

from __future__ import annotations

import datetime
from itertools import zip_longest
from pathlib import Path

import openpyxl

#: Number formats of eight currencies and of a percentage, and what each shows of 102.
CURRENCIES = {
    '"£"#,##0.00': "£102.00",
    "[$$-409]#,##0.00": "$102.00",
    "#,##0.00\\ [$€-407]": "102.00 €",
    '"¥"#,##0': "¥102",
    "[$CHF-807]\\ #,##0.00": "CHF 102.00",
    '#,##0.00" kr"': "102.00 kr",
    '"₹"#,##0.00': "₹102.00",
    '_("R$"* #,##0.00_);_("R$"* \\(#,##0.00\\);_("R$"* "-"??_);_(@_)': "R$102.00",
    "0.0%": "10200.0%",
}
DATE_FORMATS = ("dd/mm/yyyy", "mm/dd/yyyy", "yyyy\\-mm\\-dd", "d\\ mmmm\\ yyyy")

HEADER = ["Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax"]


def invoices(path: Path, rows: int, *, prefix: str = "INV") -> Path:
    """Write a sheet of invoices the default recipe can read, each with a number of its own."""
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    assert sheet is not None
    sheet.append(HEADER)
    for number in range(rows):
        day = datetime.date(2026, 1, 1) + datetime.timedelta(days=number % 28)
        sheet.append([f"Vendor {number % 7}", f"{prefix}-{number}", day, "Paper", 100 + number, 8])
    workbook.save(path)
    return path


def mixed_formats(path: Path) -> Path:
    """Write a sheet whose amounts are each in another currency, and whose dates in four formats."""
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    sheet.append(HEADER)
    for number, code in enumerate(CURRENCIES):
        sheet.append(["Acme", f"INV-{number}", datetime.date(2026, 3, 4), "Paper", 102, number])
        sheet.cell(number + 2, 3).number_format = DATE_FORMATS[number % 4]
        sheet.cell(number + 2, 5).number_format = code
    workbook.save(path)
    return path


def results(path: Path) -> list[dict[str, object]]:
    """Read a finished sheet back: one mapping from header to value per row."""
    workbook = openpyxl.load_workbook(path, read_only=True)
    header, *rows = workbook.worksheets[0].iter_rows(values_only=True)
    return [dict(zip_longest(map(str, header), row)) for row in rows]
