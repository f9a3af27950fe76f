"""A batch's finished sheet: the user's own workbook with the answers in it, or a new file.

The hash of each file that is written is recorded in the ledger first. So a file that this program
wrote can be told from one that a person has changed since, which is not written over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from typing import IO

from rowfleet.cells import decode_all
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection, Engine, reading, writing
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.queries.rows import last_recorded, recorded_rows
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.ledger.transitions import recording
from rowfleet.recipes import loading
from rowfleet.storage import location, transfer
from rowfleet.storage.location import Location
from submitter.results import columns, csv_file, target, writer
from submitter.results.answer_values import answer_cell
from submitter.results.columns import Column, FinishedRow
from submitter.results.original import is_workbook, original_of, sha256_of
from submitter.results.write_back.answer_cells import AnsweredRow
from submitter.results.write_back.finished import Written, check_parts, write_back
from submitter.sheets.header import answer_columns
from submitter.sheets.sheet import Sheet

#: Suffixes of the workbooks that answers are written back into, and those of them with macros.
WORKBOOKS = (".xlsx", ".xlsm", ".xltx", ".xltm")
_WITH_MACROS = (".xlsm", ".xltm")


@dataclass(frozen=True, slots=True)
class Target:
    """A finished sheet that is asked for."""

    out: Location
    #: The file that the batch was read from, if it is not where it was.
    source: Location | None = None
    plain: bool = False  #: A new workbook with one sheet, instead of the user's own.
    overwrite: bool = False  #: Whether anything may be written over.

    @property
    def suffix(self) -> str:
        """The suffix of the name, in small letters."""
        return _suffix(self.out)


@dataclass(frozen=True, slots=True)
class Exported:
    """A finished sheet that is written."""

    batch: BatchRecord
    written: Written


def default_suffix(source: Location, *, plain: bool) -> str:
    """Return the suffix of the finished sheet of ``source``."""
    return ".xlsm" if _suffix(source) in _WITH_MACROS and not plain else ".xlsx"


def _suffix(place: Location | str) -> str:
    name = place.key if isinstance(place, location.Uri) else str(place)
    return PurePath(name).suffix.lower()


def check(asked: Target) -> None:
    """Raise InputError unless the finished sheet can be written, and is not the sheet it is of."""
    out, source = asked.out, asked.source
    if asked.suffix not in target.SUFFIXES:
        raise InputError(
            f"{out}: a finished sheet is an .xlsx or .csv file; give a name that ends so"
        )
    if source is not None and asked.suffix != target.CSV:
        wanted = default_suffix(source, plain=asked.plain)
        if asked.suffix != wanted:
            why = "holds macros" if wanted == ".xlsm" else "holds no macros"
            why = "is a new workbook" if asked.plain else f"is {source} with answers, which {why}"
            raise InputError(f"{out}: the finished sheet {why}; give a name that ends in {wanted}")
    if source is not None:
        _check_other(out, source)
    if isinstance(out, location.Uri):
        transfer.check_target(out)
        return
    try:
        target.check_target(out)
    except OSError as error:  # a name too long, a directory that may not be looked into
        raise InputError(f"{out}: can't be written: {error.strerror}") from None


def _check_other(out: Location, source: Location) -> None:
    """Raise InputError if the finished sheet would take the place of the one that is read."""
    if _is_same(out, source):
        raise InputError(f"--export {out}: is the sheet that is read; give another name")


def _is_same(one: Location, other: Location) -> bool:
    if isinstance(one, Path) and isinstance(other, Path):
        # Unlike `Path.exists`, this takes a name that is too long.
        if os.path.exists(one) and os.path.exists(other):
            return one.samefile(other)
        return one.absolute() == other.absolute()
    return str(one) == str(other)


def existing(asked: Target) -> str | None:
    """Return the hash of the file that is there; None if there is none, or a remote one that is to
    be replaced."""
    if (asked.overwrite and not isinstance(asked.out, Path)) or not transfer.is_there(asked.out):
        return None
    with transfer.downloaded(asked.out) as file:
        return sha256_of(file, asked.out)


def guard(asked: Target | None) -> Callable[[Connection, str], None]:
    """Look at the file that is there; return what raises for a batch that did not write it."""
    if asked is None:
        return lambda *_: None
    return partial(check_own, asked=asked, sha256=existing(asked))


def check_own(connection: Connection, batch_id: str, asked: Target, sha256: str | None) -> None:
    """Raise InputError if the file that is there, by its hash, is none that the batch wrote.

    With `overwrite` only a file that the batch was read from is refused.
    """
    if sha256 is not None and batch_records.has_exported(connection, batch_id, sha256):
        return
    batch = batch_records.find_batch(connection, batch_id)
    files = [] if batch is None else batch_records.in_each_file(connection, batch)
    may_be_there = sha256 is not None or not isinstance(asked.out, Path)
    if sha256 in [file.file_hash for file in files] or (
        may_be_there
        and any(file.origin and _is_same(asked.out, location.parse(file.origin)) for file in files)
    ):
        raise InputError(
            f"{asked.out}: batch {batch_id} was read from this file, which is never written over; "
            "give another name"
        )
    if sha256 is not None and not asked.overwrite:
        keep = (
            "to keep columns that you added to a finished workbook, submit it itself; otherwise "
            if asked.suffix != target.CSV
            else ""
        )
        raise InputError(
            f"{asked.out}: there is a file that batch {batch_id} did not write, or that was "
            f"changed since; {keep}give another name, or --overwrite"
        )


def export(engine: Engine, batch_id: str, asked: Target) -> Exported:
    """Write the batch's finished sheet as it is now. Raises InputError if it can't be written."""
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        files = batch_records.in_each_file(connection, batch)
    allow = guard(asked)
    with reading(engine) as connection:
        allow(connection, batch_id)
    copied: BatchRecord | None = None
    with transfer.uploaded(asked.out) as out, target.atomic(out) as file:
        if asked.suffix == target.CSV:
            with reading(engine) as connection:
                written = Written(_text_file(connection, batch, file))
        elif asked.plain or _suffix(batch.source) not in WORKBOOKS:
            with reading(engine) as connection:
                written = Written(_new_workbook(connection, batch, file, out))
        else:
            with (
                original_of(engine, files, asked.source) as original,
                reading(engine) as connection,
            ):
                path, place = original.path, original.batch
                if is_workbook(path, place.source):
                    written = _own_workbook(connection, place, asked, path, file)
                    copied = place
                else:
                    written = Written(_new_workbook(connection, place, file, out))
                written = replace(written, notes=(*original.notes, *written.notes))
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        with writing(engine) as connection:
            recording.record_export(connection, batch.id, sha256, copied)
    return Exported(batch, written)


def check_workbook(file: Path, sheet: Sheet, answers: Sequence[str], asked: Target) -> None:
    """Raise InputError if answers will not find their place in the workbook ``file``.

    Files that get a new workbook or text file instead are left alone. ``sheet`` is what was read
    of the file, and ``answers`` are the headers that the answers always have.
    """
    is_new = asked.plain or asked.suffix == target.CSV or _suffix(sheet.name) not in WORKBOOKS
    if not is_new and is_workbook(file, sheet.name):
        check_parts(
            file,
            name=sheet.name,
            sheet=sheet.title,
            header_row=sheet.header_row,
            new_columns=len(set(answers) - sheet.answers.keys()),
            macros=asked.suffix == ".xlsm",
        )


def _own_workbook(
    connection: Connection, batch: BatchRecord, asked: Target, source: Path, file: IO[bytes]
) -> Written:
    recipe = loading.recorded(batch.recipe)
    results, added = recipe.headers(), columns.added_to(batch)
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
        macros=asked.suffix == ".xlsm",
    )


def _answered(
    batch: BatchRecord,
    row: RecordedRow,
    results: Mapping[str, str],
    schemas: Mapping[str, object],
    added: list[Column],
) -> AnsweredRow:
    finished = FinishedRow.of(row)
    output = row.output or {}
    cells = [answer_cell(output.get(name), _schema(schemas.get(name))) for name in results]
    return AnsweredRow(
        batch.sheet_row(row.number) - 1,
        row.status,
        [*cells, *(column.value(finished) for column in added)],
    )


def _schema(schema: object) -> Mapping[str, object] | None:
    return schema if isinstance(schema, dict) else None  # a schema may also be true or false


def _new_workbook(connection: Connection, batch: BatchRecord, file: IO[bytes], out: Path) -> int:
    return writer.write_sheet(
        file,
        out,
        title=batch.sheet,
        header=batch.header,
        formats=batch.formats,
        widths=batch.widths,
        result_headers=loading.recorded(batch.recipe).headers(),
        added=columns.added_to(batch),
        rows=_whole_rows(connection, batch),
    )


def _text_file(connection: Connection, batch: BatchRecord, file: IO[bytes]) -> int:
    return csv_file.write_csv(
        file,
        header=batch.header,
        result_headers=loading.recorded(batch.recipe).headers(),
        added=columns.added_to(batch),
        rows=_whole_rows(connection, batch),
    )


def _whole_rows(connection: Connection, batch: BatchRecord) -> Iterator[FinishedRow]:
    """Yield the batch's rows with their original cells."""
    for row in recorded_rows(connection, batch.id):
        yield FinishedRow.of(row, decode_all(row.cells))
