"""Workbooks, by calamine: each sheet that is not hidden is a page, and each row a line."""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterable, Iterator, Sequence

from python_calamine import (
    CalamineWorkbook,
    PasswordError,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from rowfleet.documents.limits import MAX_CHARS
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError

#: Stands between the cells of a row.
CELL = " | "


def read(content: bytes, reading: Reading) -> None:
    """Read the sheets. A sheet's name is its page's part."""
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        for index, sheet in enumerate(book.sheets_metadata):
            if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible:
                rows = book.get_sheet_by_index(index).iter_rows()
                reading.add_text(_bounded(_lines(rows)), sheet.name)
    except PasswordError:
        raise UnreadableError(Unread.ENCRYPTED) from None
    except (MemoryError, UnreadableError):
        raise
    except BaseException:  # a panic of Rust is no Exception
        raise UnreadableError(Unread.CORRUPT) from None


def _lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    for row in rows:
        cells = [shown(cell) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            yield CELL.join(cells)


def _bounded(lines: Iterator[str]) -> str:
    kept, chars = [], 0
    for line in lines:
        kept.append(line)
        chars += len(line) + 1
        if chars > MAX_CHARS:
            break
    return "\n".join(kept)


def shown(value: object) -> str:
    """Return a cell in one line, as close to its sheet as can be without its number format."""
    match value:
        case bool():
            return str(value).upper()
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case datetime.datetime():
            return value.isoformat(" ").removesuffix(" 00:00:00")
        case _:
            return " ".join(str(value).split())
