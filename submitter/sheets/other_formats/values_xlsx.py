"""An .xlsx that holds the values of one worksheet, in the form that is read fast."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime, time, timedelta
from xml.sax.saxutils import escape, quoteattr

from openpyxl.utils.datetime import to_excel
from openpyxl.xml.constants import REL_NS, SHEET_MAIN_NS, XLSX

from rowfleet.cells import CellError
from submitter.excel import FIRST_DAY, MAX_COLUMNS, letter
from submitter.sheets.other_formats.error_cells import Errors
from submitter.sheets.workbook import STYLES, Found, Workbook

Value = int | float | str | bool | time | date | datetime | timedelta | CellError

_PACKAGE_NS = "http://schemas.openxmlformats.org/package/2006"
_BOOK = "xl/workbook.xml"
#: Number formats by the number of their cell style.
_FORMATS = ("General", "yyyy-mm-dd", "yyyy-mm-dd hh:mm:ss", "hh:mm:ss", "[h]:mm:ss")
_DATE, _MOMENT, _TIME, _DURATION = range(1, 5)

#: What XML can't hold, and underscores of a text that would be read as an escape.
_SPECIAL = re.compile(r"[\x01-\x08\x0b-\x1f\x7f\ufffe\uffff]|_(?=x[0-9A-Fa-f]{4}_)")
#: Whole numbers below this are written without a decimal point; larger ones are not exact.
_MOST_WHOLE = 1e15
#: Bytes of XML that are written at once.
_WRITTEN = 1 << 18


def write(
    package: zipfile.ZipFile, book: Workbook, chosen: Found | None, rows: Iterable[Sequence[Value]]
) -> None:
    """Write the sheets of ``book`` into ``package``, all but ``chosen`` without a cell."""
    kinds = [*((found, "worksheet") for found in book.worksheets)]
    kinds += [
        (Found(title, "visible", f"xl/chart{n}.xml"), "chartsheet")
        for n, title in enumerate(book.charts)
    ]
    listed = "".join(
        f'<sheet name={quoteattr(found.title)} sheetId="{n}" state="{found.state}" r:id="r{n}"/>'
        for n, (found, _) in enumerate(kinds, 1)
    )
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{REL_NS}/{kind}" Target="/{found.path}"/>'
        for n, (found, kind) in enumerate(kinds, 1)
    )
    package.writestr(
        "[Content_Types].xml",
        f'<Types xmlns="{_PACKAGE_NS}/content-types">'
        f'<Override PartName="/{_BOOK}" ContentType="{XLSX}"/></Types>',
    )
    package.writestr(
        _BOOK,
        f'<workbook xmlns="{SHEET_MAIN_NS}" xmlns:r="{REL_NS}">'
        f"<sheets>{listed}</sheets></workbook>",
    )
    package.writestr(
        "xl/_rels/workbook.xml.rels",
        f'<Relationships xmlns="{_PACKAGE_NS}/relationships">{relations}</Relationships>',
    )
    package.writestr(STYLES, _styles())
    for found, _ in kinds:
        with package.open(found.path, "w", force_zip64=True) as part:
            part.write(f'<worksheet xmlns="{SHEET_MAIN_NS}"><sheetData>'.encode())
            for xml in _batches(rows) if found is chosen else ():
                part.write(xml)
            part.write(b"</sheetData></worksheet>")


def printable(title: str) -> str:
    """Return a sheet's name with a mark for each character that XML can't hold."""
    return re.sub(r"[\x00-\x1f\ufffe\uffff]", "\N{REPLACEMENT CHARACTER}", title)


def _styles() -> str:
    formats = "".join(
        f'<numFmt numFmtId="{200 + n}" formatCode={quoteattr(code)}/>'
        for n, code in enumerate(_FORMATS)
    )
    cells = "".join(f'<xf numFmtId="{200 + n}"/>' for n in range(len(_FORMATS)))
    return (
        f'<styleSheet xmlns="{SHEET_MAIN_NS}"><numFmts>{formats}</numFmts>'
        f"<cellXfs>{cells}</cellXfs></styleSheet>"
    )


def _batches(rows: Iterable[Sequence[Value]]) -> Iterator[bytes]:
    pending: list[str] = []
    size = 0
    letters = [letter(column) for column in range(MAX_COLUMNS)]
    for number, row in enumerate(rows, 1):
        cells = "".join(
            _cell(f"{name}{number}", value)
            for name, value in zip(letters, row, strict=False)
            if value != ""
        )
        if cells:
            pending.append(f'<row r="{number}">{cells}</row>')
            size += len(cells)
        if size > _WRITTEN:
            yield "".join(pending).encode()
            pending.clear()
            size = 0
    yield "".join(pending).encode()


def with_errors(rows: Iterable[Sequence[Value]], errors: Errors) -> Iterator[Sequence[Value]]:
    """Yield the rows with error cells put in their places, which may lie beyond the rows."""
    number = 0
    for number, row in enumerate(rows, 1):
        yield _with(row, errors[number - 1]) if number - 1 in errors else row
    for late in range(number, max(errors, default=-1) + 1):
        yield _with([], errors.get(late, {}))


def _with(row: Sequence[Value], errors: dict[int, CellError]) -> list[Value]:
    wide = [*row, *[""] * (max(errors, default=-1) + 1 - len(row))]
    for column, error in errors.items():
        wide[column] = error
    return wide


#: A duration of a day or more in an .ods, which calamine gives as its text.
_DURATION_TEXT = re.compile(r"(-?)PT([0-9]{1,9})H([0-9]{1,2})M([0-9]{1,2}(?:\.[0-9]{1,9})?)S")


def with_durations(row: Sequence[Value]) -> list[Value]:
    """Return the row of an .ods with its durations as such."""
    return [_duration(value) if isinstance(value, str) else value for value in row]


def _duration(text: str) -> Value:
    found = _DURATION_TEXT.fullmatch(text)
    if found is None:
        return text
    sign, hours, minutes, seconds = found.groups()
    duration = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds))
    return -duration if sign else duration


def _cell(ref: str, value: Value) -> str:
    if isinstance(value, str):
        if "\0" in value:  # calamine misread the text's encoding
            raise ValueError("a text holds NUL")
        text = escape(_SPECIAL.sub(_escaped, value))
        return f'<c r="{ref}" t="inlineStr"><is><t xml:space="preserve">{text}</t></is></c>'
    if isinstance(value, bool):
        return f'<c r="{ref}" t="b"><v>{value:d}</v></c>'
    if isinstance(value, float) and value.is_integer() and abs(value) < _MOST_WHOLE:
        value = int(value)
    if isinstance(value, (int, float)):
        return f'<c r="{ref}"><v>{value!r}</v></c>'
    if isinstance(value, CellError):
        return f'<c r="{ref}" t="e"><v>{escape(value.code)}</v></c>'
    return _time(ref, value)


def _escaped(found: re.Match[str]) -> str:
    return f"_x{ord(found[0]):04X}_"


def _time(ref: str, value: time | date | datetime | timedelta) -> str:
    if isinstance(value, timedelta):
        style = _DURATION
    elif isinstance(value, time):
        style = _TIME
    else:
        moment = value if isinstance(value, datetime) else datetime.combine(value, time())
        if moment < FIRST_DAY:  # which no .xlsx can hold as a date
            return _cell(ref, value.isoformat())
        style = _DATE if moment.time() == time() else _MOMENT
    serial = to_excel(value)  # type: ignore[no-untyped-call]  # openpyxl gives it no types
    return f'<c r="{ref}" s="{style}"><v>{serial!r}</v></c>'
