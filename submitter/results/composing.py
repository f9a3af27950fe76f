"""What a finished sheet is made of: the user's own workbook with the answers, or a new file."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from rowfleet.cells import decode_all
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries import reviews
from rowfleet.ledger.queries.rows import last_recorded, numbers_of, recorded_rows
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.recipes import loading
from submitter.results import columns, csv_file, writer
from submitter.results.added_sheets.new_sheet import NewSheet, Place
from submitter.results.answer_values import answer_cell
from submitter.results.columns import Column, FinishedRow
from submitter.results.workbook import safe_title
from submitter.results.write_back.answer_cells import AnsweredRow
from submitter.results.write_back.finished import Written, write_back
from submitter.sheets.header import answer_columns

#: Where a row of the ledger stands in a finished workbook, by its number.
Places = Callable[[int], Place]

#: Makes the sheets that a batch's finished workbook gets behind its own.
Sheets = Callable[[Connection, BatchRecord, Places], Sequence[NewSheet]]


def places_in_own(batch: BatchRecord) -> Places:
    """Return where rows stand in the user's own workbook."""
    return lambda number: Place(batch.sheet, batch.sheet_row(number))


def places_in_new(connection: Connection, batch: BatchRecord) -> Places:
    """Return where rows stand in a new workbook, which has no gaps between them."""
    numbers = numbers_of(connection, batch.id)
    title = safe_title(batch.sheet)
    return lambda number: Place(title, bisect_left(numbers, number) + 2)


def own_workbook(
    connection: Connection, batch: BatchRecord, source: Path, file: IO[bytes], *, macros: bool
) -> Written:
    """Write ``source``, the user's own workbook, with the answers; see `write_back`."""
    recipe = loading.recorded(batch.recipe)
    results, added = recipe.headers(), _added(connection, batch)
    schemas = recipe.output["properties"]
    known = columns.answer_headers(recipe)

    def answers_in(texts: Mapping[int, str]) -> Mapping[str, int]:
        if batch.first_row is None and not set(batch.header) <= set(texts.values()):
            raise InputError(
                f"batch {batch.id} was recorded by a version that did not note in which row of "
                f"{batch.source} the header is, and it is not in row 1; submit the sheet again, "
                "or write a new workbook with --plain"
            )
        return answer_columns(texts, known)

    rows = recorded_rows(connection, batch.id, with_cells=False)
    last = last_recorded(connection, batch.id) or 0
    return write_back(
        source,
        file,
        name=batch.source,
        sheet=batch.sheet,
        header_row=batch.sheet_row(0) - 2,
        last_row=batch.sheet_row(last) - 1,
        headers=[*results.values(), *(column.header for column in added)],
        rows=(_answered(batch, row, results, schemas, added) for row in rows),
        answers_in=answers_in,
        macros=macros,
    )


def _answered(
    batch: BatchRecord,
    row: RecordedRow,
    results: Mapping[str, str],
    schemas: Mapping[str, object],
    added: list[Column],
) -> AnsweredRow:
    finished = FinishedRow.of(row)
    output = row.values or {}
    cells = [answer_cell(output.get(name), _schema(schemas.get(name))) for name in results]
    return AnsweredRow(
        batch.sheet_row(row.number) - 1,
        row.status,
        [*cells, *(column.value(finished) for column in added)],
    )


def _schema(schema: object) -> Mapping[str, object] | None:
    return schema if isinstance(schema, dict) else None  # a schema may also be true or false


def new_workbook(connection: Connection, batch: BatchRecord, file: IO[bytes], out: Path) -> int:
    """Write a new workbook for ``out`` into ``file``; return how many rows it has."""
    return writer.write_sheet(
        file,
        out,
        title=batch.sheet,
        header=batch.header,
        formats=batch.formats,
        widths=batch.widths,
        result_headers=loading.recorded(batch.recipe).headers(),
        added=_added(connection, batch),
        rows=_whole_rows(connection, batch),
    )


def text_file(connection: Connection, batch: BatchRecord, file: IO[bytes]) -> int:
    """Write a text file; return how many rows it has."""
    return csv_file.write_csv(
        file,
        header=batch.header,
        result_headers=loading.recorded(batch.recipe).headers(),
        added=_added(connection, batch),
        rows=_whole_rows(connection, batch),
    )


def _whole_rows(connection: Connection, batch: BatchRecord) -> Iterator[FinishedRow]:
    """Yield the batch's rows with their original cells."""
    for row in recorded_rows(connection, batch.id):
        yield FinishedRow.of(row, decode_all(row.cells))


def _added(connection: Connection, batch: BatchRecord) -> list[Column]:
    return columns.added_to(batch, is_reviewed=reviews.is_reviewed(connection, batch.id))
