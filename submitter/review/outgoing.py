"""The rows that need review, as a sheet behind the person's own workbook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from rowfleet import cells as row_cells
from rowfleet.answers import reasons
from rowfleet.cells import Cell, decode_all, plain
from rowfleet.documents.places.root import Root
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection, Engine, reading
from rowfleet.ledger.queries import batch_records, document_facts, reviews
from rowfleet.ledger.queries.rows import rows_by_number
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.recipes import loading
from rowfleet.recipes.recipe import Recipe
from submitter import hints
from submitter.excel import MAX_COLUMNS
from submitter.results import export, history
from submitter.results.added_sheets.new_sheet import Linked, NewColumn, NewSheet
from submitter.results.answer_values import answer_cell
from submitter.results.citing.links import Link
from submitter.results.columns import FinishedRow, cited
from submitter.results.composing import Places
from submitter.results.export import Exported, Target
from submitter.results.target import CSV
from submitter.results.writer import headers
from submitter.review import ranking, review_sheet
from submitter.review.review_sheet import Key

#: Rows that are read from the ledger at a time, once in the order of the sheet and once in ours.
CHUNK = 500
#: Documents of a row that the sheet leads to.
MOST_DOCUMENTS = 10
#: How a cell begins that is an address of the web.
_WEB = ("https://", "http://")


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A review that is written."""

    exported: Exported
    #: Rows to decide on, and what they are ranked by; empty if nothing ranks them.
    rows: int
    ranked_by: str


def export_review(engine: Engine, batch_id: str, asked: Target, *, every: bool = False) -> Outgoing:
    """Write the workbook of a review: of the rows that need it, or of ``every`` row that is done.

    Raises InputError if there are none, and if the workbook can't be written.
    """
    if asked.suffix == CSV:
        raise InputError(f"{asked.out}: a review is decided in a workbook; give an .xlsx")
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        numbers = reviews.numbers_to_review(connection, batch_id, every=every)
    if not numbers:
        if every:
            raise InputError(f"no row of {batch_id} is answered yet")
        everything = hints.command("review", batch_id, "--all", "--export", str(asked.out))
        raise InputError(
            f"no row of {batch_id} needs review; for a review of all answers: {everything}"
        )
    recipe = loading.recorded(batch.recipe)
    ranked_by = ranking.ranking_of(recipe, batch.columns)

    def sheets(connection: Connection, batch: BatchRecord, places: Places) -> Sequence[NewSheet]:
        made = _Sheet(connection, batch, recipe, places, ranked_by)
        return (made.of(numbers), *history.sheets(connection, batch, places))

    exported = export.export(engine, batch_id, asked, sheets)
    return Outgoing(exported, len(numbers), str(ranked_by))


