"""A batch's finished sheet: the user's own workbook with the answers in it, or a new file.

The hash of each file that is written is recorded in the ledger first. So a file that this program
wrote can be told from one that a person has changed since, which is not written over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePath
from tempfile import NamedTemporaryFile
from typing import IO

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection, Engine, reading, writing
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.transitions import recording
from rowfleet.storage import location, transfer
from rowfleet.storage.location import Location
from submitter.results import composing, history, target
from submitter.results.added_sheets.appending import append_sheets
from submitter.results.composing import Sheets
from submitter.results.original import Original, is_workbook, original_of, sha256_of
from submitter.results.write_back.finished import Written
from submitter.results.write_back.refusals import check_parts
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


def export(
    engine: Engine, batch_id: str, asked: Target, sheets: Sheets = history.sheets
) -> Exported:
    """Write the batch's finished sheet as it is now. Raises InputError if it can't be written.

    A workbook gets ``sheets`` behind its own; a text file and one that is ``plain`` have none.
    """
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
        files = batch_records.in_each_file(connection, batch)
    allow = guard(asked)
    with reading(engine) as connection:
        allow(connection, batch_id)
    copied: BatchRecord | None = None
    with transfer.uploaded(asked.out) as out, target.atomic(out) as file, ExitStack() as stack:
        connection = stack.enter_context(reading(engine))
        if asked.suffix == target.CSV:
            written = Written(composing.text_file(connection, batch, file))
        else:
            original = None
            if not asked.plain and _suffix(batch.source) in WORKBOOKS:
                original = stack.enter_context(original_of(engine, files, asked.source))
            written, copied = _workbook(connection, batch, asked, original, sheets, file, out)
        file.seek(0)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        stack.close()
        with writing(engine) as connection:
            recording.record_export(connection, batch.id, sha256, copied)
    return Exported(batch, written)


def _workbook(
    connection: Connection,
    batch: BatchRecord,
    asked: Target,
    original: Original | None,
    sheets: Sheets,
    file: IO[bytes],
    out: Path,
) -> tuple[Written, BatchRecord | None]:
    """Write the workbook into ``file``, for ``out``.

    The second value is the batch as it stands in the file of which the workbook is a copy; None:
    it is a new one.
    """
    notes: tuple[str, ...] = ()
    is_own = False
    if original is not None:
        batch, notes = original.batch, original.notes
        is_own = is_workbook(original.path, batch.source)
    places = (
        composing.places_in_own(batch) if is_own else composing.places_in_new(connection, batch)
    )

    def write(book: IO[bytes]) -> Written:
        if original is None or not is_own:
            return Written(composing.new_workbook(connection, batch, book, out))
        macros = asked.suffix == ".xlsm"
        return composing.own_workbook(connection, batch, original.path, book, macros=macros)

    added = () if asked.plain else sheets(connection, batch, places)
    if added:
        with NamedTemporaryFile(dir=out.parent, prefix=target.PREFIX) as book:
            written = write(book)
            book.flush()
            append_sheets(Path(book.name), file, added, name=batch.source)
    else:
        written = write(file)
    return replace(written, notes=(*notes, *written.notes)), batch if is_own else None


def check_workbook(file: Path, sheet: Sheet, answers: Sequence[str], asked: Target | None) -> None:
    """Raise InputError if answers will not find their place in the workbook ``file``.

    Files that get a new workbook or text file instead are left alone. ``sheet`` is what was read
    of the file, ``answers`` are the headers that the answers always have, and ``asked`` is None if
    it is not said yet what becomes of them.
    """
    is_new = asked is not None and (asked.plain or asked.suffix == target.CSV)
    if not is_new and _suffix(sheet.name) in WORKBOOKS and is_workbook(file, sheet.name):
        check_parts(
            file,
            name=sheet.name,
            sheet=sheet.title,
            header_row=sheet.header_row,
            edge=sheet.edge,
            new_columns=len(set(answers) - sheet.answers.keys()),
            macros=None if asked is None else asked.suffix == ".xlsm",
        )
