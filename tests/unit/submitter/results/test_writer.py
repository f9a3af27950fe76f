"""What the finished sheet keeps, marks and never does."""

from __future__ import annotations

import math
import os
import string
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowfleet.cells import Cell, CellError, Formatted, value
from rowfleet.errors import InputError
from submitter.excel import MAX_TEXT
from submitter.results.columns import ERROR, STATUS, FinishedRow
from submitter.results.target import atomic, check_target
from submitter.results.writer import write_sheet
from submitter.sheets.opening import open_sheet

#: Status and error are the row's own; their columns ask nothing of its batch.
BATCH: Any = None


def row(
    cells: Sequence[Cell],
    output: Mapping[str, Any] | None = None,
    status: str = "done",
    error: str | None = None,
) -> FinishedRow:
    return FinishedRow(0, cells, status, output, error)


def write(
    out: Path,
    rows: Sequence[FinishedRow],
    header: Sequence[str] = ("Vendor", "Amount"),
    formats: Sequence[str] | None = None,
    results: Mapping[str, str] | None = None,
    **more: Any,
) -> int:
    check_target(out)
    with atomic(out) as file:
        return write_sheet(
            file,
            out,
            title=more.pop("title", "Refunds"),
            header=header,
            formats=formats or ["General"] * len(header),
            result_headers={"answer": "AI_Answer"} if results is None else results,
            added=[STATUS.of(BATCH), ERROR.of(BATCH)],
            rows=rows,
            **more,
        )


def load(out: Path) -> Any:
    return openpyxl.load_workbook(out).worksheets[0]


