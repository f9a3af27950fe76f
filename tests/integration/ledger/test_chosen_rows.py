"""Rows that a person chose are the batch, however they were chosen, and in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openpyxl
import pytest
from sqlalchemy import Engine, select

from rowfleet.ledger import records
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.transitions import feeding, recording
from submitter.results.columns import answer_headers
from submitter.sheets.header import HeaderOptions
from submitter.sheets.selection import Choice
from submitter.submission import matching
from submitter.submission import recording as batch
from submitter.submission.submission import new_batch
from tests.integration.ledger.test_identity import (
    CELLS,
    RECIPE,
    prepared,
    recorded,
    submit,
    workbook,
)


def test_a_choice_of_rows_is_part_of_what_a_batch_is(engine: Engine, tmp_path: Path) -> None:
    path = workbook(tmp_path / "invoices.xlsx", [*CELLS, ["d", 4, None], ["Total", 10, None]])
    every, _ = submit(engine, path)
    some, is_found = submit(engine, path, rows=Choice(where="Number > 1.0"))
    assert (some != every, is_found) == (True, False)
    assert submit(engine, path, rows=Choice(where="Number > 1.0")) == (some, True)
    with_total, is_found = submit(engine, path, rows=Choice(keep_totals=True))
    assert (with_total not in (every, some), is_found) == (True, False)
    assert recorded(engine) == (3, 4 + 3 + 5)
    # The same rows are the same batch, whoever chose them how.
    assert submit(engine, path, rows=Choice(where='Name != "a"')) == (some, True)
    assert submit(engine, path, rows=Choice(1, 3)) == (some, True)
    assert submit(engine, path, rows=Choice(order_by="Number:desc")) == (every, True)
    assert submit(engine, path, rows=Choice(hidden="skip")) == (every, True)
    assert submit(engine, path, rows=Choice(0, 4)) == (every, True)
    assert recorded(engine) == (3, 4 + 3 + 5)


def test_an_ordered_batch_is_recorded_with_its_order(engine: Engine, tmp_path: Path) -> None:
    path = workbook(tmp_path / "invoices.xlsx", [*CELLS, ["d", None, None]])
    batch_id, _ = submit(engine, path, rows=Choice(order_by="Number:desc", where='Name != "b"'))
    with engine.begin() as connection:
        ranks = select(Row.number, Row.rank).order_by(Row.rank)
        assert connection.execute(ranks).all() == [(2, 0), (0, 1), (3, 2)]
        assert feeding.feed(connection, batch_id, 2) == [2, 0]


@pytest.mark.parametrize(
    ("change", "other"),
    [
        ({"where": 'Name != "b"'}, {}),
        ({"hidden": "skip"}, {}),
        ({}, {"hidden": "skip"}),
        ({}, {"keep_totals": True}),
    ],
)
def test_a_half_recorded_choice_is_completed_with_the_same_choice_only(
    engine: Engine, tmp_path: Path, change: dict[str, Any], other: dict[str, Any]
) -> None:
    path = workbook(tmp_path / "invoices.xlsx", [*CELLS, ["Total", 6, None]])
    book = openpyxl.load_workbook(path)
    book.worksheets[0].row_dimensions[3].hidden = True
    book.save(path)
    with prepared(path, rows=Choice(**change)) as submission:
        begun, _ = batch.begin(engine, submission)
    with engine.begin() as connection:
        recording.record_rows(connection, begun.batch_id, [(0, CELLS[1], None)])
        half = batch_records.get_batch(connection, begun.batch_id)
    with prepared(path, rows=Choice(**other)) as another:
        assert not matching.is_same_file(half, another)
    assert submit(engine, path, rows=Choice(**change)) == (begun.batch_id, True)
    assert recorded(engine) == (1, 2 if change else 3)


def test_another_header_row_is_another_batch(engine: Engine, tmp_path: Path) -> None:
    """A header that is repeated further down is the same header, above other rows."""
    below = [CELLS[0], *([name, number + 10, note] for name, number, note in CELLS[1:])]
    path = workbook(tmp_path / "invoices.xlsx", [*CELLS, *below])
    three = Choice(0, 3)
    first, _ = submit(engine, path, rows=three)
    second, is_found = submit(engine, path, rows=three, header=HeaderOptions(row=5))
    assert (second != first, is_found) == (True, False)
    for row, batch_id in ((1, first), (5, second)):
        steered = HeaderOptions(row=row)
        assert submit(engine, path, rows=three, header=steered) == (batch_id, True)
    assert recorded(engine) == (2, 6)


def test_a_mapped_column_is_asked_about_anew(engine: Engine, tmp_path: Path) -> None:
    path = workbook(tmp_path / "invoices.xlsx")
    batch_id, _ = submit(engine, path)
    mapped, is_found = submit(engine, path, header=HeaderOptions(maps=("Note=Number",)))
    assert (mapped != batch_id, is_found) == (True, False)
    assert submit(engine, path, header=HeaderOptions(maps=("Number=Number",))) == (batch_id, True)


def test_a_finished_workbook_goes_on_with_its_batch(engine: Engine, tmp_path: Path) -> None:
    answers = answer_headers(RECIPE)
    path = workbook(tmp_path / "invoices.xlsx")
    batch_id, _ = submit(engine, path, header=HeaderOptions(answers=answers))
    finished = [
        [*row, *more]
        for row, more in zip(
            CELLS,
            [["AI_Sort", "AI_Status"], ["this", "done"], [None, "failed"], ["that", "done"]],
            strict=True,
        )
    ]
    again = workbook(tmp_path / "invoices.results.xlsx", finished)
    assert submit(engine, again, header=HeaderOptions(answers=answers)) == (batch_id, True)
    assert recorded(engine) == (1, 3)
    left = Choice(where='AI_Status != "done"')
    rest, is_found = submit(engine, again, rows=left, header=HeaderOptions(answers=answers))
    assert (rest != batch_id, is_found) == (True, False)
    assert recorded(engine) == (2, 4)


@pytest.mark.parametrize("totals", [None, "skip"])
@pytest.mark.parametrize("last", [["Total", 6, None], [None, None, "by Bob"]])
def test_a_batch_of_an_older_version_keeps_its_rows_below_the_data(
    engine: Engine, tmp_path: Path, last: list[Any], totals: str | None
) -> None:
    """They were asked about, and paid for."""
    cells = [*CELLS, last]
    path = workbook(tmp_path / "invoices.xlsx", cells)
    with prepared(path) as submission:
        new = new_batch(submission)
        old = {name: getattr(new, name) for name in new.__slots__}
        with engine.begin() as connection:
            recording.create_batch(
                connection, records.NewBatch(**{**old, "totals": totals, "first_row": None})
            )
            numbered = [(number, row, None) for number, row in enumerate(cells[1:])]
            recording.record_rows(connection, new.id, numbered)
            recording.finish_loading(connection, new.id)
    assert submit(engine, path) == (new.id, True)
    assert recorded(engine) == (1, 4)
