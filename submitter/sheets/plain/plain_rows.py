"""Rows of a worksheet in the plain form that nearly every program writes, without an XML parser.

A parser calls back for each of a worksheet's millions of tags, and that is most of what reading
takes. But rows all look alike, and a regular expression runs through them in C: `split` gives runs
of rows that are in that form exactly, and all the rest, piece by piece in order, for a parser. What
matches is well-formed and its numbers are numbers, so little about such a row is left to go wrong:
the order of its cells and rows, and shared strings that are not there. Anything unusual (other
quotes, rich text, an odd entity, a comment) goes to the parser; at worst a sheet is read as slowly
as a parser reads it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import IO, Any, cast
from xml.etree.ElementTree import Element, XMLPullParser

#: Bytes read at a time.
CHUNK = 256 << 10
#: Bytes of the part's head, before its first row or string, and of one row. Longer ones are odd.
MAX_HEAD, MAX_ROW = 1 << 20, 512 << 10
#: Blank shared strings that a pattern can name. A table has each text once, so there are few.
MAX_BLANK = 100

#: The part must be UTF-8 and have the usual namespace as its only default one.
_DECLARATION = re.compile(
    rb"(?:\xef\xbb\xbf)?"
    rb"(?:<\?xml version=(?:'1\.0'|\"1\.0\")(?: encoding=(?:'(?i:utf-8)'|\"(?i:utf-8)\"))?"
    rb"(?: standalone=(?:'yes'|\"yes\"))? ?\?>)?\s*(?=<[A-Za-z])"
)
_NAMESPACE = b' xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
#: Behind any of these `<row` may mean something else.
_ODD = re.compile(rb"<[!?]|xmlns")


def _possessive(body: bytes, times: bytes) -> bytes:
    """Return the pattern of ``body`` repeated ``times`` (``?``, ``*`` or ``+``), possessively.

    The body is an atomic group. Python 3.11.0 to 3.11.4 go on behind a body that failed half way,
    as if that much had matched (CPython's gh-106052); an atomic group that fails goes back to where
    it began.
    """
    return rb"(?:(?>%s))%s+" % (body, times)


#: Text as an element holds it. Its first character is no blank, so that the text isn't either:
#: what Unicode has beyond ASCII stands here in UTF-8.
_ENTITY = rb"&(?:amp|lt|gt|quot|apos);"
_PART = rb"[^<>&\x00-\x1f]*+"
_TEXT = _PART + _possessive(rb"(?:%s|[\t\n])%s" % (_ENTITY, _PART), b"*")
_FULL_TEXT = (
    rb"(?![ \t\n<]|\xc2[\x85\xa0]|\xe1\x9a\x80|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]|\xe2\x81\x9f"
    rb"|\xe3\x80\x80)" + _TEXT
)
_ATTRIBUTES = _possessive(rb' [A-Za-z][A-Za-z0-9:]*+="[^"<>&\x00-\x1f]*+"', b"*")
_SPACE = _possessive(rb' xml:space="preserve"', b"?")
_NUMBER = (
    rb"-?+[0-9]{1,17}+"
    + _possessive(rb"\.[0-9]{1,30}+", b"?")
    + _possessive(rb"[eE][-+]?+[0-9]{1,2}+", b"?")
)
_FORMULA = _possessive(rb"<f%s(?:/>|>%s</f>)" % (_ATTRIBUTES, _TEXT), b"?")
#: A formula of a cell that is known to be plain.
_SKIPPED_FORMULA = _possessive(rb"<f[^>]*?(?:/>|>[^<]*+</f>)", b"?")

SHEET_DATA = re.compile(rb"<sheetData>")
STRING_TABLE = re.compile(rb"<sst%s>" % _ATTRIBUTES)
STRINGS = re.compile(_possessive(rb"<si><t%s>%s</t></si>" % (_SPACE, _TEXT), b"+"))
STRING = re.compile(rb"<t[^>]*+>([^<]*+)")

#: Of one row of a run that was split at `ROW_START`: (column's letters, attributes, value).
CELL = re.compile(
    rb'<c r="([A-Z]++)[0-9]++"([^>/]*+)>%s<(?:v|is><t[^>]*+)>([^<]*+)' % _SKIPPED_FORMULA
)
#: The same, blank cells too, which only have a style: (letters, attributes, formula, value).
ANY_CELL = re.compile(
    rb'<c r="([A-Z]++)[0-9]++"([^>/]*+)'
    rb"(?:/>|>(%s)<(?:v|is><t[^>]*+)>([^<]*+))" % _SKIPPED_FORMULA
)
ROW_START = b'<row r="'


def rows(strings: int, blank: Collection[int]) -> re.Pattern[bytes] | None:
    """Return the pattern of a run of plain rows, None if there can be none.

    ``strings`` is how many shared strings there are; a plain row names no other. ``blank`` are
    those without a visible character.
    """
    if len(blank) > MAX_BLANK:
        return None
    index = _below(strings)
    if blank:
        index = rb"(?!(?:%s)<)%s" % (b"|".join(b"%d" % each for each in sorted(blank)), index)
    kinds = (
        rb"%s>%s<v>%s</v>" % (_possessive(rb' t="n"', b"?"), _FORMULA, _NUMBER),
        rb' t="s"><v>%s</v>' % index,
        rb' t="str">%s<v>%s</v>' % (_FORMULA, _FULL_TEXT),
        rb' t="inlineStr"><is><t%s>%s</t></is>' % (_SPACE, _FULL_TEXT),
        rb' t="b">%s<v>[01]</v>' % _FORMULA,
        rb' t="e">%s<v>#[A-Z0-9/!?_]{1,20}+</v>' % _FORMULA,
    )
    style = _possessive(rb' s="[0-9]{1,5}+"', b"?")
    cell = rb'<c r="[A-Z]{1,3}+\1"%s(?:(?:%s)</c>| ?/>)' % (style, b"|".join(kinds))
    row = rb'<row r="([1-9][0-9]{0,6}+)"%s(?:>%s</row>| ?/>)\n?+' % (
        _ATTRIBUTES,
        _possessive(cell, b"*"),
    )
    return re.compile(_possessive(row, b"+"))


def _below(limit: int) -> bytes:
    """Return the pattern of a number from 0 to less than ``limit``, without leading zeros.

    Looking at each number for itself would take a fifth of the time that a sheet's check takes.
    """
    digits = b"%d" % limit
    parts = [b"0"] if limit else []
    if len(digits) > 1:
        parts.append(b"[1-9][0-9]{0,%d}" % (len(digits) - 2))
    # As long as the limit: equal up to some place, and less there.
    for place, digit in enumerate(digits):
        least, most = (b"0" if place else b"1"), b"%d" % (digit - ord("0") - 1)
        if least <= most:
            rest = len(digits) - place - 1
            parts.append(digits[:place] + b"[%s-%s][0-9]{%d}" % (least, most, rest))
    return b"(?:%s)" % b"|".join(parts) if parts else b"(?!)"


def split(
    stream: IO[bytes], opening: re.Pattern[bytes], plain: re.Pattern[bytes] | None, closing: bytes
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (other, run): XML for a parser, and behind it a run of plain elements.

    Either may be empty. Without the runs the XML is still whole. ``opening`` is the tag around the
    elements, ``plain`` the pattern of a run of them, ``closing`` the end tag of one.
    """
    buffer = b""
    opened = None
    while plain is not None and opened is None and len(buffer) < MAX_HEAD:
        chunk = stream.read(CHUNK)
        buffer += chunk
        opened = opening.search(buffer)
        if not chunk:
            break
    if plain is None or opened is None or not _plain_head(buffer[: opened.end()]):
        yield buffer, b""
        yield from _rest(stream)
        return
    start, at, more = 0, opened.end(), True
    while True:
        run = plain.match(buffer, at)
        if run is not None:
            if not _sound(run[0]):
                break
            yield buffer[start:at], run[0]
            start = at = run.end()
        # What follows: an odd element, part of one, or the end of them all.
        end = buffer.find(closing, at)
        if end >= 0 and not buffer.startswith(b"</", at):
            end += len(closing)
            if _ODD.search(buffer, at, end):
                break
            at = end
        elif more and len(buffer) - at < MAX_ROW and not buffer.startswith(b"</", at):
            yield buffer[start:at], b""
            chunk = stream.read(CHUNK)
            buffer, start, at, more = buffer[at:] + chunk, 0, 0, bool(chunk)
        else:
            break
    yield buffer[start:], b""
    yield from _rest(stream)


def _rest(stream: IO[bytes]) -> Iterator[tuple[bytes, bytes]]:
    while chunk := stream.read(CHUNK):
        yield chunk, b""


def _plain_head(head: bytes) -> bool:
    declaration = _DECLARATION.match(head)
    return (
        declaration is not None
        and head.count(b"xmlns=") == head.count(_NAMESPACE) == 1
        and re.compile(rb"<[!?]").search(head, declaration.end()) is None
    )


def _sound(run: bytes) -> bool:
    """Return whether the bytes are UTF-8 of what XML allows; the pattern has seen to the rest."""
    if run.isascii():
        return True
    try:
        run.decode()
    except UnicodeDecodeError:
        return False
    return b"\xef\xbf\xbe" not in run and b"\xef\xbf\xbf" not in run


class Elements:
    """ElementTree's parser for what ``split`` gives beside the runs: elements of one tag.

    It keeps none of them: what came is dropped from the element around them, too. XML that is not
    checked yet must not be given to it.
    """

    def __init__(self, tag: str, around: str) -> None:
        """``around`` is the tag of the element that they stand in."""
        self._tag = tag
        self._around = around
        self._container: Element | None = None
        self._parser: XMLPullParser[Any] = XMLPullParser(("start", "end"))
        #: Whether the element around them has ended.
        self.over = False

    def of(self, xml: bytes) -> Iterator[Element]:
        """Parse more XML and yield the elements that end in it; each is cleared behind."""
        for at in range(0, len(xml), CHUNK):
            self._parser.feed(xml[at : at + CHUNK])
            events = cast("Iterator[tuple[str, Element]]", self._parser.read_events())
            for event, element in events:
                if event == "start":
                    if self._container is None and element.tag == self._around:
                        self._container = element
                elif element.tag == self._tag:
                    yield element
                    element.clear()
                    if self._container is not None:
                        self._container.clear()
                elif element is self._container:
                    self.over = True
                    return


def first_row(run: bytes) -> int:
    """Return the number, from 1, of the first row in a run."""
    return _row_at(run, run.index(ROW_START))


def last_row(run: bytes) -> int:
    """Return the number, from 1, of the last row in a run."""
    return _row_at(run, run.rindex(ROW_START))


def _row_at(run: bytes, start: int) -> int:
    start += len(ROW_START)
    return int(run[start : run.index(b'"', start)])


_CHARACTER_OF = {"&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&"}
_ANY_ENTITY = re.compile(_ENTITY.decode())


def text(raw: bytes) -> str:
    """Return the text that an element of a run holds."""
    value = raw.decode()
    return _ANY_ENTITY.sub(lambda found: _CHARACTER_OF[found[0]], value) if "&" in value else value