def first_row(out: Path) -> list[Any]:
    return [cell.value for cell in load(out)[2]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "done.xlsx"


def test_columns_are_the_original_then_results_then_status_and_error(out: Path) -> None:
    assert write(out, [row(["Acme", 12.5], {"answer": "refund"})]) == 1
    sheet = load(out)
    assert [cell.value for cell in sheet[1]] == [
        "Vendor", "Amount", "AI_Answer", "AI_Status", "AI_Error",
    ]  # fmt: skip
    assert first_row(out) == ["Acme", 12.5, "refund", "done", None]


def test_header_is_styled_frozen_filtered_and_wide_enough(out: Path) -> None:
    write(out, [row(["Acme", 1])] * 3, widths=[33, 8])
    sheet = load(out)
    assert sheet.title == "Refunds"
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == "A1:E4"
    assert sheet["A1"].font.bold
    assert sheet.column_dimensions["A"].width == 33
    assert sheet.column_dimensions["C"].width >= len("AI_Answer")


def test_columns_are_as_wide_as_what_their_cells_show(out: Path) -> None:
    cells: list[Cell] = [
        Formatted(1234567.5, '"£"#,##0.00'),
        1234567.5,
        Formatted(datetime(2026, 9, 30), "dddd d mmmm yyyy"),
        1234567.5,
        math.nan,
    ]
    formats = ["General", "#,##0.00\\ [$EUR]", "General", "General", "0.00"]
    for widths in (None, [8.43] * 5):  # that is a program's own width, where a sheet says none
        write(out, [row(cells)], header=list("ABCDE"), formats=formats, widths=widths)
        of = load(out).column_dimensions
        shown = ("£1,234,567.50", "1,234,567.50 EUR", "Wednesday 30 September 2026", "1234567.5")
        for column, text in zip("ABCD", shown, strict=True):
            assert len(text) < of[column].width <= len(text) + 4


def test_all_text_is_in_the_usual_font(out: Path) -> None:
    write(out, [row(["Acme", 1], status="failed"), row(["Acme", 2])])
    fonts = {(cell.font.name, cell.font.sz) for line in load(out).iter_rows() for cell in line}
    assert fonts == {("Calibri", 11)}


def test_dates_numbers_and_their_formats_are_as_they_were(out: Path) -> None:
    cells: list[Cell] = [datetime(2024, 3, 5), 1234.5, time(7, 30), timedelta(hours=30), True]
    formats = ["dd/mm/yyyy", "#,##0.00", "hh:mm", "[h]:mm", "General"]
    write(out, [row(cells)], header=list("ABCDE"), formats=formats)
    assert first_row(out)[:5] == cells
    # In the format General, LibreOffice would show 1 for TRUE.
    as_shown = [*formats[:4], '"TRUE";"TRUE";"FALSE"']
    assert [cell.number_format for cell in load(out)[2]][:5] == as_shown


def test_a_date_in_a_column_of_text_is_still_a_date(out: Path) -> None:
    write(out, [row(["n/a", 1]), row([datetime(2024, 3, 5), datetime(2024, 3, 5, 6, 7, 8)])])
    assert load(out)["A3"].value == datetime(2024, 3, 5)
    assert load(out)["B3"].value == datetime(2024, 3, 5, 6, 7, 8)


def test_a_number_in_a_column_of_dates_is_still_a_number(out: Path) -> None:
    write(out, [row(["x", 45000])], formats=["General", "yyyy-mm-dd"])
    assert load(out)["B2"].value == 45000


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝"])
def test_text_can_never_become_a_formula(out: Path, start: str) -> None:
    text = f"{start}cmd|' /C calc'!A0"
    write(out, [row([text, 1], {"answer": text}, error=text)], header=[text, "Amount"])
    with zipfile.ZipFile(out) as package:
        xml = package.read("xl/worksheets/sheet1.xml").decode()
    assert "<f" not in xml
    assert xml.count(text.replace("\r", "_x000D_")) == 4
    sheet = load(out)
    assert sheet["A2"].data_type == "s"
    assert sheet["A1"].value == (text if start != "\r" else sheet["A1"].value)
    assert sheet["A1"].quotePrefix
    assert not sheet["B1"].quotePrefix
    assert sheet["A1"].font.bold
    assert sheet["A2"].quotePrefix
    assert sheet["C2"].quotePrefix


def test_markup_in_an_answer_stays_text(out: Path) -> None:
    answer = '<r><t>x</t></r></is></c><c t="e">&amp; ]]>'
    write(out, [row(["Acme", 1], {"answer": answer})])
    assert first_row(out)[2] == answer


def test_lists_and_objects_become_json(out: Path) -> None:
    write(
        out,
        [row([None, None], {"a": [1, "é"], "b": {"k": None}, "c": False})],
        results={"a": "A", "b": "B", "c": "C", "missing": "D"},
    )
    assert first_row(out)[2:6] == ['[1, "é"]', '{"k": null}', False, None]


@pytest.mark.parametrize(
    ("there", "umask", "mode"), [(0o600, 0o022, 0o600), (0o640, 0o077, 0o600), (None, 0o027, 0o640)]
)
def test_a_file_that_is_replaced_keeps_its_mode_or_gets_a_stricter_one(
    out: Path, there: int | None, umask: int, mode: int
) -> None:
    if there is not None:
        out.touch()
        out.chmod(there)
    before = os.umask(umask)
    try:
        write(out, [row(["x", 1])])
    finally:
        os.umask(before)
    assert out.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("code", ["=cmd|' /C calc'!A0", "+1", "@x"])
def test_an_error_that_is_none_can_not_become_a_formula(out: Path, code: str) -> None:
    write(out, [row([CellError(code), None])])  # as ledgers of older versions may have it
    cell = load(out)["A2"]
    assert (cell.data_type, cell.value, cell.quotePrefix) == ("s", code, True)


def test_an_error_cell_is_an_error_cell_again(out: Path) -> None:
    write(out, [row([CellError("#REF!"), CellError("#SPILL!")])])
    sheet = load(out)
    assert (sheet["A2"].data_type, sheet["A2"].value) == ("e", "#REF!")
    assert (sheet["B2"].data_type, sheet["B2"].value) == ("s", "#SPILL!")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (math.nan, "nan"),
        (math.inf, "inf"),
        (2**53 + 1, "9007199254740993"),
        (10**400, str(10**400)),
        ("a\x00b\x0b\ufffe", "a_x0000_b_x000B__xFFFE_"),
        ("half \ud83d pair", "half \N{REPLACEMENT CHARACTER} pair"),
        ("literal _x0041_", "literal _x005F_x0041_"),
        ("👩‍👩‍👧 مرحبا", "👩‍👩‍👧 مرحبا"),
        ("  spaces\nand lines ", "  spaces\nand lines "),
    ],
)
def test_an_answer_a_cell_can_hardly_hold_is_kept_as_text(
    out: Path, value: Any, written: str
) -> None:
    write(out, [row(["x", 1], {"answer": value})])
    assert first_row(out)[2] == written


def test_an_answer_too_long_for_a_cell_ends_in_an_ellipsis(out: Path) -> None:
    write(
        out,
        [row(["é" * MAX_TEXT, 1], {"answer": "x" * 40_000}), row(["😀" * 20_000, 1])],
    )
    sheet = load(out)
    assert sheet["A2"].value == "é" * MAX_TEXT
    assert sheet["C2"].value == "x" * (MAX_TEXT - 1) + "…"
    assert sheet["A3"].value == "😀" * (MAX_TEXT // 2) + "…"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00+00:00"),
        (datetime(1899, 12, 31, 5), "1899-12-31T05:00:00"),
        (date(1700, 1, 1), "1700-01-01"),
        (time(5, tzinfo=UTC), "05:00:00+00:00"),
        (timedelta(hours=-1), "-1 day, 23:00:00"),
        (float("1e308"), 1e308),
        (10**400, str(10**400)),
    ],
)
def test_an_original_value_no_cell_can_hold_is_kept_as_text(
    out: Path, value: Cell, written: Any
) -> None:
    write(out, [row([value, 1])])
    assert first_row(out)[0] == written


