"""HTML: what a person sees of it, a line for each row of a table."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from rowfleet.documents.opening.detection import decoded_as
from rowfleet.documents.opening.kinds.spreadsheet import CELL
from rowfleet.documents.opening.reading import Reading

#: Elements whose text is not shown.
_UNSHOWN = frozenset({"script", "style", "head", "template", "noscript", "svg", "math", "select"})
#: Elements that end a line.
_BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "br", "caption", "center", "dd", "details", "div",
    "dl", "dt", "fieldset", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6",
    "header", "hr", "legend", "li", "main", "nav", "ol", "p", "pre", "section", "table", "tbody",
    "tfoot", "thead", "tr", "ul",
})  # fmt: skip
_CELLS = frozenset({"td", "th"})
#: Elements without an end tag.
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
})  # fmt: skip
_HIDING = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0(?![.\d])|opacity\s*:\s*0(?![.\d])"
    r"|mso-hide\s*:\s*all",
    re.IGNORECASE,
)
_CHARSET = re.compile(rb"<meta[^>]{0,200}charset=[\"']?([\w-]{1,40})", re.IGNORECASE)


def read(content: bytes, reading: Reading) -> None:
    """Read a web page."""
    reading.add_text(text_of(_decoded(content)))


def text_of(html: str) -> str:
    """Return the text that is shown."""
    parser = _Shown()
    parser.feed(html)
    parser.close()
    return parser.text()


def _decoded(content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        declared = _CHARSET.search(content[:4096])
        return decoded_as(content, declared[1].decode("ascii") if declared else "cp1252")


class _Shown(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line: list[str] = []
        #: The element that hides all in it, and how many of its name are open in it.
        self._hider = ""
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hider:
            self._hidden += tag == self._hider
            return
        if tag not in _VOID and (tag in _UNSHOWN or _hides(attrs)):
            self._hider, self._hidden = tag, 1
        elif tag in _BLOCKS:
            self._end_line()
        elif tag in _CELLS and "".join(self._line).strip():
            self._line.append(CELL)

    def handle_endtag(self, tag: str) -> None:
        if self._hider:
            if tag == self._hider:
                self._hidden -= 1
                if not self._hidden:
                    self._hider = ""
        elif tag in _BLOCKS:
            self._end_line()

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _BLOCKS and not self._hider:
            self._end_line()

    def handle_data(self, data: str) -> None:
        if not self._hider:
            self._line.append(data)

    def text(self) -> str:
        """Return the lines."""
        self._end_line()
        return "\n".join(self._lines)

    def _end_line(self) -> None:
        line = " ".join("".join(self._line).split())
        self._line.clear()
        if line:
            self._lines.append(line)


def _hides(attrs: list[tuple[str, str | None]]) -> bool:
    return any(
        name == "hidden" or (name == "style" and value is not None and _HIDING.search(value))
        for name, value in attrs
    )
