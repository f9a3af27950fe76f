"""What the rows of a good sheet give: positions, types, formulas, ranges."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
from datetime import datetime, time
from pathlib import Path
from typing import Any

import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from rowfleet.cells import CellError
from rowfleet.errors import InputError
from submitter.sheets.opening import open_sheet
from tests.support.workbooks import (
    HEADER,
    RECIPE,
    ROWS,
    SHEET_PART,
    read,
    refusal,
    rewrite,
    save,
    shared,
    text,
    with_rows,
    with_shared,
)


def test_rows_come_with_their_position_and_their_types(path: Path) -> None:
    save(path)
    with open_sheet(path) as sheet:
        assert sheet.name == str(path)
        assert sheet.title == "Refunds"
        assert sheet.header == tuple(HEADER)
        assert sheet.columns == {"Vendor": 0, "Invoice Number": 1, "Amount": 2}
        assert sheet.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert list(sheet.rows()) == [(0, ["Acme", "0017", 12.5]), (1, ["Globex", "18", 7])]


def test_rows_can_be_read_twice(path: Path) -> None:
    save(path)
    with open_sheet(path) as sheet:
        assert list(sheet.rows()) == list(sheet.rows())


def test_formats_and_widths_are_the_columns_own(path: Path) -> None:
    def change(sheet: Any) -> None:
        sheet["C4"] = datetime(2024, 1, 2)
        sheet["C4"].number_format = "dd/mm/yyyy"
        sheet["A4"] = 5
        sheet["A4"].number_format = "0.000"
        sheet.column_dimensions["B"].width = 31

    save(path, [["A", "B", "C"], [None, "x", None], []], change)
    with open_sheet(path) as sheet:
        assert sheet.formats == ("0.000", "General", "dd/mm/yyyy")
        assert sheet.widths is not None
        assert sheet.widths[1] == 31


def test_blank_rows_are_skipped_and_keep_their_number(path: Path) -> None:
    save(path, [HEADER, ROWS[0], [None, "  ", ""], [], ROWS[1], [" "]])
    with open_sheet(path) as sheet:
        assert [number for number, _ in sheet.rows()] == [0, 3]
        assert sheet.count() == 2


def test_shared_strings_are_read_and_blank_ones_are_blank(path: Path) -> None:
    cells = [shared("A1", 0), shared("A2", 2), shared("A3", 3), shared("A4", 1), shared("A5", 4)]
    with_shared(
        path, "".join(f"<row>{cell}</row>" for cell in cells), ["H", "Acme_x000D_", "", " ", "#N/A"]
    )
    assert read(path) == [(2, ["Acme\r"]), (3, ["#N/A"])]


def test_a_shared_string_that_is_not_there_is_refused(path: Path) -> None:
    with_shared(path, f"<row>{shared('A1', 0)}</row><row>{shared('A2', 1)}</row>", ["H"])
    assert "row 2: has no readable value in A2 ('1')" in refusal(path)


def test_ragged_rows_are_padded(path: Path) -> None:
    save(path, [HEADER, ["only"], [None, None, 3]])
    assert read(path) == [(0, ["only", None, None]), (1, [None, None, 3])]


def test_error_cells_are_values_of_their_own(path: Path) -> None:
    save(path, [HEADER, ["#REF!", "text", 1]])
    assert read(path)[0][1][0] == CellError("#REF!")


def test_text_that_looks_like_an_error_stays_text(path: Path) -> None:
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{text('A2', '#REF!')}</row>")
    assert read(path) == [(0, ["#REF!"])]


def test_a_dates_epoch_is_the_workbooks(path: Path) -> None:
    def change(sheet: Any) -> None:
        sheet.parent.epoch = CALENDAR_MAC_1904
        sheet["A2"] = datetime(2024, 5, 6)

    save(path, [["When"], []], change)
    assert read(path) == [(0, [datetime(2024, 5, 6)])]


@pytest.mark.parametrize("serial", ["-5", "-800000", "99999999999", "1e300", "0", "0.5"])
@pytest.mark.parametrize("mac", [False, True])
def test_dates_before_the_first_and_after_the_last_never_crash(
    path: Path, serial: str, mac: bool
) -> None:
    def change(sheet: Any) -> None:
        if mac:
            sheet.parent.epoch = CALENDAR_MAC_1904
        sheet["A2"] = datetime(2024, 5, 6)

    save(path, [["When"], []], change)
    rewrite(path, SHEET_PART, lambda xml: re.sub(rb"<v>[0-9.]+</v></c></row></sheetData>",
            f"<v>{serial}</v></c></row></sheetData>".encode(), xml))  # fmt: skip
    ((_, (cell,)),) = read(path)
    assert isinstance(cell, (datetime, time, CellError))


def test_the_longest_cell_is_read_whole(path: Path) -> None:
    save(path, [HEADER, ["x" * 32_767, "y", 1]])
    assert read(path)[0][1][0] == "x" * 32_767


def test_control_characters_are_read_as_excel_means_them(path: Path) -> None:
    escaped = "a_x000D_b_x0001_c_x0000_d_x005F_x000D_e_x0041_"
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{text('A2', escaped)}</row>")
    assert read(path) == [(0, ["a\rb\x01c\N{REPLACEMENT CHARACTER}d_x000D_eA"])]


def test_emoji_and_right_to_left_text_are_kept(path: Path) -> None:
    save(path, [["👩‍👩‍👧", "שם"], ["مرحبا\u200f", "🇩🇪"]])
    with open_sheet(path) as sheet:
        assert sheet.header == ("👩‍👩‍👧", "שם")
        assert list(sheet.rows()) == [(0, ["مرحبا\u200f", "🇩🇪"])]


def test_numbers_as_text_stay_text(path: Path) -> None:
    save(path, [HEADER, ["00017", "1e5", "12.50"]])
    assert read(path) == [(0, ["00017", "1e5", "12.50"])]


def test_rich_text_is_read_without_its_fonts(path: Path) -> None:
    rich = (
        '<c r="A2" t="inlineStr"><is><r><rPr><u val="odd"/></rPr><t>one </t></r><r><t>two</t></r>'
        "<rPh><t>ruby</t></rPh></is></c>"
    )
    with_rows(path, f"<row>{text('A1', 'H')}</row><row>{rich}</row>")
    assert read(path) == [(0, ["one two"])]


@pytest.mark.parametrize("dimension", [b"A1:A1", b"A1:XFD1048576"])
def test_a_wrong_dimension_is_not_believed(path: Path, dimension: bytes) -> None:
    save(path)
    rewrite(path, SHEET_PART, lambda xml: re.sub(rb'dimension ref="[^"]*"',
            b'dimension ref="' + dimension + b'"', xml))  # fmt: skip
    assert len(read(path)) == 2


def test_the_last_cells_of_a_worksheet_cost_nothing(path: Path) -> None:
    rows = [f'<row r="1">{text("A1", "H")}</row><row r="2">{text("A2", "x")}</row>']
    rows += [f'<row r="{n}"><c r="XFD{n}" s="0"/></row>' for n in range(3, 2000)]
    rows += [f'<row r="1048576">{text("A1048576", "end")}</row>']
    with_rows(path, "".join(rows))
    tracemalloc.start()
    assert read(path) == [(0, ["x"]), (1_048_574, ["end"])]
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_odd_settings_around_the_rows_do_no_harm(path: Path) -> None:
    save(path)
    odd = b'</sheetData><pageSetup orientation="sideways"/><hyperlinks><hyperlink/></hyperlinks>'
    rewrite(path, SHEET_PART, lambda xml: xml.replace(b"</sheetData>", odd))
    assert len(read(path)) == 2


def test_a_range_counts_positions_below_the_header(path: Path) -> None:
    save(path, [HEADER, *([f"v{n}", "x", n] for n in range(300))])
    with open_sheet(path) as sheet:
        assert [number for number, _ in sheet.rows(100, 100)] == list(range(100, 200))
        assert sheet.count(100, 100) == 100
        assert [number for number, _ in sheet.rows(298, 100)] == [298, 299]
        assert sheet.count(298) == 2


@pytest.mark.parametrize(
    ("start", "number", "sentence"),
    [
        (-1, None, "--start-row -1: rows are counted from 0"),
        (0, 0, "--num-rows 0: must be at least 1"),
        (0, -3, "--num-rows -3: must be at least 1"),
        (2, None, "--start-row 2 holds no row; the last is 1, which is row 3 of the sheet"),
        (
            10**9,
            10**9,
            "--num-rows 1000000000 holds no row; the last is 1, which",
        ),
    ],
)
def test_an_impossible_range_is_refused_before_a_row_is_read(
    path: Path, start: int, number: int | None, sentence: str
) -> None:
    save(path)
    with open_sheet(path) as sheet:
        for ask in (sheet.rows, sheet.count):
            with pytest.raises(InputError, match=re.escape(sentence)):
                ask(start, number)


def formula(path: Path, stored: str, kind: str = "") -> Path:
    return with_rows(
        path,
        f"<row>{text('A1', 'Vendor')}{text('B1', 'Amount')}{text('C1', 'Other')}</row>"
        f'<row>{text("A2", "x")}<c r="B2"><v>1</v></c><c r="C2"{kind}><f>1+1</f>{stored}</c></row>',
    )


def test_a_formulas_stored_value_is_read(path: Path) -> None:
    assert read(formula(path, "<v>2</v>")) == [(0, ["x", 1, 2])]


def test_a_formula_that_gave_empty_text_is_blank(path: Path) -> None:
    assert read(formula(path, "<v></v>", ' t="str"')) == [(0, ["x", 1, None])]


@pytest.mark.parametrize("stored", ["", "<v/>", "<v></v>"])
def test_a_formula_without_a_value_is_refused_where_it_is_sent(path: Path, stored: str) -> None:
    formula(path, stored)
    assert refusal(path) == (
        "invoices.xlsx, sheet 'Refunds': the formula in C2 has no stored value; open the file in "
        "Excel or LibreOffice and save it, so that values are stored"
    )
    assert read(path, recipe=RECIPE) == [(0, ["x", 1, None])]


@pytest.mark.parametrize("by_pattern", [True, False], ids=["plain rows", "every row parsed"])
def test_rows_that_the_sheet_hides_are_read_and_marked(path: Path, by_pattern: bool) -> None:
    def hide(sheet: Any) -> None:
        for row in (1, 3, 4, 7):  # the first is above the header, the last holds nothing
            sheet.row_dimensions[row].hidden = True
        sheet.row_dimensions[5].hidden = False
        sheet.row_dimensions[6].height = 30

    save(path, [["a title"], HEADER, *ROWS, ["x", "y", 1], ["z", "y", 2], []], hide)
    with open_sheet(path, recipe=RECIPE, by_pattern=by_pattern) as sheet:
        assert [number for number, _ in sheet.rows()] == [0, 1, 2, 3]
        assert list(sheet.hidden) == [1, 1, 0, 0, 1]


def test_a_run_of_rows_is_hidden_by_each_spelling(path: Path) -> None:
    rows = [f'<row r="1">{text("A1", "H")}</row>'] + [
        f'<row r="{n}"{given} ht="15">{text(f"A{n}", "x")}</row>'
        for n, given in enumerate(
            (' hidden="1"', ' hidden="0"', ' hidden="true"', "", ' spans="1:1" hidden="1"'), 2
        )
    ]
    with_rows(path, "".join(rows))
    with open_sheet(path) as sheet:
        assert list(sheet.hidden) == [1, 0, 1, 0, 1]
