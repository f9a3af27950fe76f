"""The file that a finished sheet becomes: whether it can be written, and that it appears whole."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

from rowfleet.errors import InputError

#: How the names begin of files that are there while one is written.
PREFIX = ".rowfleet-"
#: The suffix of a finished sheet that is a text file.
CSV = ".csv"
#: Suffixes of finished sheets: a workbook's, that of one with macros, and a text file's.
SUFFIXES = (".xlsx", ".xlsm", CSV)


def check_target(out: Path) -> None:
    """Raise InputError unless a finished sheet can be written to ``out``; it is left as it is."""
    if out.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"{out}: a finished sheet is an .xlsx or .csv file; give a name that ends so"
        )
    if out.is_dir():
        raise InputError(f"{out}: is a directory; give the name of an .xlsx file")
    if out.exists() and not out.is_file():
        raise InputError(f"{out}: is not a regular file")
    partial = _partial(out)
    try:
        partial.touch(exist_ok=False)
        partial.unlink()
    except (OSError, ValueError) as error:
        raise _unwritable(out, error) from None


@contextmanager
def atomic(out: Path) -> Iterator[BufferedRandom]:
    """Give a file that becomes ``out`` when the block ends well, and is gone otherwise.

    It never has a right that the file there has not, and none that the umask takes away.
    """
    partial = _partial(out)
    try:
        mode = 0o666 & (out.stat().st_mode if out.exists() else 0o666)
        with open(partial, "x+b", opener=lambda path, flags: os.open(path, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, out)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise _unwritable(out, error) from None
        raise
    finally:
        partial.unlink(missing_ok=True)


def _partial(out: Path) -> Path:
    return out.parent / f"{PREFIX}{secrets.token_hex(6)}.part"


def _unwritable(out: Path, error: Exception) -> InputError:
    reason = getattr(error, "strerror", None) or error
    return InputError(f"{out}: can't be written: {reason}")
