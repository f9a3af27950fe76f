"""What refuses a workbook: found before a row is paid for, and again where it is written."""

from __future__ import annotations

from pathlib import Path

from rowfleet.errors import InputError
from submitter.excel import MAX_COLUMNS
from submitter.results.write_back import raw_copy, relations, tables
from submitter.results.write_back.relations import ContentTypes, Parts
from submitter.results.write_back.stylesheet import Stylesheet
from submitter.sheets import workbook
from submitter.sheets.package import one_sentence, open_package


def check_parts(
    source: Path,
    *,
    name: str,
    sheet: str,
    header_row: int,
    edge: int,
    new_columns: int,
    macros: bool | None,
) -> None:
    """Read all of the workbook ``source`` but the rows, as ``write_back`` will.

    So what refuses the workbook does it before a row is paid for. ``edge`` is the last column that
    the rows use, merged cells beside them included, from 0; ``new_columns`` is how many the answers
    need. Raises InputError as ``write_back`` does.
    """
    with source.open("rb") as file, open_package(file, name) as package, one_sentence(name):
        parts = Parts(package, name)
        types = ContentTypes(parts)
        if macros is not None:
            check_macros(types, name, macros=macros)
        book = workbook.read(package, name)
        found = worksheet_of(book, sheet, name)
        relations.relations_of(parts, book.path)
        if any(map(relations.is_signature, package.namelist())):
            relations.relations_of(parts, "")
        for table in tables.tables_of(parts, found.path):
            if table.range.bottom >= header_row:
                edge = max(edge, table.range.right)
            tables.grown(parts.read(table.path), parts.where(table.path), ["x"])
        check_room(edge + new_columns, name)
        if book.styles is not None:
            Stylesheet(parts.read(book.styles), parts.where(book.styles))
        for member in package.infolist():
            raw_copy.found(file, member, name)


def check_room(last: int, name: str) -> None:
    """Raise InputError if a worksheet has no column ``last``, counted from 0."""
    if last >= MAX_COLUMNS:
        raise InputError(
            f"{name}: the answers reach beyond the last column that a worksheet can have; remove "
            "some columns, or write a new workbook with --plain"
        )


def worksheet_of(book: workbook.Workbook, sheet: str, name: str) -> workbook.Found:
    """Return the worksheet of that title, whatever its case. Raises InputError if there is none."""
    for found in book.worksheets:
        if found.title.casefold() == sheet.casefold():
            return found
    raise InputError(f"{name}: has no sheet {sheet!r}")


def check_macros(types: ContentTypes, name: str, *, macros: bool) -> None:
    """Raise InputError unless the workbook holds macros just where its name says so."""
    if macros != types.has_macros:
        wanted, found = (".xlsm", "macros") if types.has_macros else (".xlsx", "no macros")
        raise InputError(
            f"{name}: is a workbook with {found}, so the finished one is an {wanted} file; "
            "give a name that ends so, or write a new workbook with --plain"
        )
