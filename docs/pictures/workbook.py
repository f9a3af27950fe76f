"""Draw a finished workbook as LibreOffice shows it, for the page about finished workbooks.

    .venv/bin/python docs/pictures/workbook.py docs/pictures/workbook.png

Makes a small workbook with a title, a filter, currencies, a validation, a chart and a second sheet,
runs `rowfleet local` on it, and needs `soffice` and `pdftoppm`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from datetime import date
from pathlib import Path

import xlsxwriter

HEADER = ("Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax", "Checked")
OFFICE = "Brightwell Office Supply"
ROWS = (
    ("Atelier Lumière SARL", "FAC-434", date(2026, 1, 2), "Brochure layout", 236.28, 47.26, "yes"),
    (OFFICE, "BW-793", date(2026, 1, 5), "Toner cartridges", 2_865.31, 243.55, "yes"),
    ("Harbourline Freight Ltd", "HLF-844", date(2026, 1, 9), "Customs", 421.78, 84.36, "no"),
    (OFFICE, "BW-793", date(2026, 1, 15), "Toner cartridges", 2_865.31, 243.55, "yes"),
    ("Meridian Travel Group", "MTG-803", date(2026, 1, 17), "Rail tickets", 921.12, 184.22, "yes"),
    ("Kestrel Cloud Services", "KCS-259", date(2026, 1, 22), "Premium support", 600, 0, "no"),
)
EURO, DOLLAR, POUND = ("[$€-407] #,##0.00", "[$$-409]#,##0.00", "[$£-809]#,##0.00")
CURRENCIES = (EURO, DOLLAR, POUND, DOLLAR, POUND, DOLLAR)


#: The part of the page that is not blank, in pixels.
CUT = ("-x", "0", "-y", "0", "-W", "1540", "-H", "270")


def main(out: Path) -> None:
    """Make the workbook, finish it, and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _make(folder / "invoices.xlsx")
        command = [sys.executable, "-m", "submitter", "local", "invoices.xlsx"]
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}
        subprocess.run([*command, "--analyzer", "rules"], cwd=folder, env=environment, check=True)
        soffice = ["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless"]
        finished = folder / "invoices.results.xlsx"
        convert = ["--convert-to", "pdf", "--outdir", folder, finished]
        subprocess.run([*soffice, *convert], check=True)
        draw = ["pdftoppm", "-png", "-r", "140", "-singlefile", *CUT, finished.with_suffix(".pdf")]
        subprocess.run([*draw, out.with_suffix("")], check=True)


def _make(path: Path) -> None:
    book = xlsxwriter.Workbook(path)
    sheet = book.add_worksheet("Invoices")
    title = book.add_format({"bold": True, "font_size": 16, "font_color": "#1F4E78"})
    head = book.add_format({"bold": True, "bg_color": "#1F4E78", "font_color": "#FFFFFF"})
    sheet.merge_range("A1:G1", "Invoices of January", title)
    sheet.write_row(2, 0, HEADER, head)
    day = book.add_format({"num_format": "dd.mm.yyyy"})
    for row, (cells, code) in enumerate(zip(ROWS, CURRENCIES, strict=True), 3):
        money = book.add_format({"num_format": code})
        for column, cell in enumerate(cells):
            style = day if column == 2 else money if column in (4, 5) else None
            sheet.write(row, column, cell, style)
    sheet.autofilter(2, 0, 2 + len(ROWS), len(HEADER) - 1)
    sheet.data_validation(3, 6, 2 + len(ROWS), 6, {"validate": "list", "source": ["yes", "no"]})
    red = book.add_format({"bg_color": "#FFC7CE"})
    rule = {"type": "cell", "criteria": "==", "value": '"no"', "format": red}
    sheet.conditional_format(3, 6, 2 + len(ROWS), 6, rule)
    for columns, width in (("A:A", 27), ("B:B", 15), ("C:C", 11), ("D:D", 18), ("E:G", 11)):
        sheet.set_column(columns, width)
    chart = book.add_chart({"type": "column"})
    chart.add_series({"values": "=Invoices!$E$4:$E$9", "categories": "=Invoices!$B$4:$B$9"})
    chart.set_legend({"none": True})
    sheet.insert_chart("A12", chart, {"x_scale": 1.2, "y_scale": 0.7})
    sheet.set_landscape()
    sheet.fit_to_pages(1, 1)
    sheet.set_margins(0.2, 0.2, 0.2, 0.2)
    book.add_worksheet("Notes").write("A1", "Audited by Eva")
    book.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
