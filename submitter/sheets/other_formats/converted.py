"""A workbook of another format as an .xlsx of its values, made by a child process.

calamine holds a whole workbook in memory, and a few bytes of a file can ask it for gigabytes. So it
runs in a process of its own, whose memory and time are bounded, and which may die of either. What
it writes is read under the same checks as any other .xlsx.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from rowfleet.errors import InputError
from submitter.sheets.other_formats.conversion import (
    ENCRYPTED,
    MAX_CPU_SECONDS,
    MAX_MEMORY_BYTES,
    NO_MEMORY,
    NO_ROOM,
)

_CHILD = "submitter.sheets.other_formats.conversion"
#: The folder from which the child imports; that of the command may hold other modules.
_ROOT = Path(__file__).resolve().parents[3]


@contextmanager
def converted(file: BinaryIO, kind: str, wanted: str | None, name: str) -> Iterator[BinaryIO]:
    """Give the worksheet ``wanted`` of a file as an .xlsx, until the ``with`` block ends.

    The .xlsx names the other sheets, too, but only that one holds cells: without ``wanted`` the
    first visible one. ``kind`` is `.xls`, `.xlsb` or `.ods`. Raises
    InputError for a file that can't be read within the child's bounds.
    """
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as out:
        # calamine goes by the suffix; without one it tries all formats and says less of an error.
        source = Path(folder, f"source{kind}")
        source.symlink_to("/dev/stdin")
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        child = subprocess.run(
            [sys.executable, "-m", _CHILD, source, *([wanted] if wanted is not None else [])],
            stdin=file,
            stdout=out,
            stderr=subprocess.DEVNULL,  # a panic prints what it stumbled over
            cwd=_ROOT,
            check=False,
        )
        if child.returncode:
            raise InputError(f"{name}: {_reason(child.returncode, kind)}")
        out.seek(0)
        yield out


def _reason(code: int, kind: str) -> str:
    if code == ENCRYPTED:
        return "the workbook is encrypted; save it without a password"
    if code == NO_ROOM:
        return f"an {kind} is converted in a temporary file, and there is no room for it"
    # A process that gets no memory aborts; one that the kernel has none for is killed.
    if code in (NO_MEMORY, -signal.SIGABRT, -signal.SIGKILL):
        return (
            f"an {kind} that takes more than {MAX_MEMORY_BYTES >> 20} MiB of memory is not read; "
            f"save it as .xlsx, which is read row by row"
        )
    if code == -signal.SIGXCPU:
        return f"an {kind} that takes over {MAX_CPU_SECONDS} seconds is not read; save it as .xlsx"
    return (
        f"truncated or damaged, not an {kind} that can be read; "
        f"open it in Excel or LibreOffice and save it as .xlsx"
    )
