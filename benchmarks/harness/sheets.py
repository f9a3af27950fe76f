"""Sheets of any size to measure with: invoices as Excel saves them, made in seconds."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import escape

#: Where sheets are kept between runs; `make clean` removes it.
FOLDER = Path(__file__).parents[2] / "build" / "bench"

HEADER = (
    *("Vendor", "Invoice_Number", "PO_Number", "Date", "Due_Date", "Category", "Description"),
    *("Quantity", "Unit_Price", "Amount", "Tax_Rate", "Tax", "Total", "Currency", "Notes"),
)
#: Style of each column: 0 General, 1 a date, 2 an amount.
_STYLES = (0, 0, 0, 1, 1, 0, 0, 0, 2, 2, 0, 2, 2, 0, 0)
_CATEGORIES = ("Facilities", "Marketing", "IT", "Travel", "Legal", "Office", "Freight")
_NOTES = ("paid twice?", "credit note expected", "returned on the 3rd & not refunded", "see mail")
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006"
_MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def rows(count: int) -> Iterator[list[str | float | None]]:
    """Yield the cells of ``count`` invoices, the same ones each time. Dates are Excel's numbers."""
    chance = random.Random(7)
    vendors = [f"Vendor {n} {chance.choice(('GmbH', 'Ltd', 'S.A.', 'Inc.'))}" for n in range(400)]
    for number in range(count):
        quantity, price = chance.randrange(1, 40), round(chance.uniform(2, 900), 2)
        day, rate = 45658 + number % 365, chance.choice((0.07, 0.19, 0.2))
        amount = round(quantity * price, 2)
        tax = round(amount * rate, 2)
        yield [
            *(
                chance.choice(vendors),
                f"INV-{number:07d}",
                f"PO-{chance.randrange(90_000) + 10_000}",
            ),
            *(day, day + 30, chance.choice(_CATEGORIES)),
            f"{chance.choice(_CATEGORIES)} service no. {chance.randrange(5_000)}, as agreed",
            *(quantity, price, amount, rate, tax, round(amount + tax, 2)),
            chance.choice(("EUR", "USD", "GBP")),
            chance.choice(_NOTES) if number % 4 == 0 else None,
        ]


def typed_rows(count: int) -> Iterator[list[str | float | datetime | None]]:
    """Yield the same with dates as dates."""
    first = datetime(1899, 12, 30)
    for cells in rows(count):
        yield [
            first + timedelta(days=float(cell)) if style == 1 and cell is not None else cell
            for cell, style in zip(cells, _STYLES, strict=True)
        ]


def master(count: int) -> Path:
    """Return a workbook of ``count`` invoices with 15 columns, made if it is not there yet."""
    path = FOLDER / f"master-{count}.xlsx"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as package:
            _write(package, count)
        unfinished.rename(path)
    return path


def _write(package: zipfile.ZipFile, count: int) -> None:
    strings: dict[str, int] = {}
    used = 0
    with package.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
        head = f'{_XML}<worksheet {_MAIN}><dimension ref="A1:O{count + 1}"/><cols>'
        head += '<col min="1" max="15" width="16.7109375" customWidth="1"/></cols><sheetData>'
        sheet.write(head.encode())
        sheet.write(_row(1, list(HEADER), strings).encode())
        for row, cells in enumerate(rows(count), 2):
            sheet.write(_row(row, cells, strings).encode())
            used += sum(isinstance(cell, str) for cell in cells)
        sheet.write(b"</sheetData></worksheet>")
    with package.open("xl/sharedStrings.xml", "w") as part:
        part.write(f'{_XML}<sst {_MAIN} count="{used + 15}" uniqueCount="{len(strings)}">'.encode())
        for text in strings:
            part.write(f"<si><t>{escape(text)}</t></si>".encode())
        part.write(b"</sst>")
    for name, content in _PARTS.items():
        package.writestr(name, _XML + content)


def _row(row: int, cells: list[str | float | None], strings: dict[str, int]) -> str:
    parts = [f'<row r="{row}" spans="1:15">']
    for column, (cell, style) in enumerate(zip(cells, _STYLES, strict=True)):
        start = f'<c r="{chr(65 + column)}{row}"' + (f' s="{style}"' if style and row > 1 else "")
        if isinstance(cell, str):
            parts.append(f'{start} t="s"><v>{strings.setdefault(cell, len(strings))}</v></c>')
        elif cell is not None:
            parts.append(f"{start}><v>{cell!r}</v></c>")
    return "".join([*parts, "</row>"])


_PARTS = {
    "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
    '<Default Extension="rels" '
    'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    + "".join(
        f'<Override PartName="/xl/{part}.xml" ContentType="application/vnd.'
        f'openxmlformats-officedocument.spreadsheetml.{kind}+xml"/>'
        for part, kind in (
            ("workbook", "sheet.main"),
            ("worksheets/sheet1", "worksheet"),
            ("styles", "styles"),
            ("sharedStrings", "sharedStrings"),
        )
    )
    + "</Types>",
    "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
    f'Type="{_OFFICE}/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook {_MAIN} xmlns:r="{_OFFICE}/relationships"><sheets>'
    '<sheet name="Refunds" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{_PACKAGE}/relationships">'
    + "".join(
        f'<Relationship Id="rId{number}" Type="{_OFFICE}/relationships/{kind}" Target="{target}"/>'
        for number, (kind, target) in enumerate(
            (
                ("worksheet", "worksheets/sheet1.xml"),
                ("styles", "styles.xml"),
                ("sharedStrings", "sharedStrings.xml"),
            ),
            1,
        )
    )
    + "</Relationships>",
    "xl/styles.xml": f'<styleSheet {_MAIN}><numFmts count="1">'
    '<numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd"/></numFmts>'
    '<fonts count="1"><font><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill>'
    '<fill><patternFill patternType="gray125"/></fill></fills>'
    '<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3"><xf/>'
    '<xf numFmtId="164" applyNumberFormat="1"/><xf numFmtId="4" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>'
    "</styleSheet>",
}
