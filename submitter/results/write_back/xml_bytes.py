"""XML that is changed in place: where its tags stand, and bytes put in between.

All of it is UTF-8 here. A part in UTF-16 is decoded before and encoded again behind.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import IO

from rowfleet.errors import InputError
from submitter.sheets import safe_xml

#: The namespaces of a workbook's parts: the usual one, and that of Strict Open XML.
NAMESPACES = (
    "http://schemas.openxmlformats.org/spreadsheetml/2006/main",
    "http://purl.oclc.org/ooxml/spreadsheetml/main",
)
#: Bytes that wait for the end of a row (8 MiB); the reader takes rows of up to 4 MiB.
MAX_WAITING_BYTES = 8 << 20

#: XML elements of a part that is changed in memory; a workbook of 65,490 styles has some 400,000.
MAX_ELEMENTS = 1_500_000

#: Elements of such a part that are kept; 65,490 styles with a fill and a number format each.
MAX_FOUND = 200_000

#: Digits of a number that a part may give; no row, column, style or string has more.
MAX_DIGITS = 9

#: Bytes of a part in UTF-16 that is changed in memory (16 MiB). Its UTF-8 may take half as much
#: again, and few programs write UTF-16.
MAX_UTF_16_BYTES = 16 << 20
#: Bytes of it that are decoded at a time.
_DECODED_BYTES = 1 << 20

#: A start tag or an empty element, from its `<` on; `>` may stand in an attribute.
_TAG = re.compile(rb"""<[^<>"']*(?:(?:"[^"]*"|'[^']*')[^<>"']*)*>""")
_ATTRIBUTE = re.compile(rb"""\s([^\s=<>"']+)\s*=\s*(?:"([^"]*)"|'([^']*)')""")


@dataclass(frozen=True, slots=True)
class Edit:
    """Bytes from ``start`` to ``end`` of a part, and the bytes that stand there instead."""

    start: int
    end: int
    new: bytes


def edited(xml: bytes, edits: Sequence[Edit]) -> bytes:
    """Return the XML with the edits made, none of which may overlap."""
    pieces = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.end)):
        pieces += [xml[at : edit.start], edit.new]
        at = edit.end
    return b"".join([*pieces, xml[at:]])


def number(text: str) -> int | None:
    """Return the number that an attribute or a cell says, None if it is none or too long."""
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def local(tag: str) -> str:
    """Return the name of a workbook's tag, and of any other one with its namespace."""
    namespace, _, name = tag.rpartition("}")
    return name if namespace in NAMESPACES else tag


def prefix_of(tag: bytes) -> bytes:
    """Return the namespace prefix of a raw tag with its colon, empty if it has none."""
    name = re.match(rb"<[^\s/>]*", tag)
    return name[0][1:].rpartition(b":")[0] + b":" if name and b":" in name[0] else b""


def prefixed(xml: str, prefix: bytes) -> bytes:
    """Return XML of ours with ``prefix`` on each tag. Its texts have no bare `<`."""
    new = xml.encode()
    return re.sub(rb"<(/?)(?=[A-Za-z])", rb"<\g<1>" + prefix, new) if prefix else new


def attribute(tag: bytes, name: str) -> tuple[int, int] | None:
    """Return where the value of an attribute without prefix stands in a raw tag."""
    for found in _ATTRIBUTE.finditer(tag):
        if found[1] == name.encode():
            return found.span(2 if found[2] is not None else 3)
    return None


def with_attribute(tag: bytes, name: str, value: str) -> bytes:
    """Return the raw tag with another value of an attribute; without it, it stays as it is."""
    place = attribute(tag, name)
    return tag if place is None else tag[: place[0]] + value.encode() + tag[place[1] :]


@dataclass(slots=True)
class Element:
    """An element of a small part, and where it stands."""

    tag: str  #: As ``local`` gives it.
    parent: str
    attributes: dict[str, str]
    start: int
    inner: int  #: Where its content begins: behind its start tag.
    is_empty_tag: bool  #: Whether one tag is all of it.
    inner_end: int = 0  #: Where its content ends.
    end: int = 0
    children: int = 0  #: Elements directly in it, of any name.


def elements(
    xml: bytes,
    where: str,
    wanted: Collection[str],
    most: int = MAX_FOUND,
    kept: Collection[str] | None = None,
) -> list[Element]:
    """Return the elements of those names, in the order of their start tags, ``most`` at most.

    They have the attributes of the names in ``kept``, or all of them.

    Raises InputError, beginning with ``where``, for XML that is malformed or beyond the bounds.
    """
    found: list[Element] = []
    path = [""]
    open_: list[Element | None] = []
    seen = 0

    def start(tag: str, attributes: dict[str, str], at: int) -> None:
        nonlocal seen
        seen += 1
        if seen > MAX_ELEMENTS:
            raise InputError(f"{where} has more than {MAX_ELEMENTS:,} XML elements")
        name = local(tag)
        element = None
        if open_ and (around := open_[-1]) is not None:
            around.children += 1
        if name in wanted:
            inner = at + len(raw := _tag(xml, at))
            if kept is not None:
                attributes = {each: attributes[each] for each in kept if each in attributes}
            element = Element(name, path[-1], attributes, at, inner, raw.endswith(b"/>"))
            found.append(element)
            if len(found) > most:
                raise InputError(f"{where} has more elements than a spreadsheet needs")
        path.append(name)
        open_.append(element)

    def end(_: str, at: int) -> None:
        path.pop()
        element = open_.pop()
        if element is not None:
            element.inner_end = element.inner if element.is_empty_tag else at
            element.end = element.inner if element.is_empty_tag else xml.index(b">", at) + 1

    walk = Walk(where, start, end)
    for at in range(0, len(xml), safe_xml.SLICE):
        walk.feed(xml[at : at + safe_xml.SLICE])
        walk.taken(walk.parsed)
    walk.close()
    return found


