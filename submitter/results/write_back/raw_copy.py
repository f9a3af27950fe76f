"""Members of a zip file copied as they are, without unpacking them."""

from __future__ import annotations

import copy
import struct
import zipfile
from typing import IO

from rowfleet.errors import InputError

#: Bytes read at a time.
CHUNK = 256 << 10
#: Bytes of a member's name and of its extra field: a zip holds 65,535, and `zipfile` adds large
#: sizes (28 bytes) to the latter.
MAX_FIELD_BYTES = 65_500
#: A member's local header (PKWARE's APPNOTE 4.3.7): its signature, its fixed part, and where in
#: that the lengths of the name and the extra field stand.
_SIGNATURE, _FIXED_BYTES, _LENGTHS = b"PK\x03\x04", 30, struct.Struct("<26x2H")
#: The flag of a member whose sizes stand behind it, and the tag of the extra field of large sizes.
_SIZES_BEHIND, _LARGE_SIZES = 0x08, 1


def copy_member(
    source: IO[bytes], member: zipfile.ZipInfo, target: zipfile.ZipFile, name: str
) -> None:
    """Copy a member of the zip file ``source`` into ``target``, compressed as it is.

    Its data is not unpacked, so its checksum is copied too. Raises InputError, beginning with
    ``name``, if the file ends too early.
    """
    new = found(source, member, name)
    file = target.fp
    assert file is not None
    file.seek(target.start_dir)
    new.header_offset = file.tell()
    file.write(new.FileHeader())
    left = new.compress_size
    while left:
        chunk = source.read(min(CHUNK, left))
        if not chunk:
            raise InputError(f"{name}: truncated or damaged, not a whole .xlsx file; copy it again")
        file.write(chunk)
        left -= len(chunk)
    target.start_dir = file.tell()
    target.filelist.append(new)
    target.NameToInfo[new.filename] = new


def found(source: IO[bytes], member: zipfile.ZipInfo, name: str) -> zipfile.ZipInfo:
    """Go to a member's data in the zip file ``source``; return the member for another zip file.

    Raises InputError, beginning with ``name``, if it can't be copied.
    """
    source.seek(member.header_offset)
    fixed = source.read(_FIXED_BYTES)
    if len(fixed) < _FIXED_BYTES or not fixed.startswith(_SIGNATURE):
        raise InputError(f"{name}: truncated or damaged, not a whole .xlsx file; copy it again")
    source.seek(sum(_LENGTHS.unpack(fixed)), 1)
    new = copy.copy(member)
    new.flag_bits &= ~_SIZES_BEHIND
    new.extra = _without_sizes(member.extra)
    if max(len(new.extra), len(member.filename.encode())) > MAX_FIELD_BYTES:
        raise InputError(f"{name}: the part {member.filename[:100]!r} has too long a field")
    return new


def _without_sizes(extra: bytes) -> bytes:
    """Return extra fields without that of large sizes, which `zipfile` writes anew if needed."""
    kept = bytearray()
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<2H", extra)
        if tag != _LARGE_SIZES:
            kept += extra[: 4 + length]
        extra = extra[4 + length :]
    return bytes(kept)
