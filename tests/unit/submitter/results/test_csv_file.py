"""The finished sheet as a .csv file."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from rowfleet.cells import Cell, CellError, Formatted
from submitter.results.cell_xml import FORMULA_STARTS
from submitter.results.columns import ERROR, STATUS, FinishedRow
from submitter.results.csv_file import WRITTEN_ROWS, write_csv

#: Status and error are the row's own; their columns ask nothing of its batch.
BATCH: Any = None


def written(
    rows: Sequence[Sequence[Cell]], output: Mapping[str, Any] | None = None, width: int = 1
) -> list[list[str]]:
    """Write the rows and read the file again, as a program does that knows its delimiter."""
    file = io.BytesIO()
    count = write_csv(
        file,
        header=[f"H{number}" for number in range(width)],
        result_headers={"answer": "AI_Answer"},
        added=[STATUS.of(BATCH), ERROR.of(BATCH)],
        rows=[FinishedRow(n, cells, "done", output, None) for n, cells in enumerate(rows)],
    )
    assert count == len(rows)
    text = file.getvalue().decode("utf-8-sig")
    assert file.getvalue().startswith(b"\xef\xbb\xbf")
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


def first(cell: Cell) -> str:
    return written([[cell]])[1][0]


def test_the_columns_are_those_of_the_finished_sheet() -> None:
    assert written([["Acme, Ltd", 12.5]], {"answer": ["a"]}, width=2) == [
        ["H0", "H1", "AI_Answer", "AI_Status", "AI_Error"],
        ["Acme, Ltd", "12.5", '["a"]', "done", ""],
    ]


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (-12.5, "-12.5"),
        (10**17 + 1, "100000000000000001"),
        (True, "TRUE"),
        (None, ""),
        (Formatted(102, '"£"0.00'), "£102.00"),
        (Formatted(-102, '"£"0.00'), "'-£102.00"),
        (Formatted(0.25, "0.0%"), "25.0%"),
        (Formatted(1234.5, "#,##0.00"), "1234.5"),
        (Formatted(datetime(2026, 3, 4), "dd/mm/yyyy"), "2026-03-04"),
        (datetime(2026, 3, 4, 5, 6), "2026-03-04 05:06:00"),
        (timedelta(hours=30), "1 day, 6:00:00"),
        (CellError("#REF!"), "#REF!"),
        ('say "no"\nnever', 'say "no"\nnever'),
        ("a\0b\ud800", "a\N{REPLACEMENT CHARACTER}b?"),
    ],
)
def test_a_cell_is_written_as_a_model_is_sent_it(cell: Cell, text: str) -> None:
    assert first(cell) == text


@pytest.mark.parametrize("start", sorted(FORMULA_STARTS))
def test_no_text_can_become_a_formula(start: str) -> None:
    assert first(f"{start}cmd") == f"'{start}cmd"
    assert first(f"  {start}cmd") == f"  '{start}cmd"


def test_no_number_format_can_become_a_formula() -> None:
    assert first(Formatted(5, '"=cmd|"0')) == "'=cmd|5"


@pytest.mark.parametrize("between", [";", "; ", "\t", "\n", "\r\n", ';"', '\t ""'])
def test_no_text_becomes_a_formula_where_another_delimiter_is_expected(between: str) -> None:
    text = first(f"x{between}=1+1")
    assert text == f"x{between}'=1+1"


def test_headers_that_start_like_formulas_are_text() -> None:
    file = io.BytesIO()
    write_csv(file, header=["=H"], result_headers={}, added=[], rows=[])
    assert file.getvalue() == b"\xef\xbb\xbf'=H\r\n"


def test_many_rows_are_all_written() -> None:
    rows = [[number] for number in range(2 * WRITTEN_ROWS + 1)]
    assert [int(line[0]) for line in written(rows)[1:]] == [number for (number,) in rows]
