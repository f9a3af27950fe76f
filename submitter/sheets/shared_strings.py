"""A workbook's table of shared strings, kept small: a million texts in some 20 MB, and never more.

Cells name their text by its place in the table. Excel numbers texts in the order it meets them, so
rows read one after the other ask for neighbours, and the few that repeat stay at hand.
"""

from __future__ import annotations

import re
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import IO

from rowfleet.errors import InputError
from submitter.sheets import safe_xml, values
from submitter.sheets.plain import plain_rows

#: Strings kept together as one bytes object, which is taken apart when one of them is asked for,
#: and bytes from which on a block takes no more of them.
BLOCK, BLOCK_BYTES = 64, 16 << 10
#: Bytes of blocks at hand, as they are stored: 32,000 strings of the usual length.
BYTES_AT_HAND = 4 << 20
#: Bytes of the table in memory (16 MiB); a larger one goes into a temporary file.
BYTES_IN_MEMORY = 16 << 20
#: Characters of one string: those of a cell.
MAX_STRING_CHARS = 1 << 20

_STRING, _TEXT, _RUN = (safe_xml.MAIN + tag for tag in ("si", "t", "r"))


class SharedStrings:
    """The texts by their index, like a list of them."""

    def __init__(
        self,
        part: IO[bytes] | None = None,
        where: str = "the shared strings",
        *,
        by_pattern: bool = True,
    ) -> None:
        """Read the table from its XML. Raises InputError, which begins with ``where``, for XML that
        is not well-formed or out of bounds.

        ``by_pattern`` is False where the XML parser is to read every string, and every row.
        """
        self._by_pattern = by_pattern
        self._store = tempfile.SpooledTemporaryFile(max_size=BYTES_IN_MEMORY)  # noqa: SIM115 (kept)
        #: Of each block, its first index and where it is stored; and one more for the end.
        self._firsts, self._offsets = array("L"), array("Q", [0])
        self._count = 0
        #: Indexes of the texts without a visible character, but no more than a pattern can name.
        self.blank: list[int] = []
        self._block: list[bytes] = []
        self._block_bytes = 0
        for texts in _read(part, where, by_pattern=by_pattern) if part else ():
            for place, text in enumerate(texts, self._count + len(self._block)):
                blank = not text or text.isspace() or (not text.isascii() and _is_blank(text))
                if blank and len(self.blank) <= plain_rows.MAX_BLANK:
                    self.blank.append(place)
            self._add(texts)
        if self._block:
            self._end_block()
        self._at_hand: dict[int, list[str]] = {}
        self._bytes_at_hand = 0

    def _add(self, texts: list[bytes]) -> None:
        for text in texts:
            self._block.append(text)
            self._block_bytes += len(text)
            if len(self._block) == BLOCK or self._block_bytes >= BLOCK_BYTES:
                self._end_block()

    def _end_block(self) -> None:
        # XML can't hold NUL, and an escaped NUL became U+FFFD.
        block = b"\0".join(self._block)
        self._store.write(block)
        self._firsts.append(self._count)
        self._offsets.append(self._offsets[-1] + len(block))
        self._count += len(self._block)
        self._block.clear()
        self._block_bytes = 0

    def _take_apart(self, number: int) -> list[str]:
        start, end = self._offsets[number], self._offsets[number + 1]
        if self._bytes_at_hand > BYTES_AT_HAND:
            self._at_hand.clear()
            self._bytes_at_hand = 0
        self._bytes_at_hand += end - start
        self._store.seek(start)
        block = self._store.read(end - start).decode().split("\0")
        self._at_hand[number] = block
        return block

    def plain_rows(self) -> re.Pattern[bytes] | None:
        """Return the pattern of plain rows that name these strings, None if there is none."""
        return plain_rows.rows(self._count, self.blank) if self._by_pattern else None

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < self._count:
            raise IndexError(index)
        number = bisect_right(self._firsts, index) - 1
        block = self._at_hand.get(number) or self._take_apart(number)
        return block[index - self._firsts[number]]


class _Walk:
    """Handlers for the strings that are not in the plain form."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[bytes] = []
        self._path = [""]
        self._pieces: list[str] = []
        self._chars = 0

    def start(self, tag: str, _: dict[str, str]) -> None:
        if tag == _STRING:
            self._pieces.clear()
            self._chars = 0
        self._path.append(tag)

    def characters(self, text: str) -> None:
        # Text beside a run is its phonetic spelling.
        if self._path[-1] == _TEXT and self._path[-2] in (_STRING, _RUN):
            self._chars += len(text)
            if self._chars > MAX_STRING_CHARS:
                raise InputError(
                    f"{self.where} has a cell of more than {MAX_STRING_CHARS:,} characters"
                )
            self._pieces.append(text)

    def end(self, tag: str) -> None:
        self._path.pop()
        if tag == _STRING:
            text = "".join(self._pieces)
            self.found.append(values.unescape(text).encode())

    def depth(self, *_: object) -> int:
        return len(self._path)


def _read(part: IO[bytes], where: str, *, by_pattern: bool) -> Iterator[list[bytes]]:
    """Yield texts in UTF-8, in order, as many at once as come."""
    walk = _Walk(where)
    parser = safe_xml.Parser(where, walk.start, walk.characters, walk.end)
    plain = plain_rows.STRINGS if by_pattern else None
    pieces = plain_rows.split(part, plain_rows.STRING_TABLE, plain, b"</si>")
    for other, run in pieces:
        parser.feed(other, walk.depth)
        yield walk.found
        walk.found = []
        raws = plain_rows.STRING.findall(run)
        if b"&" in run:
            raws = [plain_rows.text(raw).encode() if b"&" in raw else raw for raw in raws]
        yield list(map(_unescaped, raws)) if b"_x" in run else raws
    parser.close()


def _is_blank(text: bytes) -> bool:
    return text.decode().isspace()


def _unescaped(text: bytes) -> bytes:
    return values.unescape(text.decode()).encode() if b"_x" in text else text
