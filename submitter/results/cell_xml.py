"""A cell of the finished sheet as XML."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, time, timedelta

from openpyxl.utils.datetime import WINDOWS_EPOCH, to_excel

from rowfleet.cells import Cell, CellError, Formatted
from submitter.excel import ERROR_CODES, FIRST_DAY, MAX_TEXT
from submitter.results.citing.links import Link
from submitter.results.styles import ColumnStyles

#: What XML can't hold, or would not give back as it was. `_x0041_` would be read as an escape.
_SPECIAL = re.compile(r"[&<>\x00-\x08\x0b-\x1f\x7f\ufffe\uffff\ud800-\udfff]|_(?=x[0-9A-Fa-f]{4}_)")

_ENTITY_OF = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def cell_xml(ref: str, cell: Cell, styles: ColumnStyles, epoch: datetime = WINDOWS_EPOCH) -> str:
    """Return the XML of a cell, as text where a cell can't hold the value as what it is.

    ``epoch`` is the day that the workbook counts from.
    """
    if isinstance(cell, Link) and cell.formula is not None:
        return _link_xml(ref, cell, cell.formula, styles)
    if isinstance(cell, str):
        return text_xml(ref, styles.quoted if cell[:1] in FORMULA_STARTS else styles.blank, cell)
    if isinstance(cell, bool):
        return f'<c r="{ref}" s="{styles.boolean}" t="b"><v>{cell:d}</v></c>'
    if isinstance(cell, (int, float)):
        if not _fits(cell):
            return text_xml(ref, styles.quoted if cell < 0 else styles.blank, str(cell))
        return f'<c r="{ref}" s="{styles.number}"><v>{cell!r}</v></c>'
    if isinstance(cell, Formatted):
        return cell_xml(ref, cell.value, styles.of_format(cell.format), epoch)
    if isinstance(cell, CellError):
        if cell.code not in ERROR_CODES:
            return cell_xml(ref, cell.code, styles, epoch)
        return f'<c r="{ref}" s="{styles.blank}" t="e"><v>{cell.code}</v></c>'
    return _time_xml(ref, cell, styles, epoch) if cell is not None else ""


def _link_xml(ref: str, text: str, formula: str, styles: ColumnStyles) -> str:
    return (
        f'<c r="{ref}" s="{styles.blank}" t="str"><f>{escaped(formula)}</f>'
        f"<v>{escaped(text)}</v></c>"
    )


#: What a spreadsheet, or a program that reads one, takes for the start of a formula.
FORMULA_STARTS = frozenset("=+-@\t\r\n＝＋－＠")


def _fits(number: float) -> bool:
    try:
        return math.isfinite(float(number))
    except OverflowError:  # an int beyond a double's range
        return False


def _time_xml(
    ref: str, cell: datetime | date | time | timedelta, styles: ColumnStyles, epoch: datetime
) -> str:
    if isinstance(cell, timedelta):
        if cell < timedelta():  # Excel shows only #### for it
            return text_xml(ref, styles.quoted, str(cell))
        style = styles.duration
    elif isinstance(cell, time):
        if cell.tzinfo:
            return text_xml(ref, styles.blank, cell.isoformat())
        style = styles.time
    else:
        moment = cell if isinstance(cell, datetime) else datetime.combine(cell, time())
        if moment.tzinfo or moment < max(FIRST_DAY, epoch):
            return text_xml(ref, styles.blank, cell.isoformat())
        style = styles.date if moment.time() == time() else styles.moment
    serial = to_excel(cell, epoch)  # type: ignore[no-untyped-call]  # openpyxl gives it no types
    return f'<c r="{ref}" s="{style}"><v>{serial!r}</v></c>'


def text_xml(ref: str, style: int, text: str) -> str:
    """Return the cell that holds a text, cut to the length that Excel allows."""
    if len(text) > MAX_TEXT // 2 and _units(text) > MAX_TEXT:
        text = _truncated(text)
    return (
        f'<c r="{ref}" s="{style}" t="inlineStr"><is><t xml:space="preserve">{escaped(text)}</t>'
        "</is></c>"
    )


def escaped(text: str) -> str:
    """Return the text as it stands between two tags of a workbook's parts."""
    return _SPECIAL.sub(_escape, text) if _SPECIAL.search(text) else text


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _truncated(text: str) -> str:
    start = text.encode("utf-16-le", "surrogatepass")[: (MAX_TEXT - 1) * 2]
    return start.decode("utf-16-le", "ignore") + "…"


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in _ENTITY_OF:
        return _ENTITY_OF[character]
    if "\ud800" <= character <= "\udfff":  # half of a pair: no text, in XML or anywhere
        return "\N{REPLACEMENT CHARACTER}"
    return f"_x{ord(character):04X}_"
