"""The encoding in which a document's text is kept in the ledger: bounded, versioned, compressed.

A version byte, then deflated: a JSON head of a line, and each page's boxes. It is also what the
process that opens documents hands over, so everything in it is checked.
"""

from __future__ import annotations

import json
import sys
import zlib
from array import array
from collections.abc import Iterator
from typing import Any, Final

from rowfleet.documents.extracted import WORD, Extracted, Kind, Page, UnreadPart
from rowfleet.documents.limits import MAX_DECODED_BYTES, MAX_ENCODED_BYTES
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.received import clean, read_json

#: The first byte. A later format takes another, and goes on reading this one.
VERSION: Final = b"\x01"
#: Bytes of a number in a page's boxes.
_EDGE = 2


class EncodingError(ValueError):
    """The bytes are no document's text, or of a format that only a newer version knows."""


def encode(extracted: Extracted) -> bytes:
    """Return the text as bytes.

    Raises UnreadableError (`too_large`) where they would be more than the ledger keeps.
    """
    pages = [
        {
            "text": clean(page.text),
            "width": page.width,
            "height": page.height,
            "ocr": page.is_ocr,
            "part": clean(page.part),
            "boxes": len(page.boxes),
        }
        for page in extracted.pages
    ]
    head = {
        "kind": extracted.kind,
        "page_count": extracted.page_count,
        "unread": [(clean(part), reason) for part, reason in extracted.unread],
        "pages": pages,
    }
    text = json.dumps(head, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    boxes = b"".join(_columns(page.boxes) for page in extracted.pages)
    encoded = VERSION + zlib.compress(text + b"\n" + boxes)
    if len(encoded) > MAX_ENCODED_BYTES or len(text) + len(boxes) >= MAX_DECODED_BYTES:
        raise UnreadableError(Unread.TOO_LARGE, "its text takes more room than a document may")
    return encoded


def decode(encoded: bytes) -> Extracted:
    """Return what `encode` was given. Raises EncodingError for anything else."""
    if encoded[:1] != VERSION:
        raise EncodingError("of another version")
    unpacker = zlib.decompressobj()
    try:
        content = unpacker.decompress(encoded[1:], MAX_DECODED_BYTES)
        if not unpacker.eof:
            raise EncodingError("cut off, or too large")
        text, _, boxes = content.partition(b"\n")
        return _extracted(read_json(text), boxes)
    except (zlib.error, ValueError, TypeError, KeyError) as error:
        raise EncodingError(f"damaged ({type(error).__name__})") from None


def _extracted(head: dict[str, Any], boxes: bytes) -> Extracted:
    pages = tuple(_pages(head["pages"], boxes))
    page_count = head["page_count"]
    if type(page_count) is not int or page_count < len(pages):
        raise ValueError(page_count)
    unread = tuple(UnreadPart(_str(part), Unread(reason)) for part, reason in head["unread"])
    return Extracted(Kind(head["kind"]), pages, page_count, unread)


def _pages(heads: list[dict[str, Any]], boxes: bytes) -> Iterator[Page]:
    at = 0
    for number, head in enumerate(heads, start=1):
        text, count = _str(head["text"]), head["boxes"]
        if count and count != 4 * sum(1 for _ in WORD.finditer(text)):
            raise ValueError(count)
        end = at + count * _EDGE
        if end > len(boxes):
            raise ValueError(end)
        yield Page(
            number,
            text,
            float(head["width"]),
            float(head["height"]),
            bool(head["ocr"]),
            _str(head["part"]),
            _rows(boxes[at:end]),
        )
        at = end


def _str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _columns(boxes: array[int]) -> bytes:
    """Return all left edges, then all top edges and so on: alike numbers side by side pack well."""
    columns = array("H")
    for edge in range(4):
        columns.extend(boxes[edge::4])
    return _little_endian(columns).tobytes()


def _rows(columns: bytes) -> array[int]:
    """Return boxes from `_columns`."""
    read = array("H")
    read.frombytes(columns)
    read = _little_endian(read)
    count = len(read) // 4
    rows = array("H", bytes(len(columns)))
    for edge in range(4):
        rows[edge::4] = read[edge * count : (edge + 1) * count]
    return rows


def _little_endian(numbers: array[int]) -> array[int]:
    if sys.byteorder == "big":
        numbers = array("H", numbers)
        numbers.byteswap()
    return numbers
