"""Spreadsheets that are not on this machine's disk: objects in S3, Google Cloud Storage or Azure
Blob Storage, and https URLs.

A sheet is read by seeking, so an object is streamed into a temporary file first (`downloaded`). A
finished sheet is written to a temporary file before it is sent (`uploaded`). Memory is a few
chunks, disk is the object's size, in `TMPDIR`. Nothing else is kept: a process that is killed half
way can be started again.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from rowfleet.errors import InputError, ServiceError
from rowfleet.storage.bounds import WAITS, Broken, check_size
from rowfleet.storage.location import Location
from rowfleet.storage.schemes import SCHEMES, Client
from rowfleet.storage.uri import Uri


@contextmanager
def downloaded(source: Location) -> Iterator[Path]:
    """Give the file at ``source``, on this machine until the ``with`` block ends.

    Raises InputError if there is none, it may not be read, or the disk is full; ServiceError if the
    storage can't be reached.
    """
    if isinstance(source, Path):
        yield source
        return
    with _folder(source) as folder:
        path = folder / "sheet"
        for wait in (*WAITS, None):
            try:
                _download(source, path)
                break
            except Broken as error:
                if wait is None:
                    raise ServiceError(f"{source}: {error}, {len(WAITS) + 1} times") from None
                time.sleep(wait)
        yield path


def _download(source: Uri, path: Path) -> None:
    chunks = _client(source).read(source)
    got = 0
    with _disk_of(source, path.parent), path.open("wb") as file:
        for chunk in chunks:
            got += len(chunk)
            check_size(source, got)
            file.write(chunk)


@contextmanager
def uploaded(target: Location) -> Iterator[Path]:
    """Give the path of a file that is to be written, and is at ``target`` when the block ends well.

    An object appears there whole or not at all. Raises InputError if it may not be written, and
    ServiceError if the storage can't be reached.
    """
    if isinstance(target, Path):
        yield target
        return
    with _folder(target) as folder:
        path = folder / f"finished{PurePosixPath(target.key).suffix.lower()}"
        try:
            with _disk_of(target, folder):
                yield path
        except InputError as error:  # it names the file; the user knows the URI
            both = f"{target}, first as {path}"
            raise InputError(str(error).replace(str(path), both)) from None
        _client(target).write(target, path)


def check_target(target: Uri) -> None:
    """Raise InputError unless ``target`` can be written, as far as that can be told without leaving
    anything there; ServiceError if the storage can't be reached."""
    _client(target).check_target(target)


def is_there(target: Location) -> bool:
    """Tell whether there is a file; False for one that may be written and not seen."""
    if isinstance(target, Path):
        return os.path.exists(target)  # unlike `Path.exists`, it takes a name that is too long
    return _client(target).is_there(target)


def _client(uri: Uri) -> Client:
    return SCHEMES[uri.scheme].client()


@contextmanager
def _folder(uri: Uri) -> Iterator[Path]:
    try:
        folder = tempfile.TemporaryDirectory(prefix="rowfleet-sheet-", ignore_cleanup_errors=True)
    except OSError as error:
        raise InputError(
            f"{uri}: no directory for temporary files can be written ({error.strerror or error}); "
            "set TMPDIR to one"
        ) from None
    with folder as name:
        yield Path(name)


@contextmanager
def _disk_of(uri: Uri, folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{uri}: can't be kept in {folder.parent}: {error.strerror}; "
            "set TMPDIR to a directory with more room"
        ) from None
