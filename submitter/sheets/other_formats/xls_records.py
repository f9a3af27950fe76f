"""The records of an .xls: a type and a size of two bytes each, then the content. [MS-XLS] 2.1.4"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import olefile

_BOUNDSHEET, _BOF, _EOF, _CODEPAGE = 0x0085, 0x0809, 0x000A, 0x0042
#: Version of the format from Excel 97 on. Its text is UTF-16, whatever code page it names.
_BIFF8, _UTF_16 = 0x0600, 1200


def read(path: str) -> bytes:
    """Return the workbook's records."""
    with olefile.OleFileIO(path) as container:
        content: bytes = container.openstream(_stream(container)).read()
    return content


def _stream(container: olefile.OleFileIO[str]) -> str:
    return next(name for name in ("Workbook", "Book") if container.exists(name))


def of_sheet(records: bytes, sheet: int) -> Iterator[tuple[int, int]]:
    """Yield (type, place of the content) of a sheet's records, not those of a chart within it."""
    starts = [_number(records, at, "<L") for kind, at in _part(records, 0) if kind == _BOUNDSHEET]
    return _part(records, starts[sheet])


def _part(records: bytes, at: int) -> Iterator[tuple[int, int]]:
    depth = 0
    while at + 4 <= len(records):
        kind, size = struct.unpack_from("<HH", records, at)
        if kind == _BOF:
            depth += 1
        elif kind == _EOF:
            depth -= 1
            if depth <= 0:
                return
        if depth <= 1:
            yield kind, at + 4
        at += 4 + size


def _number(records: bytes, at: int, form: str) -> int:
    number: int = struct.unpack_from(form, records, at)[0]
    return number


def with_true_code_page(path: str) -> str:
    """Return the path of the workbook, or of a copy beside it whose text calamine decodes rightly.

    Some programs write the code page of their system into a file of Excel 97 or newer. Excel does
    not look at it there, but calamine decodes UTF-16 by it.
    """
    records = read(path)
    version = None
    for kind, at in _part(records, 0):
        if kind == _BOF and version is None:
            version = _number(records, at, "<H")
        elif kind == _CODEPAGE and version == _BIFF8 and _number(records, at, "<H") != _UTF_16:
            copy = Path(path).with_name("copy.xls")
            shutil.copyfile(path, copy)
            with olefile.OleFileIO(str(copy), write_mode=True) as container:
                patched = records[:at] + struct.pack("<H", _UTF_16) + records[at + 2 :]
                container.write_stream(_stream(container), patched)
            return str(copy)
    return path
