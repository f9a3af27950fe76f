"""The bounds of a transfer: its size, its memory, and its tries."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rowfleet.errors import InputError

#: Bytes that are held at once while an object is read.
CHUNK_BYTES = 1 << 20

#: Bytes of a sheet that is downloaded (2 GiB): a workbook may not unpack to more, either.
MAX_SHEET_BYTES = 2 << 30

#: Seconds between tries of a transfer that broke off: five tries, so that a server's restart is
#: survived, and 15 seconds in all, so that the user still looks when a dead server is reported.
WAITS = (1, 2, 4, 8)

#: The media types of finished sheets; https://www.rfc-editor.org/rfc/rfc4180 has that of a .csv.
XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
XLSM: Final = "application/vnd.ms-excel.sheet.macroEnabled.12"
CSV: Final = "text/csv; charset=utf-8"


def content_type(path: Path) -> str:
    """Return the media type of a finished sheet."""
    return {".xlsm": XLSM, ".csv": CSV}.get(path.suffix.lower(), XLSX)


class Broken(Exception):
    """A transfer broke off, or the object changed meanwhile; another try may do. Says how."""


def check_size(source: object, size: int | None) -> None:
    """Raise InputError if ``size``, in bytes, is more than MAX_SHEET_BYTES; None is not known."""
    if size is not None and size > MAX_SHEET_BYTES:
        raise InputError(f"{source}: is larger than {MAX_SHEET_BYTES >> 20:,} MiB")
