"""The Rich Text of an Outlook e-mail that has no other: unpacked, and without its marks."""

from __future__ import annotations

import re
import struct

from rowfleet.documents.limits import MAX_PART_BYTES

#: What the window of packed Rich Text holds at the start: [MS-OXRTFCP] 2.1.3.1.
_WINDOW = (
    b"{\\rtf1\\ansi\\mac\\deff0\\deftab720{\\fonttbl;}{\\f0\\fnil \\froman \\fswiss \\fmodern "
    b"\\fscript \\fdecor MS Sans SerifSymbolArialTimes New RomanCourier{\\colortbl\\red0\\green0"
    b"\\blue0\r\n\\par \\pard\\plain\\f0\\fs20\\b\\i\\u\\tab\\tx"
)
_WINDOW_BYTES = 4096
_HEAD = struct.Struct("<II4sI")
_PLAIN, _PACKED = b"MELA", b"LZFu"

_TOKEN = re.compile(
    r"\\([a-z]{1,32})(-?\d{1,10})? ?|\\'([0-9a-f]{2})|\\([^a-z])|([{}])|[\r\n]+|([^\\{}\r\n]+)",
    re.IGNORECASE,
)
#: Groups that hold no text.
_UNSHOWN = frozenset({
    "fonttbl", "colortbl", "stylesheet", "info", "pict", "object", "themedata", "listtable",
    "colorschememapping", "listoverridetable", "rsidtbl", "generator", "latentstyles", "datastore",
    "xmlnstbl",
})  # fmt: skip
_WORDS = {"par": "\n", "line": "\n", "row": "\n", "cell": " | ", "tab": "   ", "page": "\f",
          "emdash": "—", "endash": "–", "lquote": "'", "rquote": "'", "ldblquote": '"',
          "rdblquote": '"', "bullet": "•"}  # fmt: skip


#: Signs that are marked because they would be marks, and a space that breaks no line.
_SYMBOLS = {"\\": "\\", "{": "{", "}": "}", "~": " "}


def unpacked(packed: bytes) -> bytes:
    """Return Rich Text as [MS-OXRTFCP] unpacks it; nothing for anything else."""
    if len(packed) < _HEAD.size:
        return b""
    size, raw, kind, _ = _HEAD.unpack_from(packed)
    content = packed[_HEAD.size : size + 4]
    if kind == _PLAIN:
        return content[:raw]
    return _inflated(content, min(raw, MAX_PART_BYTES)) if kind == _PACKED else b""


def _inflated(content: bytes, size: int) -> bytes:
    window = bytearray(_WINDOW.ljust(_WINDOW_BYTES, b"\0"))
    write = len(_WINDOW)
    out = bytearray()
    at = 0
    while at < len(content) and len(out) < size:
        flags = content[at]
        at += 1
        for bit in range(8):
            is_reference = flags >> bit & 1
            if at + is_reference >= len(content):
                return bytes(out)
            if not is_reference:
                run = content[at : at + 1]
                at += 1
            else:
                reference = content[at] << 8 | content[at + 1]
                at += 2
                start, length = reference >> 4, (reference & 15) + 2
                if start == write:  # the mark of the end
                    return bytes(out)
                run = b""
                for offset in range(length):
                    byte = window[(start + offset) % _WINDOW_BYTES]
                    window[(write + offset) % _WINDOW_BYTES] = byte
                    run += bytes((byte,))
            for byte in run:
                window[write] = byte
                write = (write + 1) % _WINDOW_BYTES
            out += run
    return bytes(out)


def text_of_rtf(rtf: bytes) -> str:
    """Return the text that Rich Text shows."""
    shown = _Shown()
    for match in _TOKEN.finditer(rtf.decode("latin-1")):
        shown.take(*match.groups())
    return "".join(shown.text)


class _Shown:
    """The text of Rich Text, token by token."""

    def __init__(self) -> None:
        self.text: list[str] = []
        #: Whether each open group is shown, and how many characters follow as a stand-in for one
        #: of Unicode.
        self._groups: list[tuple[bool, int]] = []
        self._is_shown, self._stand_ins, self._skipped = True, 1, 0

    def take(self, word: str, number: str, code: str, symbol: str, brace: str, text: str) -> None:
        """Take a token, of which all but one kind are None."""
        if brace:
            self._group(brace)
        elif word in _UNSHOWN or symbol == "*":
            self._is_shown = False
        elif word == "uc":
            self._stand_ins = int(number or 1)
        elif not self._is_shown:
            return
        elif word == "u" and number:
            self.text.append(chr(int(number) % 0x10000))
            self._skipped = self._stand_ins
        elif word:
            self.text.append(_WORDS.get(word, ""))
        elif text:
            self.text.append(text[self._skipped :])
            self._skipped = 0
        elif self._skipped:
            self._skipped -= 1
        elif code:
            self.text.append(bytes.fromhex(code).decode("cp1252", "replace"))
        elif symbol:
            self.text.append(_SYMBOLS.get(symbol, ""))

    def _group(self, brace: str) -> None:
        if brace == "{":
            self._groups.append((self._is_shown, self._stand_ins))
        elif self._groups:
            self._is_shown, self._stand_ins = self._groups.pop()
