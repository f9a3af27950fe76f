"""Conditions on a submission before anything of it is recorded."""

from __future__ import annotations

from pathlib import Path

import pytest

from rowfleet.errors import InputError
from submitter.results.columns import ADDED
from submitter.sheets.opening import open_sheet
from submitter.sheets.selection import Choice
from submitter.submission import submission
from tests.support.ledger import ECHO

#: Rows that fit below a header in a worksheet.
MOST = 1_048_575


def prepare(path: Path, rows: Choice) -> submission.Submission:
    with open_sheet(path, recipe=ECHO) as sheet:
        return submission.prepare(sheet, rows, ECHO, queue="q", batch_id=None)


def test_more_rows_than_the_finished_sheet_holds_are_refused_and_a_part_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "big.csv"
    path.write_text("Name\n" + "n\n" * (MOST + 1))
    with pytest.raises(InputError, match=r"big\.csv: 1,048,576 rows are more than the 1,048,575 "):
        prepare(path, Choice())
    prepare(path, Choice(1, None))
    prepare(path, Choice(0, 1_000_000))


def test_more_columns_than_the_finished_sheet_holds_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "wide.csv"
    added = len(ECHO.headers()) + len(ADDED)
    for columns in (16_384 - added, 16_384 - added + 1):
        lines = (",".join(f"c{n}" for n in range(columns)), ",".join(["x"] * columns))
        path.write_text("\n".join(lines))
        if columns + added <= 16_384:
            prepare(path, Choice())
        else:
            with pytest.raises(InputError, match=rf"{columns:,} columns and {added} for the ans"):
                prepare(path, Choice())
