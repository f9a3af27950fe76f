"""Looking at files below the root, and fetching them.

A folder says of a file what tells its versions apart, lists the files that match a pattern, and
copies one into a temporary file of bounded size.
"""

from __future__ import annotations

import fnmatch
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Final, Protocol

from rowfleet.documents.limits import MAX_FILE_BYTES
from rowfleet.documents.places.reference import WILDCARDS
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError

#: Files that one pattern may name, and that are looked through for it.
MOST_MATCHES: Final = 50
MOST_LOOKED_AT: Final = 100_000


class UnreachableError(Exception):
    """The storage does not answer or refuses a key. Another try may succeed. Says why."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it is found: its size in bytes, and what tells its versions apart."""

    size: int
    version: str


class Folder(Protocol):
    """A root, by its kind."""

    def look(self, place: str) -> Seen | None:
        """Return the file at ``place``, None without one.

        Raises UnreadableError for a place that leads elsewhere, UnreachableError.
        """
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield the places of all files below ``folder``. Raises UnreachableError."""
        ...

    def chunks(self, place: str) -> Iterator[bytes]:
        """Yield the bytes of a file. Raises UnreadableError, UnreachableError."""
        ...


def open_folder(root: Root) -> Folder:
    """Return the folder at ``root``. Nothing is asked of it yet."""
    if root.is_local:
        from rowfleet.documents.places.local_folder import LocalFolder

        return LocalFolder(root)
    from rowfleet.documents.places.store_folder import StoreFolder

    return StoreFolder(root)


def matching(folder: Folder, pattern: str) -> list[str]:
    """Return the places that match ``pattern`` part by part, in order: no `*` stands for a slash.

    Raises UnreadableError where they are too many, UnreachableError.
    """
    parts = pattern.split("/")
    fixed = next(at for at, part in enumerate((*parts, "*")) if WILDCARDS & set(part))
    found: list[str] = []
    for count, place in enumerate(folder.names("/".join(parts[:fixed]))):
        if count >= MOST_LOOKED_AT:
            raise UnreadableError(Unread.TOO_LARGE, f"over {MOST_LOOKED_AT:,} files are below it")
        names = place.split("/")
        if len(names) == len(parts) and all(map(fnmatch.fnmatchcase, names, parts)):
            found.append(place)
            if len(found) > MOST_MATCHES:
                raise UnreadableError(Unread.TOO_LARGE, f"over {MOST_MATCHES} files match it")
    return sorted(found)


@contextmanager
def fetched(folder: Folder, place: str, *, most: int = MAX_FILE_BYTES) -> Iterator[IO[bytes]]:
    """Give the file at ``place`` as a temporary one, until the ``with`` block ends.

    Raises UnreadableError for one of more than ``most`` bytes, or none; UnreachableError; and
    InputError where no temporary file can be written.
    """
    with _temporary() as file:
        size = 0
        for chunk in folder.chunks(place):
            size += len(chunk)
            if size > most:
                raise UnreadableError(Unread.TOO_LARGE, f"over {most >> 20} MiB")
            try:
                file.write(chunk)
            except OSError as error:
                raise _no_room(error) from None
        file.flush()
        file.seek(0)
        yield file


def _temporary() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(prefix="rowfleet-document-")
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> InputError:
    return InputError(
        f"a document can't be kept in {tempfile.gettempdir()}: {error.strerror}; "
        "set TMPDIR to a directory with more room"
    )
