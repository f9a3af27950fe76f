"""Locks that end with their processes: they tell a run that lives from one that was killed.

A process number says less: another process may have it by now, in a container it is always the
same, and a worker may outlive its submitter. The kernel drops a lock when the last process that
holds it has ended, however it ended, and no lock outlasts a power cut.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rowfleet.errors import ServiceError

#: End of a lock's file name.
SUFFIX = ".lock"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ServiceError, which names ``path``, where the disk is full, say."""
    try:
        yield
    except OSError as error:
        raise ServiceError(f"{path}: can't be written: {error.strerror}") from None


class RunLock:
    """A lock that this process holds, and every child that it passes `descriptor` to."""

    def __init__(self, directory: Path, prefix: str = "", *, note: str = "") -> None:
        """Make and hold ``directory/PREFIX<name>.lock``, under a new name, with ``note`` in it."""
        self.name = f"{prefix}{uuid.uuid4().hex[:8]}"
        self._path = directory / f"{self.name}{SUFFIX}"
        with writing(directory):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.descriptor = self._hold()
        self.annotate(note)

    def annotate(self, note: str) -> None:
        """Replace the note, for other processes to read."""
        text = note.encode()
        with writing(self._path):
            os.pwrite(self.descriptor, text, 0)
            os.ftruncate(self.descriptor, len(text))

    def _hold(self) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_still(self._path, descriptor):
                return descriptor
            os.close(descriptor)  # a look for dead runs removed the file before it was held

    def release(self) -> None:
        """Let go of the lock and remove its file. Children that still run keep the lock."""
        self._path.unlink(missing_ok=True)
        os.close(self.descriptor)


@contextmanager
def _taken(path: Path) -> Iterator[bool]:
    """Yield whether the lock was free; then it is held until the end."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # removed meanwhile, or another user's
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield _is_still(path, descriptor)
    finally:
        os.close(descriptor)


def dead(directory: Path) -> Iterator[str]:
    """Yield the names of locks in ``directory`` whose processes have all ended.

    A lock's file is removed when the caller comes back for the next one: if cleaning up after a
    run fails, the next look finds it again.
    """
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        with _taken(path) as free:
            if free:
                yield path.name.removesuffix(SUFFIX)
                path.unlink(missing_ok=True)


def notes(directory: Path, prefix: str = "") -> Iterator[str]:
    """Yield the notes of the locks in ``directory`` that a process holds, this one too.

    ``prefix``: with which the lock's name begins.
    """
    for path in directory.glob(f"{prefix}*{SUFFIX}"):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield os.read(descriptor, 1024).decode(errors="replace")
        finally:
            os.close(descriptor)


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
