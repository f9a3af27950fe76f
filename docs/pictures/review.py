"""Draws the picture of the sheet on which a person decides:

    .venv/bin/python docs/pictures/review.py docs/pictures/review.png

Makes a small workbook, runs `rowfleet local` on it with a recipe that has two checks, exports the
review and fills in some of it. Needs `soffice` and `pdftoppm`.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import openpyxl

HEADER = ("Vendor", "Invoice Number", "Date", "Description", "Amount", "Tax")
OFFICE = "Brightwell Office Supply"
ROWS = (
    ("Atelier Lumière SARL", "FAC-434", "2026-01-02", "Brochure layout", 236.28, 47.26),
    (OFFICE, "BW-793", "2026-01-05", "Toner cartridges", 2_865.31, 243.55),
    ("Harbourline Freight Ltd", "HLF-844", "2026-01-09", "Customs", 421.78, 184.36),
    (OFFICE, "BW-793", "2026-01-15", "Toner cartridges", 2_865.31, 243.55),
    ("Meridian Travel Group", "MTG-803", "2026-01-17", "Rail tickets, cancelled", 921.12, 184.22),
    ("Kestrel Cloud Services", "KCS-259", "2026-01-22", "Premium support", 600, 210),
)
CHECKS = """
checks:
  - name: large
    that: answer.estimated_refund < 1000.0
    message: a refund of 1,000 or more is signed by a person
  - name: plain-tax
    that: answer.basis != "excess_tax"
    message: excess tax is looked at by a person
"""
#: What the person writes into the first rows: decision, corrections by header, note.
DECIDED = (
    ("approve", {}, "paid twice, see both invoices"),
    ("correct", {"Correction AI_Estimated_Refund": 84.36}, "100 is ours: a fee"),
)
#: The columns that the picture leaves out.
LEFT_OUT = re.compile(
    r"Earlier_Decision|Review_Key|Date|Invoice Number|Tax|.*(Explanation|Confidence|Eligible)"
)
#: The part of the page that is not blank, in pixels.
CUT = ("-x", "0", "-y", "0", "-W", "1640", "-H", "110")


def main(out: Path) -> None:
    """Make the workbook, decide a part of its review, and write the picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        book = openpyxl.Workbook()
        sheet = book.worksheets[0]
        for row in (HEADER, *ROWS):
            sheet.append(row)
        book.save(folder / "invoices.xlsx")
        environment = {**os.environ, "XDG_STATE_HOME": str(folder)}

        def rowfleet(*arguments: str) -> str:
            command = [sys.executable, "-m", "submitter", *arguments]
            done = subprocess.run(
                command, cwd=folder, env=environment, check=True, stdout=subprocess.PIPE, text=True
            )
            return done.stdout

        rowfleet("recipes", "copy", "invoice-refunds", "audit.yaml")
        with (folder / "audit.yaml").open("a", encoding="utf-8") as recipe:
            recipe.write(CHECKS)
        asked = ("--recipe", "audit.yaml", "--analyzer", "rules", "--batch-id", "january")
        rowfleet("local", "invoices.xlsx", *asked)
        rowfleet("review", "january", "--export", "review.xlsx")
        _decide(folder / "review.xlsx")
        soffice = ["soffice", f"-env:UserInstallation=file://{folder}/profile", "--headless"]
        convert = ["--convert-to", "pdf", "--outdir", folder, folder / "review.xlsx"]
        subprocess.run([*soffice, *convert], check=True)
        draw = ["pdftoppm", "-png", "-r", "150", "-singlefile", *CUT, folder / "review.pdf"]
        subprocess.run([*draw, out.with_suffix("")], check=True)


def _decide(path: Path) -> None:
    book = openpyxl.load_workbook(path)
    for other in book.sheetnames[:-1]:
        book.remove(book[other])
    sheet = book["AI_Review"]
    columns = {str(cell.value): cell for cell in sheet[1]}
    for number, (decision, corrections, note) in enumerate(DECIDED, 2):
        written = {"Decision": decision, "Reviewer": "Eva", "Note": note, **corrections}
        for header, value in written.items():
            sheet.cell(number, columns[header].column, value)
    for header, cell in columns.items():
        if LEFT_OUT.fullmatch(header):
            sheet.column_dimensions[cell.column_letter].hidden = True
    sheet.page_setup.orientation = "landscape"
    sheet.page_setup.fitToHeight = 1
    sheet.sheet_properties.pageSetUpPr = openpyxl.worksheet.properties.PageSetupProperties(
        fitToPage=True
    )
    margins = sheet.page_margins
    margins.left = margins.right = margins.top = margins.bottom = 0.1
    sheet.print_options.gridLines = True
    book.save(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
