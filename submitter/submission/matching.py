"""Which batch in the ledger a submission is: the one with the same rows and the same question."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from pydantic import ValidationError

from rowfleet.cells import Cell, encode_all, shown
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection, Engine, reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import recorded_cells
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.statuses import MAY_LACK_ROWS, BatchStatus
from rowfleet.number_formats import kept
from rowfleet.recipes.recipe import Recipe
from submitter.results.columns import of_earlier_runs
from submitter.sheets.sheet import Sheet, pick
from submitter.submission.submission import Submission

#: Rows that are compared at once.
COMPARED = 1_000

#: Seconds between looks at a batch whose rows are being recorded.
PAUSE = 1.0

#: Seconds without a new row after which the submitter of another batch counts as gone.
STALLED = 30.0


def asking_the_same(connection: Connection, submission: Submission) -> list[BatchRecord]:
    """Return the batches that ask the same of the same columns, the likeliest first."""
    own = batch_records.find_batch(connection, submission.batch_id)
    known = [] if own is None else [own]
    if not submission.is_named:
        analyzer = submission.recipe.analyzer
        assert analyzer is not None
        alike = batch_records.perhaps_same(connection, analyzer, submission.count)
        known += [batch for batch in alike if batch.id != submission.batch_id]
    return [batch for batch in known if _asks_the_same(batch, submission)]


def _asks_the_same(batch: BatchRecord, submission: Submission) -> bool:
    sheet, recipe = submission.sheet, submission.recipe
    places = _places(batch, sheet)
    if places is None:
        return False
    root = submission.documents
    if batch.documents != (None if root is None else str(root)):
        return False
    sent = _sent(sheet.header, sheet.columns)
    if not recipe.columns:
        answers = _under_other_headers(batch, sheet, recipe)
        sent = {name: header for name, header in sent.items() if header not in answers}
    if _sent(batch.header, batch.columns) != sent:
        return False
    if len(places) < len(sheet.header) and batch.status in MAY_LACK_ROWS:
        return False  # the rows that it lacks would have other columns than those that it has
    try:
        recorded = Recipe.model_validate(batch.recipe)
    except ValidationError:  # of another version
        return False
    return recorded.question() == recipe.question()


def _under_other_headers(batch: BatchRecord, sheet: Sheet, recipe: Recipe) -> set[str]:
    """Return the columns that hold answers of an earlier run, whose headers the recipe had then."""
    texts = dict(zip(sheet.sheet_columns, sheet.header, strict=True))
    written = of_earlier_runs(texts, recipe)
    return {texts[column] for column in written} - set(batch.header)


def _places(batch: BatchRecord, sheet: Sheet) -> tuple[int, ...] | None:
    """Return where the batch's columns are in the sheet, None if it lacks some.

    The sheet may have more of them: a person adds columns to a finished workbook.
    """
    at = {name: place for place, name in enumerate(sheet.header)}
    places = tuple(at[name] for name in batch.header if name in at)
    return places if len(places) == len(batch.header) else None


def _sent(header: Sequence[str], columns: Mapping[str, int]) -> dict[str, str]:
    """Return the header of each column that the recipe sends, by its name for the model."""
    return {name: header[place] for name, place in columns.items()}


def is_same_file(batch: BatchRecord, submission: Submission) -> bool:
    """Tell whether the batch was recorded from the same rows of the same file, without reading.

    An older version looked for the header only, and kept a row of totals as it did all others.
    """
    sheet, rows = submission.sheet, submission.rows
    return (
        (batch.file_hash, batch.start_row, batch.num_rows, batch.where_expression, batch.hidden)
        == (sheet.sha256, rows.start_row, rows.num_rows, rows.where, rows.hidden)
        and batch.totals in (None, "keep" if rows.keep_totals else "skip")
        and batch.first_row in (None, sheet.first_row)
        and (sheet.is_text or batch.sheet == sheet.title)
    )


def has_same_rows(engine: Engine, batch: BatchRecord, submission: Submission) -> bool:
    """Tell whether the batch has the same rows, cell by cell; see `_agree`."""
    sheet, rows = submission.sheet, submission.rows
    places = _places(batch, sheet)
    if places is None:
        return False
    with closing(sheet.rows(rows.start_row, rows.num_rows)) as read:
        ours = ((number, pick(cells, places)) for number, cells in read)
        return _agree(engine, batch, ours, submission.count)


def _agree(
    engine: Engine, batch: BatchRecord, ours: Iterator[tuple[int, list[Cell]]], count: int
) -> bool:
    """Tell whether the batch has just the ``count`` rows that ``ours`` yields.

    Another submitter may be recording it: wait for its rows. Raises InputError if all rows there
    are agree and no more come: then the batches can't be told apart.
    """
    agreed = 0
    last, moved_at = -1, time.monotonic()
    while agreed < count:
        with reading(engine) as connection:
            current = batch_records.get_batch(
                connection, batch.id
            )  # first: its rows only become more
            recorded = recorded_cells(connection, batch.id, last, COMPARED)
        is_whole = current.status not in MAY_LACK_ROWS
        if current.total > count or (is_whole and current.total != count):
            return False
        for (number, cells), (position, own) in zip(recorded, ours, strict=False):
            if number != position or not _is_same(cells, encode_all(own), batch.columns):
                return False
        if recorded:
            agreed += len(recorded)
            last, moved_at = recorded[-1][0], time.monotonic()
        elif current.status == BatchStatus.CANCELLED:
            return False
        elif current.status == BatchStatus.STOPPED or time.monotonic() - moved_at > STALLED:
            raise InputError(
                f"batch {batch.id} ({batch.source}) has the same rows up to row "
                f"{batch.sheet_row(last)}, where its submitter ended; submit {batch.source} again "
                "to complete it, or give this sheet a batch of its own with --batch-id"
            )
        else:
            time.sleep(PAUSE)
    return True


def _is_same(recorded: Sequence[Any], own: Sequence[Any], columns: Mapping[str, int]) -> bool:
    """Tell whether two encoded rows have the same values and are sent the same.

    True and 1 are sent differently, and so is 1 as pounds and as euros. A number is what a
    spreadsheet program keeps of it when it saves the sheet anew: 1577.3400000000001 is 1577.34, and
    1.0, as earlier versions recorded it, is 1.
    """
    ours, theirs = _values(own), _values(recorded)
    return (
        len(theirs) == len(ours)
        and all(map(same_value, theirs, ours))
        and shown(columns, recorded) == shown(columns, own)
    )


def same_value(theirs: Any, ours: Any) -> bool:
    """Tell whether two encoded cells hold the same; numbers as a spreadsheet program keeps them."""
    if type(theirs) is type(ours) and theirs == ours:
        return True
    if type(theirs) not in (int, float) or type(ours) not in (int, float):
        return False
    return kept(theirs) == kept(ours)


def _values(encoded: Sequence[Any]) -> list[Any]:
    """Return an encoded row without the number formats behind its cells."""
    return [each for each in encoded if not isinstance(each, list)]
