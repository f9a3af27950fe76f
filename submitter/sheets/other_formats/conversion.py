"""Convert a workbook to an .xlsx of its values on stdout.

This is a process of its own: see `converted`. Its arguments are the workbook's path, whose suffix
is the format's, and the sheet's name, if one is asked for. It prints nothing else; its exit code
says why a file is not converted.
"""

from __future__ import annotations

import os
import resource
import sys
import zipfile
from typing import TYPE_CHECKING

from rowfleet.processes.own_limits import bound

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from python_calamine import CalamineWorkbook

    from submitter.sheets.other_formats.values_xlsx import Value


#: Bytes of memory that the process may take (384 MiB). 100,000 rows of 15 columns take 240 MB, and
#: a submit Job on Kubernetes has 512 MiB.
MAX_MEMORY_BYTES = 384 << 20
#: Seconds that it may compute. 100,000 rows of 15 columns take 5.
MAX_CPU_SECONDS = 300
#: Bytes of the .xlsx (4 GiB), which is not compressed.
MAX_OUTPUT_BYTES = 4 << 30

#: Exit codes: a password is needed; not a workbook; no memory; no room for the .xlsx.
ENCRYPTED, UNREADABLE, NO_MEMORY, NO_ROOM = 3, 4, 5, 6


def main(path: str, wanted: str | None = None) -> None:
    """Do what the module says, and exit."""
    for limit, most in (
        (resource.RLIMIT_DATA, MAX_MEMORY_BYTES),
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_FSIZE, MAX_OUTPUT_BYTES),
        (resource.RLIMIT_CORE, 0),
    ):
        bound(limit, most)
    # Imported under the limits.
    from python_calamine import CalamineWorkbook, PasswordError

    from submitter.sheets.other_formats import xls_records

    try:
        if path.endswith(".xls"):
            path = xls_records.with_true_code_page(path)
        _write(CalamineWorkbook.from_path(path), path, wanted)
    except PasswordError:
        sys.exit(ENCRYPTED)
    except MemoryError:
        sys.exit(NO_MEMORY)
    except _NoRoomError:
        os._exit(NO_ROOM)  # Python would write the rest first, and exit with 120 as it can't
    except BaseException:
        sys.exit(UNREADABLE)


class _NoRoomError(Exception):
    """The .xlsx could not be written."""


def _write(source: CalamineWorkbook, path: str, wanted: str | None) -> None:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    from rowfleet.errors import InputError
    from submitter.sheets.other_formats import values_xlsx
    from submitter.sheets.workbook import Found, Workbook, choose_worksheet

    book = Workbook()
    numbers: dict[str, int] = {}
    for number, sheet in enumerate(source.sheets_metadata):
        title = values_xlsx.printable(sheet.name)
        if sheet.typ == SheetTypeEnum.ChartSheet:
            book.charts.append(title)
        elif sheet.typ == SheetTypeEnum.WorkSheet:
            state = "visible" if sheet.visible == SheetVisibleEnum.Visible else "hidden"
            part = f"xl/worksheets/sheet{number}.xml"
            book.worksheets.append(Found(title, state, part))
            numbers[part] = number
    try:
        chosen = choose_worksheet(book, wanted, "")
    except InputError:  # the process that reads the .xlsx says so
        chosen = None
    rows = _rows(source, path, numbers[chosen.path]) if chosen else iter(())
    try:
        with zipfile.ZipFile(sys.stdout.buffer, "w") as package:
            values_xlsx.write(package, book, chosen, rows)
        sys.stdout.buffer.flush()
    except OSError:
        raise _NoRoomError from None


def _rows(source: CalamineWorkbook, path: str, number: int) -> Iterator[Sequence[Value]]:
    from submitter.sheets.other_formats import error_cells
    from submitter.sheets.other_formats.values_xlsx import with_durations, with_errors

    errors = error_cells.find(path, number)
    sheet = source.get_sheet_by_index(number)
    # calamine gives the rows from the first one, but their cells from the first that holds a value.
    left: list[Value] = [""] * (sheet.start[1] if sheet.start else 0)
    rows = ([*left, *row] for row in sheet.iter_rows())
    return with_errors(map(with_durations, rows) if path.endswith(".ods") else rows, errors)


if __name__ == "__main__":
    main(*sys.argv[1:])
