"""The file of a batch's rows: where it was read, or a finished sheet that the batch wrote."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.records import BatchRecord
from rowfleet.storage import location, transfer
from rowfleet.storage.location import Location
from submitter.sheets.other_formats.kinds import kind_of
from submitter.sheets.package import ZIP_MAGICS, open_package


def sha256_of(path: Path, place: Location) -> str:
    """Return the hash of a file, in hex. ``place`` is what an error calls it."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{place}: can't be read: {error.strerror}") from None


@dataclass(frozen=True, slots=True)
class Original:
    """A file that the answers can be put into."""

    path: Path
    batch: BatchRecord  #: As it stands in this file.
    notes: tuple[str, ...] = ()


@contextmanager
def original_of(
    engine: Engine, files: list[BatchRecord], source: Location | None
) -> Iterator[Original]:
    """Give a file that the batch was read from, or that it wrote; the newest one that is there.

    ``files`` has the batch as it stands in each. Raises InputError if there is none, or if the
    one at ``source``, where a person says that it is, is another.
    """
    batch = files[0]
    how = "give the one that it was read from with --source FILE, or write a new workbook with "
    how += "--plain"
    if source is None and batch.origin is None:
        raise InputError(
            f"batch {batch.id} was recorded by a version that did not note where {batch.source} "
            f"was; {how}"
        )
    with ExitStack() as stack:
        if source is not None:
            places = [source]
        else:
            places = [location.parse(file.origin) for file in files if file.origin is not None]
        reasons: list[str] = []
        for place in places:
            try:
                found = _usable(engine, files, place, stack)
            except InputError as error:
                reasons.append(str(error))
                continue
            if reasons:
                note = f"{reasons[0]}; the answers are in a copy of {place}, which it was read from"
                found = replace(found, notes=(f"{note} before",))
            yield found
            return
        raise InputError(f"{reasons[0]}; {how}")


def _usable(
    engine: Engine, files: list[BatchRecord], place: Location, stack: ExitStack
) -> Original:
    """Return the file at ``place``, there until ``stack`` ends. InputError if it is another."""
    batch_id = files[0].id
    if isinstance(place, Path) and not os.path.exists(place):
        raise InputError(f"{place}: the workbook that batch {batch_id} was read from is not there")
    path = stack.enter_context(transfer.downloaded(place))
    sha256 = sha256_of(path, place)
    for file in files:
        if file.file_hash == sha256:
            return Original(path, file)
    with reading(engine) as connection:
        exported = batch_records.in_exported(connection, files[0], sha256)
    if exported is not None:
        return Original(path, exported)
    raise InputError(
        f"{place}: is not the workbook that batch {batch_id} was read from, or was changed since"
    )


def is_workbook(path: Path, name: str) -> bool:
    """Tell whether a file that is named like a workbook is one, and none of an older kind."""
    with path.open("rb") as file:
        if not file.read(4).startswith(ZIP_MAGICS):
            return False
        with open_package(file, name) as package:
            return kind_of(package, name) is None
