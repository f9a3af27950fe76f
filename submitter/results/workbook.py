"""The finished sheet as a workbook."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.styles import Alignment, Font, PatternFill
from openpyxl.styles.fonts import DEFAULT_FONT

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from submitter.excel import MAX_ROWS, letter
from submitter.results.cell_xml import FORMULA_STARTS, cell_xml, text_xml
from submitter.results.styles import ColumnStyles, Styles

#: Characters collected before they are compressed: a few hundred rows.
BUFFER_CHARS = 256 << 10


class Book:
    """The workbook around the rows: everything but the worksheet's `sheetData`."""

    def __init__(self, title: str, names: Sequence[str], widths: Sequence[float]) -> None:
        self.names = names
        self.letters = [letter(number) for number in range(len(names))]
        self.workbook = Workbook()
        self.workbook.properties.creator = "Rowfleet"
        self.sheet = self.workbook.worksheets[0]
        self.sheet.title = safe_title(title)
        self.sheet.freeze_panes = "A2"
        for column, width in zip(self.letters, widths, strict=True):
            self.sheet.column_dimensions[column].width = width

    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        """Return the id of a cell style, new in the workbook if need be."""
        cell = WriteOnlyCell(self.sheet)  # to hang the style on; it is never written
        cell.number_format = number_format
        cell.quotePrefix = quoted
        cell.fill = PatternFill("solid", start_color=fill) if fill else PatternFill()
        cell.font = _HEADER_FONT if header else DEFAULT_FONT
        cell.alignment = Alignment(vertical="center", wrap_text=True) if header else Alignment()
        return cell.style_id

    def write(
        self,
        package: zipfile.ZipFile,
        styles: Styles,
        lines: Iterable[tuple[str, list[Cell]]],
        out: Path,
    ) -> int:
        """Write the whole workbook into ``package`` and return the number of rows."""
        head, _ = self._around_rows()
        with package.open(_SHEET_PART, "w", force_zip64=True) as stream:
            # The dimension is left out: it is not known yet, and readers trust a wrong one.
            stream.write(re.sub(rb"<dimension [^>]*>", b"", head) + b"<sheetData>")
            count = self._write_rows(stream, styles, lines, out)
            self.sheet.auto_filter.ref = f"A1:{self.letters[-1]}{count + 1}"
            stream.write(b"</sheetData>" + self._around_rows()[1])
        with zipfile.ZipFile(self._saved()) as rest:
            for name in rest.namelist():
                if name != _SHEET_PART:
                    package.writestr(name, rest.read(name))
        return count

    def _write_rows(
        self, stream: IO[bytes], styles: Styles, lines: Iterable[tuple[str, list[Cell]]], out: Path
    ) -> int:
        waiting = [self._header_row(styles.header)]
        size = 0
        number = 1
        for number, (status, cells) in enumerate(lines, 2):
            if number > MAX_ROWS:
                raise InputError(f"{out}: a worksheet can't hold more than {MAX_ROWS - 1:,} rows")
            text = self._row(number, cells, styles.of(status))
            waiting.append(text)
            size += len(text)
            if size > BUFFER_CHARS:
                stream.write("".join(waiting).encode())
                waiting.clear()
                size = 0
        stream.write("".join(waiting).encode())
        return number - 1

    def _header_row(self, style: int) -> str:
        quoted = self.style("General", "1F4E78", header=True, quoted=True)
        cells = [
            text_xml(f"{column}1", quoted if name[:1] in FORMULA_STARTS else style, name)
            for column, name in zip(self.letters, self.names, strict=True)
        ]
        return f'<row r="1" ht="30" customHeight="1">{"".join(cells)}</row>'

    def _row(self, number: int, cells: Sequence[Cell], styles: Sequence[ColumnStyles]) -> str:
        parts = [f'<row r="{number}">']
        for column, cell, style in zip(self.letters, cells, styles, strict=True):
            if cell is not None:
                parts.append(cell_xml(f"{column}{number}", cell, style))
            elif style.fill:
                parts.append(f'<c r="{column}{number}" s="{style.blank}"/>')
        parts.append("</row>")
        return "".join(parts)

    def _around_rows(self) -> tuple[bytes, bytes]:
        """Return the worksheet's XML before and after its `sheetData`."""
        with zipfile.ZipFile(self._saved()) as package:
            head, _, rest = package.read(_SHEET_PART).partition(b"<sheetData")
        return head, rest.partition(b"</sheetData>")[2]

    def _saved(self) -> BytesIO:
        file = BytesIO()
        self.workbook.save(file)
        return file


_SHEET_PART = "xl/worksheets/sheet1.xml"
#: The workbook's usual font; one without a name and a size is another in each program.
_HEADER_FONT = Font(name=DEFAULT_FONT.name, sz=DEFAULT_FONT.sz, bold=True, color="FFFFFF")


def safe_title(title: str) -> str:
    """Return the name that a new workbook's sheet gets for a title."""
    safe = re.sub(r"[\[\]:*?/\\\x00-\x1f]", "_", title)[:31].strip("' ")
    return "Sheet1" if not safe or safe.casefold() == "history" else safe
