"""The sheet of each decision of people on a batch's rows: who, what, when, before, after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC

from rowfleet.cells import Cell
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import reviews
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.recipes import loading
from submitter.results.added_sheets.new_sheet import Linked, NewColumn, NewSheet
from submitter.results.answer_values import answer_cell
from submitter.results.composing import Places

#: The name of the sheet.
TITLE = "AI_Review_History"

COLUMNS = (
    NewColumn("Row", 7),
    NewColumn("Number", 8),
    NewColumn("Decision", 10),
    NewColumn("Reviewer", 18),
    NewColumn("Decided_At_UTC", 20),
    NewColumn("Column", 24),
    NewColumn("Before", 30),
    NewColumn("After", 30),
    NewColumn("Note", 40),
    NewColumn("File_SHA256", 20),
)


def sheets(connection: Connection, batch: BatchRecord, places: Places) -> Sequence[NewSheet]:
    """Return the sheet of a batch in which people have decided on rows, else none."""
    if not reviews.is_reviewed(connection, batch.id):
        return ()
    headers = loading.recorded(batch.recipe).headers()
    decisions = reviews.history(connection, batch.id)
    rows = (line for each in decisions for line in _lines(batch, each, headers, places))
    return (NewSheet(TITLE, COLUMNS, rows),)


def _lines(
    batch: BatchRecord, decision: DecisionRecord, headers: Mapping[str, str], places: Places
) -> Iterator[Sequence[Cell | Linked]]:
    """Yield a line for each value that the decision changed, or one if it changed none."""
    place = places(decision.number)
    moment = decision.decided_at.astimezone(UTC).replace(tzinfo=None)
    head = (
        Linked(place.row, place),
        decision.version,
        decision.verdict,
        decision.reviewer,
        moment,
    )
    tail = (decision.note, decision.file_hash)
    before, after = decision.before or {}, decision.after or {}
    changed: list[tuple[str | None, Cell, Cell]] = [
        (header, answer_cell(before.get(name)), answer_cell(after.get(name)))
        for name, header in headers.items()
        if repr(before.get(name)) != repr(after.get(name))
    ]
    for values in changed or [(None, None, None)]:
        yield *head, *values, *tail
