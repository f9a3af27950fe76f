"""What goes to a model of a document beside its text: pictures of its pages, or the file itself.

Encoded for the ledger: a letter, then each picture with its length before it, or the file's bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from typing import Final

from rowfleet.documents.unread import Unread, UnreadableError

#: Bytes of a document's pictures, or of its file, at most (8 MiB): base64 makes a third more of it,
#: and OpenAI takes 50 MB a request.
MAX_ATTACHED_BYTES: Final = 8 << 20
#: Pixels of a picture's longer side: what OpenAI scales a picture down to is no larger.
MAX_SIDE: Final = 1_568

_PICTURES, _FILE = b"P", b"F"
_LENGTH: Final = struct.Struct("!I")


def of_pictures(pictures: Sequence[bytes]) -> bytes:
    """Return pages as pictures, encoded. Raises UnreadableError where they are too large."""
    return _bounded(
        _PICTURES + b"".join(_LENGTH.pack(len(picture)) + picture for picture in pictures)
    )


def of_file(content: bytes) -> bytes:
    """Return a file, encoded. Raises UnreadableError where it is too large."""
    return _bounded(_FILE + content)


def _bounded(encoded: bytes) -> bytes:
    if len(encoded) > MAX_ATTACHED_BYTES:
        most = f"over {MAX_ATTACHED_BYTES >> 20} MiB, the most that is sent to a model"
        raise UnreadableError(Unread.TOO_LARGE, most)
    return encoded


def decode(encoded: bytes | None) -> tuple[tuple[bytes, ...], bytes | None]:
    """Return the pictures and the file: of what `of_pictures` or `of_file` gave, or nothing."""
    if encoded is None:
        return (), None
    if encoded[:1] == _FILE:
        return (), encoded[1:]
    pictures, at = [], 1
    while at < len(encoded):
        (length,) = _LENGTH.unpack_from(encoded, at)
        at += _LENGTH.size
        pictures.append(encoded[at : at + length])
        at += length
    return tuple(pictures), None


def text_id(content_hash: str, reading: str, suffix: str) -> str:
    """Return the key of what is read of a content: files with the same content share it.

    ``suffix`` is that of the file's name, which says what the content should be.
    """
    key = "\0".join((content_hash, reading, suffix.lower()))
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()