def _tag(xml: bytes | bytearray, at: int) -> bytes:
    found = _TAG.match(xml, at)
    assert found is not None  # the parser has seen it whole
    return found[0]


class Walk:
    """Parses XML that comes in pieces, and keeps the bytes of those tags that still matter."""

    def __init__(
        self,
        where: str,
        start: Callable[[str, dict[str, str], int], None],
        end: Callable[[str, int], None],
        characters: Callable[[str], None] | None = None,
    ) -> None:
        """``start`` and ``end`` are told a tag, and the bytes of the part before it."""
        self._where = where
        self._start = start
        self._end = end
        self._parser = safe_xml.Parser(
            where, self._started, characters, self._ended, encoding="utf-8"
        )
        self._depth = 0
        self._base = 0
        self._kept = bytearray()
        self.fed = 0

    def feed(self, xml: bytes) -> None:
        """Parse more of the part."""
        self._kept += xml
        self.fed += len(xml)
        self._parser.feed(xml, lambda *_: self._depth)
        if len(self._kept) > MAX_WAITING_BYTES + len(xml):
            raise InputError(f"{self._where} has a row too long for a spreadsheet")

    def close(self) -> None:
        """Say that the part ends here."""
        self._parser.close()

    @property
    def parsed(self) -> int:
        """Bytes of the part whose tags have all been told."""
        return min(self._parser.offset, self.fed)

    def tag(self, at: int) -> bytes:
        """Return the raw tag that begins at ``at``."""
        return bytes(_tag(self._kept, at - self._base))

    def end_of(self, start: int, tag: bytes, at: int) -> int:
        """Return where the element of a start tag ends, which ``end`` was told at ``at``."""
        return start + len(tag) if tag.endswith(b"/>") else at + len(self.tag(at))

    def taken(self, until: int) -> bytes:
        """Return the kept bytes before ``until`` and forget them."""
        size = until - self._base
        piece = bytes(self._kept[:size])
        del self._kept[:size]
        self._base = until
        return piece

    def kept(self, start: int, end: int) -> bytes:
        """Return bytes that are still kept."""
        return bytes(self._kept[start - self._base : end - self._base])

    def _started(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._start(tag, attributes, self._parser.offset)

    def _ended(self, tag: str) -> None:
        self._depth -= 1
        self._end(tag, self._parser.offset)


def codec_of(start: bytes) -> str | None:
    """Return the codec of a part that begins so if it is UTF-16, None for UTF-8."""
    if start.startswith((b"\xff\xfe", b"<\0")):
        return "utf-16-le"
    return "utf-16-be" if start.startswith((b"\xfe\xff", b"\0<")) else None


def decoded(part: bytes, where: str) -> tuple[bytes, str | None]:
    """Return a part's XML in UTF-8, and the codec to encode it with again.

    Raises InputError, beginning with ``where``, for a part that is not the UTF-16 that it seems, or
    that is too long.
    """
    codec = codec_of(part[:4])
    if codec is None:
        return part, None
    if len(part) > MAX_UTF_16_BYTES:
        raise InputError(f"{where} has more than {MAX_UTF_16_BYTES >> 20} MiB in UTF-16")
    decoder = codecs.getincrementaldecoder(codec)()
    xml = bytearray()
    try:
        # In pieces, so that the part is in memory twice and not three times.
        for at in range(0, len(part), _DECODED_BYTES):
            xml += decoder.decode(part[at : at + _DECODED_BYTES]).encode()
        decoder.decode(b"", final=True)
    except UnicodeError:
        raise InputError(f"{where} is not well-formed UTF-16") from None
    return bytes(xml), codec


def encoded(xml: bytes, codec: str | None) -> bytes:
    """Return XML as its part holds it."""
    return xml.decode().encode(codec) if codec else xml


class Decoded:
    """A part in UTF-16 that is read in UTF-8."""

    def __init__(self, stream: IO[bytes], codec: str) -> None:
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(codec)()

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, about ``size`` of them, and none at the end."""
        while chunk := self._stream.read(size):
            if text := self._decoder.decode(chunk):
                return text.encode()
        return self._decoder.decode(b"", final=True).encode()


class Encoded:
    """A part in UTF-16 that is written in UTF-8, cut anywhere."""

    def __init__(self, stream: IO[bytes], codec: str) -> None:
        self._stream = stream
        self._codec = codec
        self._decoder = codecs.getincrementaldecoder("utf-8")()

    def write(self, xml: bytes) -> None:
        """Write more of the part."""
        self._stream.write(self._decoder.decode(xml).encode(self._codec))
