"""A number format makes another batch only where something else is sent."""

from __future__ import annotations

from pathlib import Path

import openpyxl
import pytest
from sqlalchemy import Engine, update

from rowfleet.ledger.models import Row
from tests.integration.ledger.test_identity import CELLS, recorded, submit, text_file, workbook


def formatted(path: Path, code: str) -> Path:
    """Make a workbook whose numbers have a number format."""
    book = openpyxl.load_workbook(workbook(path))
    for row in range(2, 5):
        book.worksheets[0].cell(row, 2).number_format = code
    book.save(path)
    return path


@pytest.mark.parametrize(
    ("code", "is_same"),
    [("[$£-809]#,##0.00", True), ('"€"#,##0.00', False), ('"£"#,##0.0', False), ("0.00", False)],
)
def test_the_same_values_shown_otherwise_are_another_batch(
    engine: Engine, tmp_path: Path, code: str, is_same: bool
) -> None:
    batch_id, _ = submit(engine, formatted(tmp_path / "a.xlsx", '"£"#,##0.00'))
    found_id, is_there = submit(engine, formatted(tmp_path / "b.xlsx", code))
    assert (found_id == batch_id, is_there) == (is_same, is_same)


def test_digits_in_another_form_are_the_same_batch(engine: Engine, tmp_path: Path) -> None:
    batch_id, _ = submit(engine, text_file(tmp_path / "a.csv"))
    book = openpyxl.load_workbook(formatted(tmp_path / "a.xlsx", "#,##0.00"))
    book.worksheets[0]["B3"].number_format = "0.0"
    book.save(tmp_path / "a.xlsx")
    assert submit(engine, tmp_path / "a.xlsx") == (batch_id, True)


def test_the_file_of_a_batch_that_an_older_version_recorded_continues_it(
    engine: Engine, tmp_path: Path
) -> None:
    """Its rows have no number formats, and are sent as they were."""
    path = formatted(tmp_path / "a.xlsx", '"£"#,##0.00')
    batch_id, _ = submit(engine, path)
    with engine.begin() as connection:
        for number, cells in enumerate(CELLS[1:]):
            connection.execute(update(Row).where(Row.number == number).values(cells=cells))
    assert submit(engine, path) == (batch_id, True)
    assert recorded(engine) == (1, 3)


def test_a_whole_number_that_an_older_version_recorded_with_a_point_is_the_same(
    engine: Engine, tmp_path: Path
) -> None:
    """It kept `1.0` of a file as a float."""
    batch_id, _ = submit(engine, workbook(tmp_path / "a.xlsx"))
    pointed = [[float(c) if type(c) is int else c for c in cells] for cells in CELLS[1:]]
    assert any(type(cell) is int for cells in CELLS[1:] for cell in cells)
    with engine.begin() as connection:
        for number, cells in enumerate(pointed):
            connection.execute(update(Row).where(Row.number == number).values(cells=cells))
    assert submit(engine, text_file(tmp_path / "a.csv")) == (batch_id, True)
