"""DOCX: the text of its main part, headers, footers and notes, by expat."""

from __future__ import annotations

import io
import re
import zipfile
from xml.parsers import expat

from rowfleet.documents.limits import MAX_PART_BYTES
from rowfleet.documents.opening.kinds.spreadsheet import CELL
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError

#: The parts that hold text, in the order in which they are read.
_PARTS = tuple(
    re.compile(pattern)
    for pattern in (
        r"word/header\d*\.xml",
        r"word/document\.xml",
        r"word/(foot|end)notes\.xml",
        r"word/footer\d*\.xml",
    )
)
#: Parts of one document; headers and footers repeat in each section.
_MAX_PARTS = 40
#: Tables within each other.
_MAX_DEPTH = 30
_CHUNK = 1 << 16
#: An element that repeats the one before it for old programs.
_REPEATED = "Fallback"


def read(content: bytes, reading: Reading) -> None:
    """Read the document. Breaks that Word noted when it last laid the pages out part its pages."""
    with zipfile.ZipFile(io.BytesIO(content)) as package:
        names = sorted(package.namelist())
        wanted = [name for part in _PARTS for name in names if part.fullmatch(name)][:_MAX_PARTS]
        left = MAX_PART_BYTES
        texts = []
        for name in wanted:
            text = _Text()
            with package.open(name) as file:
                while chunk := file.read(_CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        size = f"over {MAX_PART_BYTES >> 20} MiB unpacked"
                        raise UnreadableError(Unread.TOO_LARGE, size)
                    text.feed(chunk)
            texts.append(text.close())
    reading.add_text("\n".join(text for text in texts if text.strip()))


class _Text:
    """The text of one part. WordprocessingML's elements go by their names without namespace."""

    def __init__(self) -> None:
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._refuse
        self._parser = parser
        #: The text so far, and that of each open cell.
        self._texts: list[list[str]] = [[]]
        self._rows: list[list[str]] = []
        self._is_text = False
        self._repeated = 0

    def feed(self, xml: bytes) -> None:
        try:
            self._parser.Parse(xml, False)
        except expat.ExpatError:
            raise UnreadableError(Unread.CORRUPT) from None

    def close(self) -> str:
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError:
            raise UnreadableError(Unread.CORRUPT) from None
        return "".join(self._texts[0])

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        if self._repeated or name == _REPEATED:
            self._repeated += 1
            return
        match name:
            case "t":
                self._is_text = True
            case "tab":
                self._write("   ")
            case "br" | "cr":
                kinds = {value for key, value in attributes.items() if key.endswith("}type")}
                self._write("\f" if "page" in kinds else "\n")
            case "lastRenderedPageBreak":
                self._break()
            case "tr":
                self._rows.append([])
                if len(self._rows) > _MAX_DEPTH:
                    raise UnreadableError(Unread.TOO_DEEP)
            case "tc":
                self._texts.append([])

    def _end(self, tag: str) -> None:
        name = tag.rpartition("}")[2]
        if self._repeated:
            self._repeated -= 1
            return
        match name:
            case "t":
                self._is_text = False
            case "p":
                self._write("\n")
            case "tc" if len(self._texts) > 1 and self._rows:
                self._rows[-1].append(" ".join("".join(self._texts.pop()).split()))
            case "tr" if self._rows:
                self._write(CELL.join(self._rows.pop()) + "\n")

    def _characters(self, text: str) -> None:
        if self._is_text and not self._repeated:
            self._write(text)

    def _write(self, text: str) -> None:
        self._texts[-1].append(text)

    def _break(self) -> None:
        """Begin a page, unless it has just begun."""
        text = self._texts[-1]
        for piece in reversed(text):
            if piece.endswith("\f"):
                return
            if not piece.isspace():
                break
        else:
            return
        text.append("\f")

    def _refuse(self, *_: object) -> None:
        raise UnreadableError(Unread.CORRUPT, "it declares XML entities")
