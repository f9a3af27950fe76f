"""MSG: an e-mail as Outlook saves it, in Microsoft's compound format.

[MS-OXMSG] names the streams by their property: `__substg1.0_`, its number and its type.
"""

from __future__ import annotations

import datetime
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import olefile

from rowfleet.documents.opening.detection import decoded_as
from rowfleet.documents.opening.kinds.mail import LOGO_BYTES, chosen, with_head
from rowfleet.documents.opening.kinds.rich_text import text_of_rtf, unpacked
from rowfleet.documents.opening.reading import Reading

#: The numbers of properties, in [MS-OXPROPS].
_SUBJECT, _SENDER, _ADDRESS, _TO, _CC = "0037", "0C1A", "5D01", "0E04", "0E03"
_BODY, _HTML, _RTF, _CODE_PAGE = "1000", "1013", "1009", 0x3FDE
_DATA, _LONG_NAME, _SHORT_NAME, _CONTENT_ID, _TITLE = "3701", "3707", "3704", "3712", "3001"
#: Times: of sending, and of delivery.
_TIMES = (0x0039, 0x0E06)
#: Types: text in UTF-16, text in a code page, bytes, a storage within.
_UNICODE, _STRING8, _BINARY, _STORAGE = "001F", "001E", "0102", "000D"
#: Bytes before the properties: of the e-mail itself, and of one within it.
_HEAD, _INNER_HEAD = 32, 24
_PROPERTIES = "__properties_version1.0"
_EPOCH = datetime.datetime(1601, 1, 1, tzinfo=datetime.UTC)

_Path = tuple[str, ...]


def read(content: bytes, reading: Reading) -> None:
    """Read an e-mail and its attachments."""
    with olefile.OleFileIO(content) as file:
        _Mail(file, ()).read(reading)


class _Mail:
    """An e-mail in a compound file, at a path: those attached to it lie within it."""

    def __init__(self, file: olefile.OleFileIO[Any], path: _Path) -> None:
        self._file = file
        self._path = path
        self._paths = [tuple(map(str, found)) for found in file.listdir(storages=True)]
        self._fixed = self._properties()
        self._code_page = f"cp{self._fixed.get(_CODE_PAGE, 1252) & 0xFFFFFFFF}"

    def read(self, reading: Reading) -> None:
        with reading.mail():
            sender = self._string(_SENDER)
            address = self._string(_ADDRESS)
            if address and address not in sender:
                sender = f"{sender} <{address}>"
            head = [
                ("From", sender),
                ("To", self._string(_TO)),
                ("Cc", self._string(_CC)),
                ("Date", self._time()),
                ("Subject", self._string(_SUBJECT)),
            ]
            reading.add_text(with_head(head, self._text()))
            for attachment in sorted(self._attachments()):
                self._attach(attachment, reading)

    def _text(self) -> str:
        plain = self._string(_BODY)
        html = self._string(_HTML) or decoded_as(self._bytes(_HTML, _BINARY), self._code_page)
        if not plain and not html:
            return text_of_rtf(unpacked(self._bytes(_RTF, _BINARY)))
        return chosen(plain, html)

    def _attachments(self) -> Iterator[str]:
        depth = len(self._path)
        for path in self._paths:
            is_here = len(path) == depth + 1 and path[:depth] == self._path
            if is_here and path[depth].startswith("__attach_version1.0_"):
                yield path[depth]

    def _attach(self, attachment: str, reading: Reading) -> None:
        place = (*self._path, attachment)
        name = self._string(_LONG_NAME, place) or self._string(_SHORT_NAME, place)
        inner = (*place, f"__substg1.0_{_DATA}{_STORAGE}")
        if inner in self._paths:
            mail = _Mail(self._file, inner)
            title = self._string(_TITLE, place) or mail._string(_SUBJECT) or "e-mail"
            reading.add_inner(mail.read, f"{title}.msg")
            return
        content = self._bytes(_DATA, _BINARY, place)
        if self._string(_CONTENT_ID, place) and len(content) < LOGO_BYTES:
            return
        reading.add_part(content, name)

    def _string(self, number: str, place: _Path | None = None) -> str:
        text = self._bytes(number, _UNICODE, place).decode("utf-16-le", "replace")
        return (text or decoded_as(self._bytes(number, _STRING8, place), self._code_page)).rstrip(
            "\0"
        )

    def _bytes(self, number: str, kind: str, place: _Path | None = None) -> bytes:
        path = (*(self._path if place is None else place), f"__substg1.0_{number}{kind}")
        if path not in self._paths:
            return b""
        with self._file.openstream(list(path)) as stream:
            return bytes(stream.read())

    def _properties(self) -> dict[int, int]:
        """Return the properties of fixed size by their numbers."""
        path = (*self._path, _PROPERTIES)
        if path not in self._paths:
            return {}
        with self._file.openstream(list(path)) as stream:
            stream.read(_INNER_HEAD if self._path else _HEAD)
            content = stream.read()
        entries = struct.iter_unpack("<HHIQ", content[: len(content) // 16 * 16])
        return {number: value for _, number, _, value in entries}

    def _time(self) -> str:
        for number in _TIMES:
            ticks = self._fixed.get(number)
            if ticks:
                with suppress(OverflowError):
                    time = _EPOCH + datetime.timedelta(microseconds=ticks // 10)
                    return f"{time:%Y-%m-%d %H:%M} UTC"
        return ""
