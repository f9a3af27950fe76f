"""The styles part, to which the looks of the answers are added."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from html import escape

from openpyxl.styles.numbers import BUILTIN_FORMATS_REVERSE

from rowfleet.errors import InputError
from submitter.results.write_back import xml_bytes
from submitter.results.write_back.xml_bytes import Edit, Element
from submitter.sheets.workbook import MAX_STYLES

#: The first id of a number format of a workbook's own (ECMA-376 part 1, 18.8.30).
FIRST_OWN_FORMAT = 164

#: What new styles are added to.
_HOLDERS = ("numFmts", "fonts", "fills", "cellXfs")
#: The elements that are read, each within its holder, and their attributes that are.
_HELD = {"numFmts": "numFmt", "cellXfs": "xf"}
_KEPT = ("numFmtId", "formatCode", "fontId", "borderId", "xfId")

_QUOTED = ' quotePrefix="1"'

#: Fonts of cells that are no answers: those that lead elsewhere, and headers of new sheets.
FONTS = {
    "link": '<font><u/><sz val="11"/><color rgb="FF0563C1"/><name val="Calibri"/></font>',
    "bold": '<font><b/><sz val="11"/><name val="Calibri"/></font>',
}


class Stylesheet:
    """Numbers the cell styles of a workbook and adds those that it lacks.

    A workbook without a stylesheet, or with one that can't be read, gets none: the answers then
    have the style 0, and ``is_there`` is false.
    """

    def __init__(self, part: bytes | None, where: str) -> None:
        self.is_there = False
        self._font = self._border = self._cell_style = 0
        self._known: dict[tuple[object, ...], int] = {}
        self._xfs: list[Element] = []
        #: XML that is added behind what each holder has.
        self._added: dict[str, list[bytes]] = {holder: [] for holder in _HOLDERS}
        if part is None:
            return
        try:
            self._xml, self._codec = xml_bytes.decoded(part, where)
            found = xml_bytes.elements(
                self._xml, where, {"styleSheet", *_HOLDERS, *_HELD.values()}, kept=_KEPT
            )
            if found and found[0].tag == "styleSheet":
                self._read(found)
        except (InputError, ValueError):  # reading the rows did not need it
            return

    def _read(self, found: list[Element]) -> None:
        self._root = found[0]
        self._prefix = xml_bytes.prefix_of(self._xml[self._root.start : self._root.inner])
        self._holders = {e.tag: e for e in found if e.tag in _HOLDERS and e.parent == "styleSheet"}
        self._held = {
            holder: [e for e in found if e.tag == child and e.parent == holder]
            for holder, child in _HELD.items()
        }
        self._formats = {
            e.attributes.get("formatCode", ""): _number(e, "numFmtId")
            for e in self._held["numFmts"]
        }
        self._next_format = max([FIRST_OWN_FORMAT - 1, *self._formats.values()]) + 1
        xfs = self._held["cellXfs"]
        self.is_there = bool(xfs and self._count("fills"))
        # An alternative of two styles is one style, and shifts the numbers of those behind it.
        self._xfs = self._held["cellXfs"] if self._count("cellXfs") == len(xfs) else []
        self.base_on([0])
        self._cell_style = _number(xfs[0], "xfId") if xfs else 0

    def _count(self, holder: str) -> int:
        return self._holders[holder].children if holder in self._holders else 0

    def base_on(self, styles: Iterable[int]) -> None:
        """Give new styles the font and the border that most of ``styles`` have."""
        known = [self._xfs[style] for style in styles if style < len(self._xfs)]
        if known:
            self._font = Counter(_number(xf, "fontId") for xf in known).most_common(1)[0][0]
            self._border = Counter(_number(xf, "borderId") for xf in known).most_common(1)[0][0]

    def style(
        self,
        number_format: str,
        fill: str | None,
        *,
        quoted: bool = False,
        wrapped: bool = False,
        font: str | None = None,
    ) -> int:
        """Return the id of a style, which is added to the part if need be.

        ``font`` is one of FONTS; without it, the font is that of the answers.
        """
        key = (number_format, fill, quoted, wrapped, font)
        if self.is_there and key not in self._known:
            xf = (
                f'<xf numFmtId="{self._format_id(number_format)}" fontId="{self._font_id(font)}" '
                f'fillId="{self._fill_id(fill)}" borderId="{self._border}" '
                f'xfId="{self._cell_style}"{_QUOTED if quoted else ""} applyNumberFormat="1" '
                'applyFont="1" applyFill="1" applyBorder="1" applyAlignment="1"'
            )
            # Of a text that a row's height cuts off, the beginning is to be seen.
            aligned = '><alignment vertical="top" wrapText="1"/></xf>' if wrapped else "/>"
            self._known[key] = self._add_style(xml_bytes.prefixed(xf + aligned, self._prefix))
        return self._known.get(key, 0)

    def quoted(self, style: int) -> int:
        """Return a style like ``style`` for a text that must not become a formula."""
        if not self.is_there or style >= len(self._xfs):
            return style
        if ("like", style) not in self._known:
            xf = self._xfs[style]
            raw = self._xml[xf.start : xf.end]
            if xml_bytes.attribute(raw, "quotePrefix"):
                raw = xml_bytes.with_attribute(raw, "quotePrefix", "1")
            else:
                name = len(b"<xf") + len(xml_bytes.prefix_of(raw))
                raw = raw[:name] + _QUOTED.encode() + raw[name:]
            self._known["like", style] = self._add_style(raw)
        return self._known["like", style]

    def _add_style(self, xf: bytes) -> int:
        new = self._count("cellXfs") + len(self._added["cellXfs"])
        if new >= MAX_STYLES:
            return 0
        self._added["cellXfs"].append(xf)
        return new

    def _format_id(self, code: str) -> int:
        if code in BUILTIN_FORMATS_REVERSE:
            return int(BUILTIN_FORMATS_REVERSE[code])
        if code not in self._formats:
            self._formats[code] = self._next_format
            self._next_format += 1
            self._add(
                "numFmts", f'<numFmt numFmtId="{self._formats[code]}" formatCode="{escape(code)}"/>'
            )
        return self._formats[code]

    def _fill_id(self, colour: str | None) -> int:
        if colour is None:
            return 0
        if ("fill", colour) not in self._known:
            self._known["fill", colour] = self._count("fills") + len(self._added["fills"])
            self._add(
                "fills",
                f'<fill><patternFill patternType="solid"><fgColor rgb="FF{colour}"/>'
                '<bgColor indexed="64"/></patternFill></fill>',
            )
        return self._known["fill", colour]

    def _font_id(self, name: str | None) -> int:
        if name is None or not self._count("fonts"):
            return self._font
        if ("font", name) not in self._known:
            self._known["font", name] = self._count("fonts") + len(self._added["fonts"])
            self._add("fonts", FONTS[name])
        return self._known["font", name]

    def _add(self, holder: str, xml: str) -> None:
        self._added[holder].append(xml_bytes.prefixed(xml, self._prefix))

    def part(self) -> bytes:
        """Return the part with all that was added."""
        edits = []
        for holder, added in self._added.items():
            if added:
                edits += self._appended(holder, b"".join(added), len(added))
        return xml_bytes.encoded(xml_bytes.edited(self._xml, edits), self._codec)

    def _appended(self, holder: str, new: bytes, count: int) -> list[Edit]:
        name = self._prefix + holder.encode()
        element = self._holders.get(holder)
        if element is None:  # only number formats may be missing, and they come first
            opening = b'<%s count="%d">' % (name, count)
            at = self._root.inner
            return [Edit(at, at, opening + new + b"</%s>" % name)]
        tag = self._xml[element.start : element.inner]
        total = str(element.children + count)
        counted = xml_bytes.with_attribute(tag, "count", total)
        if element.is_empty_tag:
            opened = counted[:-2].rstrip() + b">"
            return [Edit(element.start, element.end, opened + new + b"</%s>" % name)]
        at = element.inner_end
        return [Edit(element.start, element.inner, counted), Edit(at, at, new)]


def _number(element: Element, attribute: str) -> int:
    """Return an id; one that is none is taken for 0, which every workbook has."""
    return xml_bytes.number(element.attributes.get(attribute, "")) or 0
