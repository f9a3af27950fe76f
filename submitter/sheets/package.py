"""The checks of a workbook before any row of it is used, so that reading can't fail half way.

`check_package` looks at sizes before a byte is unpacked, and `check_others` proves the members
whole that nothing reads. A part that is read is parsed within the bounds of `safe_xml`, and is
well-formed and free of entities. `scan` walks the worksheet: it finds which rows and columns hold a
value and which formulas lack a stored one, and turns away what reading would stumble over. Rows in
the plain form of `plain_rows` pass beside expat. So 100,000 rows of 15 columns are proven in half
a second.
"""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from io import BufferedReader
from typing import IO

from rowfleet.errors import InputError

#: Bytes all members may unpack to (2 GiB). 100,000 rows of 15 columns need 60 MB.
MAX_UNPACKED_BYTES = 2 << 30
#: Bytes a member other than a worksheet may unpack to (512 MiB): shared strings stay in memory.
MAX_PART_BYTES = 512 << 20
#: Times a member may grow when unpacked: real worksheets 5 to 30, a bomb of zeros 1,032.
MAX_RATIO = 100
#: Bytes below which a member's ratio does not matter (32 MiB): small, whatever it grew from.
RATIO_FREE_BYTES = 32 << 20
#: Members of a workbook; real ones have dozens.
MAX_MEMBERS = 10_000
#: Bytes of the zip's directory (2 MiB), which `zipfile` reads whole: room for MAX_MEMBERS and more.
MAX_DIRECTORY_BYTES = 2 << 20
#: Bytes read at a time.
CHUNK = 128 << 10

#: How a zip file begins: with its first member, or with its end if it has none.
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
OLE_MAGIC = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

_END_RECORD = struct.Struct("<4s4H2LH")
#: The same for zips beyond 4 GiB, and the locator between the two.
_LARGE_END_RECORD, _LARGE_LOCATOR_BYTES = struct.Struct("<4sQ2H2L4Q"), 20


def refuse_ole(file: BufferedReader, name: str) -> None:
    """Raise the InputError for a file in Microsoft's compound format, which holds no .xlsx."""
    mark = "EncryptedPackage".encode("utf-16-le")
    encrypted, before = False, b""
    while not encrypted and (chunk := file.read(CHUNK)):
        encrypted = mark in before + chunk
        before = chunk[-len(mark) :]
    if encrypted:
        raise InputError(f"{name}: the workbook is encrypted; save it without a password")
    raise InputError(f"{name}: an old .xls workbook can't be read; save it as .xlsx")


def check_package(file: BufferedReader, name: str) -> zipfile.ZipFile:
    """Return the opened zip, whose members unpack to no more than a workbook may.

    Raises InputError when the zip is truncated or damaged, unpacks to too much, or is no Excel
    workbook. The readers of the members check what those hold; ``check_others`` has the rest.
    """
    _check_directory(file, name)
    with _one_sentence(name):
        package = zipfile.ZipFile(file)
    members = package.infolist()
    _check_sizes(members, name)
    _check_kind({member.filename for member in members}, name)
    return package


def check_others(package: zipfile.ZipFile, read: Collection[str | None], name: str) -> None:
    """Prove whole what nothing else reads to its end: all members but those in ``read``.

    They are unpacked and dropped, chunk by chunk; nothing parses them.
    """
    for member in package.infolist():
        if member.filename not in read:
            with opened(package, member.filename, name) as stream:
                while stream.read(CHUNK):
                    pass


def _is_worksheet(member: zipfile.ZipInfo) -> bool:
    return "/worksheets/" in member.filename and member.filename.lower().endswith(".xml")


def _damaged(name: str) -> InputError:
    return InputError(f"{name}: truncated or damaged, not a whole .xlsx file; copy it again")


#: What `zipfile` and its decompressors raise for a file that is not whole. A name whose bytes are
#: not the UTF-8 that they say is a UnicodeDecodeError.
_DAMAGES = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    UnicodeDecodeError,
)


@contextmanager
def _one_sentence(where: str) -> Iterator[None]:
    """Turn whatever the block raises into an InputError that begins with ``where``.

    Libraries raise many things for bytes that their authors did not foresee. Here all of them mean
    that the file can't be read, and nothing is recorded yet.
    """
    try:
        yield
    except InputError:
        raise
    except _DAMAGES:
        raise _damaged(where) from None
    except Exception as error:
        raise InputError(f"{where} can't be read ({type(error).__name__}); {MEND}") from None


def _check_directory(file: BufferedReader, name: str) -> None:
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_RECORD.size - 0xFFFF))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END_RECORD.size:
        raise _damaged(name)
    directory_bytes = _END_RECORD.unpack_from(tail, at)[5]
    # A larger record right before it wins, if there is one.
    large = at - _LARGE_LOCATOR_BYTES - _LARGE_END_RECORD.size
    if large >= 0 and tail[large : large + 4] == b"PK\x06\x06":
        directory_bytes = max(directory_bytes, _LARGE_END_RECORD.unpack_from(tail, large)[8])
    if directory_bytes > MAX_DIRECTORY_BYTES:
        raise InputError(f"{name}: has too many members for a spreadsheet")


def _check_sizes(members: Sequence[zipfile.ZipInfo], name: str) -> None:
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{name}: has {len(members):,} members, too many for a spreadsheet")
    twice = [part for part, count in Counter(m.filename for m in members).items() if count > 1]
    if twice:
        raise InputError(f"{name}: the zip holds the part {twice[0][:100]!r} twice")
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise InputError(f"{name}: unpacks to {_mib(total)}, more than {_mib(MAX_UNPACKED_BYTES)}")
    for member in members:
        if member.flag_bits & 1:
            raise InputError(f"{name}: the zip is encrypted; save it without a password")
        if not _is_worksheet(member) and member.file_size > MAX_PART_BYTES:
            raise InputError(
                f"{name}: {member.filename[:100]!r} unpacks to {_mib(member.file_size)}, "
                f"more than {_mib(MAX_PART_BYTES)}"
            )
        if (
            member.file_size > RATIO_FREE_BYTES
            and member.file_size > MAX_RATIO * member.compress_size
        ):
            raise InputError(
                f"{name}: {member.filename[:100]!r} grows more than {MAX_RATIO} times when "
                f"unpacked, as only a zip bomb does"
            )


def _mib(size: int) -> str:
    return f"{size >> 20:,} MiB"


@contextmanager
def opened(package: zipfile.ZipFile, member: str, name: str) -> Iterator[IO[bytes]]:
    """Open a member. InputError, which names it, for whatever reading it in the block raises."""
    with _one_sentence(f"{name}: the part {member[:100]!r}"), package.open(member) as stream:
        yield stream


def _check_kind(names: set[str], name: str) -> None:
    if "xl/workbook.bin" in names:
        raise InputError(f"{name}: an .xlsb workbook can't be read; save it as .xlsx")
    if "content.xml" in names and "mimetype" in names:
        raise InputError(f"{name}: an OpenDocument sheet can't be read; save it as .xlsx")
    if "[Content_Types].xml" not in names:
        raise InputError(f"{name}: a zip file, but not an Excel workbook")


#: What ends a sentence about XML that Excel would repair.
MEND = "open and save it in Excel"
