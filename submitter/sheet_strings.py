"""A workbook's table of shared strings, kept small: a million texts in some 20 MB.

Cells name their text by its place in the table. Excel numbers texts in the order it meets them, so
rows read one after the other ask for neighbours, and the few that repeat stay at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import IO

from openpyxl.xml.constants import SHEET_MAIN_NS

from submitter import sheet_plain

#: Strings kept together as one bytes object, which is taken apart when one of them is asked for.
BLOCK = 64
#: Blocks at hand: 32,000 strings, some 3 MB of usual ones.
BLOCKS_AT_HAND = 512

_STRING, _TEXT, _RUN = (f"{{{SHEET_MAIN_NS}}}{tag}" for tag in ("si", "t", "r"))


class SharedStrings:
    """The texts by their index, like a list of them."""

    def __init__(self, part: IO[bytes] | None = None) -> None:
        """Read the table from its XML, which must be well-formed."""
        self._blocks: list[bytes] = []
        self._count = 0
        #: Indexes of the texts without a visible character.
        self.blank: list[int] = []
        block: list[bytes] = []
        for texts in _read(part) if part else ():
            self.blank += [
                place
                for place, text in enumerate(texts, self._count)
                if not text or text.isspace() or (not text.isascii() and _is_blank(text))
            ]
            self._count += len(texts)
            block += texts
            full = len(block) - len(block) % BLOCK
            # XML can't hold NUL, in no way of writing it.
            self._blocks += [b"\0".join(block[at : at + BLOCK]) for at in range(0, full, BLOCK)]
            del block[:full]
        if block:
            self._blocks.append(b"\0".join(block))
        self._block = lru_cache(BLOCKS_AT_HAND)(self._take_apart)

    def _take_apart(self, number: int) -> list[str]:
        return self._blocks[number].decode("utf-8", "surrogatepass").split("\0")

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> str:
        # A negative index can't come from a plain row; from another it means what it does in lists.
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return self._block(index % self._count // BLOCK)[index % self._count % BLOCK]


def _read(part: IO[bytes]) -> Iterator[list[bytes]]:
    """Yield texts in UTF-8, in order, as many at once as come."""
    elements = sheet_plain.Elements(_STRING)
    pieces = sheet_plain.split(part, sheet_plain.STRING_TABLE, sheet_plain.STRINGS, b"</si>")
    for other, run in pieces:
        odd = []
        for element in elements.of(other):
            texts = element.findall(_TEXT) + element.findall(f"{_RUN}/{_TEXT}")
            text = "".join(text.text or "" for text in texts)
            odd.append(_as_openpyxl(text.encode("utf-8", "surrogatepass")))
        yield odd
        raws = sheet_plain.STRING.findall(run)
        if b"&" in run:
            raws = [sheet_plain.text(raw).encode() if b"&" in raw else raw for raw in raws]
        yield list(map(_as_openpyxl, raws)) if b"x005F_" in run else raws


def _is_blank(text: bytes) -> bool:
    return text.decode("utf-8", "surrogatepass").isspace()


def _as_openpyxl(text: bytes) -> bytes:
    """Undo Excel's escape for an underscore that starts no escape, as openpyxl does."""
    return text.replace(b"x005F_", b"")
