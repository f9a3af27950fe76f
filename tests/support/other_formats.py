"""Small workbooks in .xls, .xlsb and .ods, written byte by byte from the formats' own documents.

A cell is text, a number, a boolean, a date, an error or None. Dates are in the 1900 system.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from io import BytesIO
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

from rowfleet.cells import CellError

Cell = str | float | bool | date | CellError | None
Rows = Sequence[Sequence[Cell]]
ERRORS = {
    "#NULL!": 0x00,
    "#DIV/0!": 0x07,
    "#VALUE!": 0x0F,
    "#REF!": 0x17,
    "#NAME?": 0x1D,
    "#NUM!": 0x24,
    "#N/A": 0x2A,
}
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def write(path: Path, sheets: dict[str, Rows], hidden: Sequence[str] = ()) -> Path:
    """Write the sheets in the format that the suffix of ``path`` says."""
    path.write_bytes(WRITERS[path.suffix](sheets, hidden))
    return path


def _serial(day: date) -> float:
    return float((day - date(1899, 12, 30)).days)


# .xls: [MS-XLS], in a container of [MS-CFB]


def _xls(sheets: dict[str, Rows], hidden: Sequence[str]) -> bytes:
    return compound(xls_records(sheets, hidden))


def record(kind: int, content: bytes = b"") -> bytes:
    return struct.pack("<HH", kind, len(content)) + content


def xls_records(sheets: dict[str, Rows], hidden: Sequence[str] = ()) -> bytes:
    start = record(0x0809, struct.pack("<HHHHLL", 0x0600, 0x0005, 0, 0, 0, 6))
    formats = b"".join(record(0x00E0, struct.pack("<HH16x", 0, number)) for number in (0, 14))
    ends = record(0x000A)
    bodies = [_xls_sheet(rows) for rows in sheets.values()]
    names = [name.encode("utf-16-le") for name in sheets]
    place = len(start + formats + ends) + sum(4 + 8 + len(name) for name in names)
    listed = b""
    for title, name, body in zip(sheets, names, bodies, strict=True):
        flags = struct.pack("<LBBBB", place, title in hidden, 0, len(title), 1)
        listed += record(0x0085, flags + name)
        place += len(body)
    return start + formats + listed + ends + b"".join(bodies)


def _xls_sheet(rows: Rows) -> bytes:
    start = record(0x0809, struct.pack("<HHHHLL", 0x0600, 0x0010, 0, 0, 0, 6))
    cells = b"".join(
        _xls_cell(struct.pack("<HH", row, column), cell)
        for row, line in enumerate(rows)
        for column, cell in enumerate(line)
    )
    return start + cells + record(0x000A)


def _xls_cell(place: bytes, cell: Cell) -> bytes:
    style = struct.pack("<H", isinstance(cell, date))
    if isinstance(cell, str):
        text = cell.encode("utf-16-le")
        return record(0x0204, place + style + struct.pack("<HB", len(text) // 2, 1) + text)
    if isinstance(cell, bool):
        return record(0x0205, place + style + bytes([cell, 0]))
    if isinstance(cell, CellError):
        if cell.code == "#REF!":  # as a formula's result
            result = bytes([2, 0, ERRORS[cell.code], 0, 0, 0, 0xFF, 0xFF])
            return record(0x0006, place + style + result + bytes(8) + b"\3\0\x1e\1\0")
        return record(0x0205, place + style + bytes([ERRORS[cell.code], 1]))
    if cell is None:
        return b""
    value = _serial(cell) if isinstance(cell, date) else float(cell)
    return record(0x0203, place + style + struct.pack("<d", value))


def compound(stream: bytes, name: str = "Workbook") -> bytes:
    """Return a compound file that holds one stream."""
    size = 512
    stream += bytes(max(0, 4096 - len(stream)))  # shorter ones are kept elsewhere
    stream += bytes(-len(stream) % size)
    sectors = len(stream) // size
    # The directory is sector 0, then come the stream and the table of sectors.
    tables = 1
    while tables * (size // 4) < 1 + sectors + tables:
        tables += 1
    end, table = 0xFFFFFFFE, 0xFFFFFFFD
    chain = [end, *range(2, sectors + 1), end, *[table] * tables]
    chain += [0xFFFFFFFF] * (tables * (size // 4) - len(chain))
    first = 1 + sectors
    header = struct.pack(
        "<8s16xHHHHH6xLLLLLLLLL",
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        *(0x3E, 3, 0xFFFE, 9, 6),
        *(0, tables, 0, 0, 4096, end, 0, end, 0),
    )
    header += struct.pack("<109L", *range(first, first + tables), *[0xFFFFFFFF] * (109 - tables))
    directory = _entry("Root Entry", 5, 1, end, 0) + _entry(name, 2, None, 1, len(stream))
    return header + directory.ljust(size, b"\0") + stream + struct.pack(f"<{len(chain)}L", *chain)


def _entry(name: str, kind: int, child: int | None, start: int, size: int) -> bytes:
    encoded = name.encode("utf-16-le") + b"\0\0"
    none = 0xFFFFFFFF
    return struct.pack(
        "<64sHBBLLL36xLQ",
        *(encoded, len(encoded), kind, 1, none, none, none if child is None else child),
        *(start, size),
    )


# .xlsb: [MS-XLSB]


def part_record(kind: int, content: bytes = b"") -> bytes:
    head = bytes([kind]) if kind < 0x80 else bytes([kind & 0x7F | 0x80, kind >> 7])
    size = len(content)
    while size >= 0x80:
        head += bytes([size & 0x7F | 0x80])
        size >>= 7
    return head + bytes([size]) + content


def _wide(text: str) -> bytes:
    encoded = text.encode("utf-16-le")
    return struct.pack("<L", len(encoded) // 2) + encoded


def _xlsb(sheets: dict[str, Rows], hidden: Sequence[str]) -> bytes:
    listed = b"".join(
        part_record(0x9C, struct.pack("<LL", title in hidden, n) + _wide(f"r{n}") + _wide(title))
        for n, title in enumerate(sheets, 1)
    )
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{_OFFICE}/worksheet" Target="worksheets/sheet{n}.bin"/>'
        for n in range(1, len(sheets) + 1)
    )
    styles = [
        part_record(0x0269, struct.pack("<L", 2)),
        *(part_record(0x2F, struct.pack("<HH12x", 0, number)) for number in (0, 14)),
        part_record(0x026A),
    ]
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types"/>',
        "xl/workbook.bin": b"\x83\1\0"
        + part_record(0x8F)
        + listed
        + part_record(0x90)
        + b"\x84\1\0",
        "xl/_rels/workbook.bin.rels": (
            f'<Relationships xmlns="{_PACKAGE}/relationships">{relations}</Relationships>'
        ),
        "xl/styles.bin": b"".join(styles),
    }
    for n, rows in enumerate(sheets.values(), 1):
        parts[f"xl/worksheets/sheet{n}.bin"] = xlsb_sheet(
            (row, column, cell) for row, line in enumerate(rows) for column, cell in enumerate(line)
        )
    return _zipped(parts)


def xlsb_sheet(cells: Iterator[tuple[int, int, Cell]] | Sequence[tuple[int, int, Cell]]) -> bytes:
    written = [part_record(0x81), part_record(0x94, bytes(16)), part_record(0x91)]
    last = -1
    for row, column, cell in cells:
        if row != last:
            written.append(part_record(0, struct.pack("<LL9x", row, 0)))
            last = row
        place = struct.pack("<LL", column, isinstance(cell, date))
        if isinstance(cell, str):
            written.append(part_record(6, place + _wide(cell)))
        elif isinstance(cell, bool):
            written.append(part_record(4, place + bytes([cell])))
        elif isinstance(cell, CellError):
            code = bytes([ERRORS[cell.code]])
            formula = cell.code == "#REF!"
            written.append(part_record(11 if formula else 3, place + code + bytes(10 * formula)))
        elif cell is not None:
            value = _serial(cell) if isinstance(cell, date) else float(cell)
            written.append(part_record(5, place + struct.pack("<d", value)))
    return b"".join([*written, part_record(0x92), part_record(0x82)])


def _zipped(parts: dict[str, bytes | str]) -> bytes:
    out = BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in parts.items():
            package.writestr(name, content)
    return out.getvalue()


# .ods: OpenDocument 1.3

_ODS_NS = "urn:oasis:names:tc:opendocument:xmlns"
_NAMESPACES = " ".join(
    [
        *(f'xmlns:{name}="{_ODS_NS}:{name}:1.0"' for name in ("office", "table", "text", "style")),
        'xmlns:calcext="urn:org:documentfoundation:names:experimental:calc:xmlns:calcext:1.0"',
    ]
)


def _ods(sheets: dict[str, Rows], hidden: Sequence[str]) -> bytes:
    tables = "".join(
        f'<table:table table:name={quoteattr(title)} table:style-name="t{title in hidden:d}">'
        f"{''.join(map(_ods_row, rows))}</table:table>"
        for title, rows in sheets.items()
    )
    return ods_file(tables)


def ods_file(tables: str) -> bytes:
    styles = "".join(
        f'<style:style style:name="t{off}" style:family="table">'
        f'<style:table-properties table:display="{shown}"/></style:style>'
        for off, shown in enumerate(("true", "false"))
    )
    content = (
        f"<office:document-content {_NAMESPACES}><office:automatic-styles>{styles}"
        f"</office:automatic-styles><office:body><office:spreadsheet>{tables}"
        f"</office:spreadsheet></office:body></office:document-content>"
    )
    return _zipped(
        {
            "mimetype": "application/vnd.oasis.opendocument.spreadsheet",
            "content.xml": content,
            "META-INF/manifest.xml": (
                f'<manifest:manifest xmlns:manifest="{_ODS_NS}:manifest:1.0"/>'
            ),
        }
    )


def _ods_row(line: Sequence[Cell]) -> str:
    return f"<table:table-row>{''.join(map(ods_cell, line))}</table:table-row>"


def ods_cell(cell: Cell) -> str:
    if cell is None:
        return "<table:table-cell/>"
    kind, value, text = "float", f'office:value="{cell}"', escape(str(cell))
    if isinstance(cell, bool):
        kind, value = "boolean", f'office:boolean-value="{str(cell).lower()}"'
    elif isinstance(cell, date):
        kind, value = "date", f'office:date-value="{cell.isoformat()}"'
    elif isinstance(cell, CellError):
        kind, value = "string", 'office:string-value="" calcext:value-type="error"'
        text = cell.code
    elif isinstance(cell, str):
        kind, value = "string", ""
    return (
        f'<table:table-cell office:value-type="{kind}" {value}><text:p>{text}</text:p>'
        f"</table:table-cell>"
    )


WRITERS: dict[str, Callable[[dict[str, Rows], Sequence[str]], bytes]] = {
    ".xls": _xls,
    ".xlsb": _xlsb,
    ".ods": _ods,
}
