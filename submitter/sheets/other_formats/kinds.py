"""Which of the other formats a file has."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from rowfleet.errors import InputError
from submitter.sheets.package import CHUNK, Members

#: How a file in Microsoft's compound format begins: an .xls, or anything with a password.
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

#: Bytes that an .xls may have, or the parts of an .xlsb or .ods that are read: 1 GiB. 100,000 rows
#: of 15 columns are 33 MB of .xls and 250 MB of unpacked .ods.
MAX_BYTES = 1 << 30


def check_compound(file: BinaryIO, name: str) -> None:
    """Refuse a file in Microsoft's compound format that is encrypted or far too large."""
    mark = "EncryptedPackage".encode("utf-16-le")
    before = b""
    size = 0
    while chunk := file.read(CHUNK):
        if mark in before + chunk:
            raise InputError(f"{name}: the workbook is encrypted; save it without a password")
        before = chunk[-len(mark) :]
        size += len(chunk)
    _check_size(size, name, ".xls")


def kind_of(package: zipfile.ZipFile, name: str) -> str | None:
    """Return `.xlsb` or `.ods`, None for a zip that is neither.

    Raises InputError for one that unpacks to far too much.
    """
    members = Members(package.namelist())
    if "xl/workbook.bin" in members:
        kind, parts = ".xlsb", ".bin"
    elif "content.xml" in members and "mimetype" in members:
        kind, parts = ".ods", "content.xml"
    else:
        return None
    read = [member for member in package.infolist() if member.filename.endswith(parts)]
    _check_size(sum(member.file_size for member in read), name, kind)
    return kind


def _check_size(size: int, name: str, kind: str) -> None:
    if size > MAX_BYTES:
        raise InputError(
            f"{name}: an {kind} of {size >> 20:,} MiB, more than {MAX_BYTES >> 20:,} MiB, is not "
            f"read; save it as .xlsx"
        )
