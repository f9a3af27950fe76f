"""A folder of this machine, or a volume that is mounted here."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

from rowfleet.documents.places.folders import Seen, UnreachableError
from rowfleet.documents.places.root import Root
from rowfleet.documents.unread import Unread, UnreadableError

CHUNK_BYTES: Final = 1 << 20

#: Errors that say that there is no such file, and that a link stands where none was.
_MISSING: Final = (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
_LINK: Final = (errno.ELOOP, errno.EMLINK)


class LocalFolder:
    """Opens no file outside of its root, whatever links are in it and whenever they change."""

    def __init__(self, root: Root) -> None:
        self._root = os.path.realpath(root.path)

    def look(self, place: str) -> Seen | None:
        """Return the file at ``place``, None without one."""
        try:
            descriptor = self._open(place)
        except UnreadableError as error:
            if error.reason == Unread.MISSING:
                return None
            raise
        try:
            found = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        return Seen(found.st_size, f"{found.st_size}-{found.st_mtime_ns}")

    def names(self, folder: str) -> Iterator[str]:
        """Yield the places of all files below ``folder``; links to folders are not followed."""
        top = os.path.realpath(os.path.join(self._root, folder))
        if not self._holds(top):
            return
        for path, folders, files in os.walk(top, onerror=_refuse):
            folders.sort()
            for name in sorted(files):
                whole = os.path.join(path, name)
                below = os.path.relpath(whole, top)
                yield f"{folder}/{below}" if folder else below

    def chunks(self, place: str) -> Iterator[bytes]:
        """Yield the bytes of a file."""
        descriptor = self._open(place)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            while True:
                try:
                    chunk = file.read(CHUNK_BYTES)
                except OSError as error:
                    raise UnreachableError(error.strerror or "it can't be read") from None
                if not chunk:
                    return
                yield chunk

    def _holds(self, path: str) -> bool:
        return path == self._root or path.startswith(f"{self._root.rstrip('/')}/")

    def _open(self, place: str) -> int:
        """Return a descriptor of the file.

        Links may lead to other places below the root. They are resolved first; then each part is
        opened without following a link, so that one that appears meanwhile is refused.
        """
        real = os.path.realpath(os.path.join(self._root, place))
        if not self._holds(real):
            raise UnreadableError(Unread.OUTSIDE_ROOT, "a link leads there")
        parts = [part for part in os.path.relpath(real, self._root).split("/") if part != "."]
        try:
            folder = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise UnreachableError(f"{self._root}: {error.strerror}") from None
        try:
            for part in parts[:-1]:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                inner = os.open(part, flags, dir_fd=folder)
                os.close(folder)
                folder = inner
            # Without waiting, as for the other end of a pipe.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            descriptor = os.open(parts[-1] if parts else ".", flags, dir_fd=folder)
        except OSError as error:
            if error.errno in _MISSING:
                raise UnreadableError(Unread.MISSING) from None
            if error.errno in _LINK:
                raise UnreadableError(Unread.OUTSIDE_ROOT, "a link leads there") from None
            if error.errno == errno.ENXIO:  # a pipe or a socket
                raise UnreadableError(Unread.UNKNOWN_KIND, "it is no file") from None
            raise UnreachableError(error.strerror or "it can't be opened") from None
        finally:
            os.close(folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UnreadableError(Unread.UNKNOWN_KIND, "it is no file")
        return descriptor


def _refuse(error: OSError) -> None:
    if error.errno not in _MISSING:
        raise UnreachableError(error.strerror or "it can't be read")
