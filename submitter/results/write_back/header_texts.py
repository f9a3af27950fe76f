"""The texts of a header's cells, without reading a workbook's whole table of strings."""

from __future__ import annotations

from collections.abc import Mapping

from rowfleet.errors import InputError
from submitter.results.write_back import xml_bytes
from submitter.results.write_back.relations import Parts
from submitter.results.write_back.survey import MAX_KEPT_CHARS, HeaderCell, opened_xml
from submitter.results.write_back.xml_bytes import Walk, local
from submitter.sheets import values
from submitter.sheets.plain.plain_rows import CHUNK


def read(parts: Parts, strings: str | None, header: Mapping[int, HeaderCell]) -> dict[int, str]:
    """Return the stripped text of each header cell by its column. ``strings`` is the part of the
    shared strings, None if there is none."""
    indexes = (xml_bytes.number(cell.text) for cell in header.values() if cell.kind == "s")
    shared = {index for index in indexes if index is not None}
    table = _strings(parts, strings, shared) if strings is not None and shared else {}
    texts = {}
    for column, cell in header.items():
        text = cell.text
        if cell.kind == "s":
            index = xml_bytes.number(text)
            text = "" if index is None else table.get(index, "")
        texts[column] = values.unescape(text).strip()
    return texts


def _strings(parts: Parts, part: str, wanted: set[int]) -> dict[int, str]:
    """Return the strings of those indexes; reading ends behind the last of them."""
    reader = _Strings(parts.where(part), wanted)
    with opened_xml(parts.package, part, parts.name) as (stream, _):
        while reader.index <= max(wanted) and (chunk := stream.read(CHUNK)):
            reader.feed(chunk)
    return {index: "".join(pieces) for index, pieces in reader.found.items()}


class _Strings:
    def __init__(self, where: str, wanted: set[int]) -> None:
        self.found: dict[int, list[str]] = {}  #: The pieces of each string.
        self.index = 0  #: Of the string that comes next.
        self._where = where
        self._wanted = wanted
        self._path: list[str] = []
        self._chars = 0
        self._walk = Walk(where, self._start, self._end, self._text)

    def feed(self, xml: bytes) -> None:
        self._walk.feed(xml)
        self._walk.taken(self._walk.parsed)

    def _start(self, tag: str, _: dict[str, str], __: int) -> None:
        self._path.append(local(tag))

    def _end(self, _: str, __: int) -> None:
        if self._path.pop() == "si" and len(self._path) == 1:
            self.index += 1

    def _text(self, text: str) -> None:
        if self.index in self._wanted and self._path[2:] in (["t"], ["r", "t"]):
            self._chars += len(text)
            if self._chars > MAX_KEPT_CHARS:
                raise InputError(f"{self._where} has a header too long for a spreadsheet")
            self.found.setdefault(self.index, []).append(text)