@pytest.mark.parametrize("status", ["failed", "cancelled", "pending", "queued", "running"])
def test_rows_not_done_are_marked(out: Path, status: str) -> None:
    write(out, [row(["a", 1], {"answer": 1}), row(["b", None], None, status, "why")])
    sheet = load(out)
    assert [cell.value for cell in sheet[3]] == ["b", None, None, status, "why"]
    assert all(cell.fill.fill_type == "solid" for cell in sheet[3])
    assert all(cell.fill.fill_type is None for cell in sheet[2])


def test_headers_that_are_taken_get_a_number(out: Path) -> None:
    write(out, [row(["a", "b"])], header=["AI_Status", "ai answer"])
    names = [cell.value for cell in load(out)[1]]
    assert names == ["AI_Status", "ai answer", "AI_Answer_2", "AI_Status_2", "AI_Error"]


@pytest.mark.parametrize(
    ("title", "given"),
    [("a/b:[c]", "a_b__c_"), ("", "Sheet1"), ("x" * 50, "x" * 31), ("History", "Sheet1")],
)
def test_any_title_becomes_one_that_excel_takes(out: Path, title: str, given: str) -> None:
    write(out, [], title=title)
    assert load(out).title == given


def test_an_error_in_the_rows_leaves_the_old_file_and_nothing_else(out: Path) -> None:
    write(out, [row(["old", 1])])

    def broken() -> Iterator[FinishedRow]:
        yield from [row(["new", 1])] * 100
        raise ConnectionError("the ledger is gone")

    with pytest.raises(ConnectionError):
        write(out, broken())  # type: ignore[arg-type]  # rows that fail while they are read
    assert first_row(out)[0] == "old"
    assert [path.name for path in out.parent.iterdir()] == ["done.xlsx"]


def test_more_rows_than_a_worksheet_holds_are_refused(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("submitter.results.workbook.MAX_ROWS", 100)
    write(out, [row(["a", 1])] * 99)
    with pytest.raises(InputError, match=r"done\.xlsx: a worksheet can't hold more than 99 rows"):
        write(out, [row(["a", 1])] * 100)


@pytest.mark.parametrize("name", ["a.tsv", "a", "a.xls", "a.xlsx.zip"])
def test_a_target_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"a finished sheet is an \.xlsx or \.csv file"):
        check_target(tmp_path / name)


def test_a_target_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "dir.xlsx").mkdir()
    with pytest.raises(InputError, match="is a directory"):
        check_target(tmp_path / "dir.xlsx")


@pytest.mark.parametrize("folder", ["/proc", "/no/such/folder"])
def test_a_folder_that_can_not_be_written_is_refused(folder: str) -> None:
    with pytest.raises(InputError, match="can't be written"):
        check_target(Path(folder, "a.xlsx"))


def test_checking_a_target_leaves_no_trace(out: Path) -> None:
    out.write_bytes(b"mine")
    check_target(out)
    assert out.read_bytes() == b"mine"
    assert [path.name for path in out.parent.iterdir()] == ["done.xlsx"]


text_cells = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
)
cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
    text_cells,
    st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 30)).map(
        lambda moment: moment.replace(microsecond=0)
    ),
    st.builds(timedelta, seconds=st.integers(0, 10**7)),
    st.sampled_from(["#REF!", "#N/A", "#DIV/0!"]).map(CellError),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    table=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=6),
    header=st.lists(
        st.text(string.ascii_letters, min_size=1, max_size=8),
        min_size=3,
        max_size=3,
        unique_by=str.casefold,
    ),
    formats=st.lists(st.sampled_from(["General", "0.00", "yyyy-mm-dd", "[h]:mm", "@"]),
                     min_size=3, max_size=3),
)  # fmt: skip
def test_a_sheet_comes_back_from_its_export_as_it_was(
    table: list[list[Cell]], header: list[str], formats: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "a.xlsx")
        write(out, [row(cells) for cells in table], header=header, formats=formats, results={})
        with open_sheet(out) as sheet:
            assert sheet.header[:3] == tuple(header)
            assert [[*map(value, cells[:3])] for _, cells in sheet.rows()] == table