class _Sheet:
    """Makes the sheet: what it shows of a row, and in which order."""

    def __init__(
        self,
        connection: Connection,
        batch: BatchRecord,
        recipe: Recipe,
        places: Places,
        ranked_by: ranking.Ranking,
    ) -> None:
        self._connection = connection
        self._batch = batch
        self._places = places
        self._ranking = ranked_by
        self._answers = recipe.headers()
        self._schemas: Mapping[str, Any] = recipe.output["properties"]
        self._corrections = review_sheet.corrections(recipe)
        self._cited = cited(batch)
        most = document_facts.most_of_a_row(connection, batch.id)
        self._documents = min(most, MOST_DOCUMENTS)

    def of(self, numbers: Sequence[int]) -> NewSheet:
        """Return the sheet of those rows."""
        columns = self._columns()
        return NewSheet(review_sheet.TITLE, columns, self._rows(numbers, len(columns)))

    def _columns(self) -> list[NewColumn]:
        columns = [
            NewColumn(review_sheet.ROW, 7),
            NewColumn(review_sheet.DECISION, 12, is_input=True, choices=review_sheet.VERDICTS),
            NewColumn(review_sheet.REVIEWER, 14, is_input=True),
            NewColumn(review_sheet.NOTE, 24, is_input=True),
            NewColumn(review_sheet.REASONS, 40),
            NewColumn(review_sheet.PRIORITY, 10),
        ]
        for name, header in self._answers.items():
            columns.append(NewColumn(header, _width(header)))
            if name in self._corrections:
                listed = review_sheet.choices(self._schemas[name])
                heading = self._corrections[name]
                columns.append(NewColumn(heading, _width(heading), is_input=True, choices=listed))
        columns += [NewColumn(column.header, _width(column.header)) for column in self._cited]
        columns += [
            NewColumn(review_sheet.DOCUMENT.format(number), 24)
            for number in range(1, self._documents + 1)
        ]
        columns += [
            NewColumn(review_sheet.EARLIER, 24),
            NewColumn(review_sheet.KEY, is_hidden=True),
        ]
        # A person's own columns come last, so that theirs get a number where a name is taken.
        own = self._batch.header[: MAX_COLUMNS - len(columns)]
        names = headers([column.header for column in columns], own)[len(columns) :]
        return [*columns, *(NewColumn(name, 14) for name in names)]

    def _rows(self, numbers: Sequence[int], width: int) -> Iterator[Sequence[Cell | Linked]]:
        ranked = [
            (-priority, number)
            for part in _parts(numbers)
            for number, priority in self._priorities(part)
        ]
        ranked.sort()
        priorities = {number: -priority for priority, number in ranked}
        for part in _parts([number for _, number in ranked]):
            rows = rows_by_number(self._connection, self._batch.id, part)
            decisions = reviews.decisions_on(self._connection, self._batch.id, part)
            documents = document_facts.places_of(self._connection, self._batch.id, part)
            for number in part:
                named = documents.get(number, [])[: self._documents]
                cells = self._row(
                    rows[number], decisions.get(number, []), priorities[number], named
                )
                yield cells[:width] + [None] * (width - len(cells))

    def _priorities(self, numbers: Sequence[int]) -> Iterator[tuple[int, float]]:
        for number, row in rows_by_number(self._connection, self._batch.id, numbers).items():
            sent = row_cells.sent(self._batch.columns, row.cells)
            yield number, self._ranking.priority(row.values or row.output, sent)

    def _row(
        self,
        row: RecordedRow,
        decisions: Sequence[DecisionRecord],
        priority: float,
        documents: Sequence[tuple[str, str]],
    ) -> list[Cell | Linked]:
        seen = len(decisions)
        values = review_sheet.seen_values(row.output, decisions, seen)
        place = self._places(row.number)
        cells: list[Cell | Linked] = [
            Linked(place.row, place),
            None,
            None,
            None,
            "\n".join(map(str, reasons.decode(row.review_reasons))) or None,
            priority,
        ]
        for name in self._answers:
            schema = self._schemas.get(name)
            known = schema if isinstance(schema, dict) else None
            cells.append(answer_cell((values or {}).get(name), known))
            if name in self._corrections:
                cells.append(None)
        finished = FinishedRow.of(row)
        cells += [_opened(column.value(finished)) for column in self._cited]
        cells += [_document(*each) for each in documents]
        cells += [None] * (self._documents - len(documents))
        key = Key(self._batch.id, row.number, seen, review_sheet.digest(values))
        cells += [_earlier(decisions), str(key)]
        return [*cells, *map(_linked, decode_all(row.cells))]


def _width(header: str) -> float:
    """Return the width of a column whose header stands on two lines at most, in characters."""
    return float(max(14, len(header) * 2 // 3 + 3))


def _earlier(decisions: Sequence[DecisionRecord]) -> str | None:
    """Say the newest decision."""
    if not decisions:
        return None
    newest = decisions[-1]
    return f"{newest.verdict} by {newest.reviewer}, {newest.decided_at.astimezone(UTC):%Y-%m-%d}"


def _document(root: str, path: str) -> Cell | Linked:
    """Let a file of this machine be opened; that of a store is named, since no program opens it."""
    place = Root(root)
    if not place.is_local:
        return place.address(path)
    return Linked(path, place.path.joinpath(path).as_uri())


def _opened(cell: Cell) -> Cell | Linked:
    """Let a link be one of the sheet, and no formula: those must have stored values to be read."""
    return Linked(str(cell), cell.address) if isinstance(cell, Link) else cell


def _linked(cell: Cell) -> Cell | Linked:
    """Let an address of the web lead there."""
    text = plain(cell)
    if isinstance(text, str) and text.startswith(_WEB) and not any(map(str.isspace, text)):
        return Linked(cell, text)
    return cell


def _parts(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    return (numbers[start : start + CHUNK] for start in range(0, len(numbers), CHUNK))
