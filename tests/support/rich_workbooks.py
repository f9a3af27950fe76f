"""Workbooks with what people have in theirs: made by XlsxWriter, one feature or more in each.

The table of each is on the sheet `Invoices`; `HEADER_ROW` says where, from 0.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from datetime import date, datetime, time
from io import BytesIO
from pathlib import Path
from typing import Any

import xlsxwriter

from tests.support.pivots import Invoice, add_pivots

HEADER = ("Vendor", "Invoice", "Date", "Amount", "Paid")
ROWS = 12

#: Where the pivot tables are: below the table, and on a sheet of their own.
PIVOT_PLACES = ("A20:B24", "A3:B7")

Maker = Callable[[xlsxwriter.Workbook, Any], int]

#: The name of a workbook → what makes it; it returns the row of the header, from 0.
MAKERS: dict[str, Maker] = {}


def made(folder: Path, name: str) -> tuple[Path, int]:
    """Make a workbook and return it, and the row of its header."""
    suffix = ".xlsm" if name == "macros" else ".xlsx"
    path = folder / f"{name}{suffix}"
    options: dict[str, Any] = {"strings_to_urls": False}
    if name == "date_1904":
        options["date_1904"] = True
    if name == "constant_memory":
        options["constant_memory"] = True
    book = xlsxwriter.Workbook(path, options)
    sheet = book.add_worksheet("Invoices")
    header_row = MAKERS[name](book, sheet)
    book.close()
    if name == "pivots":
        add_pivots(path, "A1:E13", invoices(), PIVOT_PLACES)
    return path, header_row


def workbook(maker: Maker) -> Maker:
    MAKERS[maker.__name__] = maker
    return maker


def invoices() -> list[Invoice]:
    """Return the rows of the table."""
    return [
        (
            f"Vendor {number % 3} & Söhne",
            f"INV-{number:04d}",
            date(2026, 1, 1 + number),
            100.25 + number,
            number % 2 == 0,
        )
        for number in range(ROWS)
    ]


def table(book: Any, sheet: Any, top: int = 0, left: int = 0) -> None:
    """Write the header and the rows."""
    day = book.add_format({"num_format": "dd.mm.yyyy"})
    money = book.add_format({"num_format": "[$€-407] #,##0.00;[Red]-[$€-407] #,##0.00"})
    bold = book.add_format({"bold": True, "bg_color": "#1F4E78", "font_color": "#FFFFFF"})
    sheet.write_row(top, left, HEADER, bold)
    for row, (vendor, invoice, of, amount, paid) in enumerate(invoices(), top + 1):
        sheet.write(row, left, vendor)
        sheet.write(row, left + 1, invoice)
        sheet.write(row, left + 2, of, day)
        sheet.write(row, left + 3, amount, money)
        sheet.write(row, left + 4, paid)


@workbook
def plain(book: Any, sheet: Any) -> int:
    table(book, sheet)
    return 0


@workbook
def chart_beside_and_on_a_sheet(book: Any, sheet: Any) -> int:
    table(book, sheet)
    for kind in ("column", "line", "pie"):
        chart = book.add_chart({"type": kind})
        chart.add_series({"values": "=Invoices!$D$2:$D$13", "categories": "=Invoices!$A$2:$A$13"})
        sheet.insert_chart(20, 1, chart)
    only = book.add_chart({"type": "bar"})
    only.add_series({"values": "=Invoices!$D$2:$D$13"})
    book.add_chartsheet("Chart").set_chart(only)
    return 0


@workbook
def images(book: Any, sheet: Any) -> int:
    table(book, sheet, top=4)
    sheet.insert_image("A1", "logo.png", {"image_data": BytesIO(png()), "description": "Our logo"})
    sheet.set_header("&L&G", {"image_left": "logo.png", "image_data_left": BytesIO(png())})
    sheet.set_background(BytesIO(png()))
    sheet.embed_image("C30", "in.png", {"image_data": BytesIO(png())})
    return 4


@workbook
def excel_table(book: Any, sheet: Any) -> int:
    table(book, sheet, top=2, left=1)
    columns = [{"header": name} for name in HEADER]
    columns[3] |= {"total_function": "sum"}
    place = (2, 1, 2 + ROWS + 1, 5)
    sheet.add_table(*place, {"name": "Invoices", "columns": columns, "total_row": True})
    return 2


@workbook
def two_tables(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.add_table(0, 0, ROWS, 4, {"columns": [{"header": name} for name in HEADER]})
    table(book, sheet, left=7)
    sheet.add_table(0, 7, ROWS, 11, {"columns": [{"header": f"{name} 2"} for name in HEADER]})
    return 0


@workbook
def pivots(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sums: dict[str, float] = {}
    for vendor, _, _, amount, _ in invoices():
        sums[vendor] = sums.get(vendor, 0) + amount
    lines = [("Row Labels", "Sum of Amount"), *sums.items(), ("Grand Total", sum(sums.values()))]
    for each, place in zip((sheet, book.add_worksheet("Sums")), PIVOT_PLACES, strict=True):
        top = int(place[1 : place.index(":")]) - 1
        for number, line in enumerate(lines):
            each.write_row(top + number, 0, line)
    return 0


@workbook
def comments(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.write_comment("B3", "Ask Ms Müller", {"author": "Eva", "visible": True})
    sheet.write_comment("G3", "A note where an answer comes")
    return 0


@workbook
def validations_and_conditional_formats(book: Any, sheet: Any) -> int:
    table(book, sheet)
    red = book.add_format({"bg_color": "#FFC7CE"})
    sheet.data_validation("E2:E13", {"validate": "list", "source": ["yes", "no"]})
    sheet.data_validation("D2:D13", {"validate": "decimal", "criteria": ">", "value": 0})
    sheet.conditional_format(
        "D2:D13", {"type": "cell", "criteria": ">", "value": 105, "format": red}
    )
    sheet.conditional_format("D2:D13", {"type": "data_bar", "data_bar_2010": True})
    sheet.conditional_format("D2:D13", {"type": "icon_set", "icon_style": "3_arrows"})
    sheet.conditional_format("D2:D13", {"type": "3_color_scale"})
    return 0


@workbook
def sparklines(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.write("F1", "Trend")
    for row in range(1, ROWS + 1):
        sheet.add_sparkline(row, 5, {"range": f"Invoices!A{row + 1}:D{row + 1}"})
    return 0


@workbook
def names_and_print_set_up(book: Any, sheet: Any) -> int:
    table(book, sheet, top=3)
    book.define_name("Net", "=Invoices!$D$5:$D$16")
    book.define_name("Invoices!Local", "=Invoices!$A$1")
    sheet.print_area("A1:E20")
    sheet.repeat_rows(3)
    sheet.set_landscape()
    sheet.set_h_pagebreaks([8])
    sheet.set_footer("&CPage &P of &N")
    sheet.merge_range(
        "A1:E2", "Invoices of 2026", book.add_format({"bold": True, "align": "center"})
    )
    return 3


@workbook
def protected(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.protect("secret", {"sort": True})
    sheet.unprotect_range("D2:D13")
    sheet.ignore_errors({"number_stored_as_text": "B2:B13"})
    return 0


@workbook
def date_1904(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.write(
        1, 2, datetime(2026, 5, 4, 12, 30), book.add_format({"num_format": "yyyy-mm-dd hh:mm"})
    )
    sheet.write(2, 2, time(7, 8), book.add_format({"num_format": "hh:mm"}))
    return 0


@workbook
def several_sheets(book: Any, sheet: Any) -> int:
    first = book.add_worksheet("Sümmary & more")
    table(book, sheet)
    table(book, first, left=2)
    first.write_formula("A20", "=SUM(Invoices!D2:D13)", None, 1269)
    hidden = book.add_worksheet("Hidden")
    hidden.hide()
    hidden.write("A1", "internal")
    book.add_worksheet("Very hidden").very_hidden()
    return 0


@workbook
def autofilter_with_hidden_rows(book: Any, sheet: Any) -> int:
    table(book, sheet, top=1)
    sheet.autofilter(1, 0, 1 + ROWS, 4)
    sheet.filter_column("A", 'x == "Vendor 1 & Söhne"')
    for row in range(2, ROWS + 2):
        if (row - 2) % 3 != 1:
            sheet.set_row(row, options={"hidden": True})
    sheet.freeze_panes(2, 1)
    return 1


@workbook
def hidden_and_grouped_columns(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.set_column("B:C", 20, None, {"level": 1})
    sheet.set_column("D:D", 14, book.add_format({"bg_color": "#EEEEEE"}))
    sheet.set_column("F:XFD", None, None, {"hidden": True})
    sheet.set_default_row(18)
    sheet.set_row(3, 40, book.add_format({"italic": True}), {"level": 1, "collapsed": False})
    return 0


@workbook
def hyperlinks_and_merged_cells(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.write_url("B2", "https://example.com/a?b=1&c=2", string="INV-0000", tip="Open it")
    sheet.write_url("B3", "internal:Invoices!A1", string="INV-0001")
    sheet.merge_range("A15:F16", "Checked by", None)
    return 0


@workbook
def rich_strings_and_phonetics(book: Any, sheet: Any) -> int:
    table(book, sheet)
    bold, red = book.add_format({"bold": True}), book.add_format({"font_color": "red"})
    sheet.write_rich_string("A2", "This is ", bold, "bold", " and ", red, "red  ")
    sheet.write_string("A3", "line one\nline two", book.add_format({"text_wrap": True}))
    sheet.write_string("A4", "_x0041_ & <b> \x0b \U0001f600")
    sheet.write_rich_string("E1", bold, "Pa", "id")
    return 0


@workbook
def formulas(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.write("F1", "Total")
    for row in range(2, ROWS + 2):
        sheet.write_formula(f"F{row}", f'=IF(D{row}>105,D{row}*1.19,"<small>")', None, 1)
    sheet.write_array_formula("A20:A22", "{=D2:D4*2}", None, 200.5)
    sheet.write_dynamic_array_formula("C20", "=SORT(D2:D5)", None, 100.25)
    sheet.write_formula("D15", "=SUM(D2:D13)", None, 1269)
    return 0


@workbook
def macros(book: Any, sheet: Any) -> int:
    table(book, sheet)
    book.add_vba_project(BytesIO(b"\xd0\xcf\x11\xe0 a project of macros" * 40), True)
    sheet.insert_button("G3", {"macro": "check", "caption": "Check"})
    return 0


@workbook
def shapes_and_checkboxes(book: Any, sheet: Any) -> int:
    table(book, sheet)
    sheet.insert_textbox("B20", "Please look at row 4", {"fill": {"color": "yellow"}})
    sheet.insert_checkbox("B18", True)
    sheet.set_tab_color("green")
    sheet.outline_settings(True, False, True, False)
    return 0


@workbook
def styled_blanks_at_the_right(book: Any, sheet: Any) -> int:
    table(book, sheet)
    grid = book.add_format({"border": 1})
    for row in range(ROWS + 4):
        for column in range(5, 9):
            sheet.write_blank(row, column, None, grid)
    return 0


@workbook
def constant_memory(book: Any, sheet: Any) -> int:
    table(book, sheet)  # its texts are in the cells, not in a table of strings
    return 0


@workbook
def themed_and_titled(book: Any, sheet: Any) -> int:
    book.set_properties({"title": "Invoices", "author": "Eva", "company": "Söhne"})
    book.set_custom_property("Reviewed", True)
    table(book, sheet, top=9, left=3)
    sheet.write("D1", "Audit 2026", book.add_format({"font_size": 20}))
    sheet.set_zoom(85)
    sheet.hide_gridlines(2)
    sheet.set_selection("D11")
    return 9


def png(side: int = 8) -> bytes:
    """Return a picture."""
    raw = b"".join(b"\0" + bytes([x * 30, 80, 120] * 1) * side for x in range(side))

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )
