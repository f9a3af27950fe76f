"""A workbook's sheets, its epoch and its number formats, and nothing else of it.

openpyxl builds an object for each style, name and relation, some 2 KB each; this keeps a number for
a style. So a part's size makes no difference, and the bounds are those of Excel.
https://support.microsoft.com/office/1672b34d-7043-467e-8e27-269d656771c3
"""

from __future__ import annotations

import posixpath
import zipfile
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from openpyxl.styles.numbers import BUILTIN_FORMATS, is_date_format, is_timedelta_format
from openpyxl.utils.datetime import MAC_EPOCH, WINDOWS_EPOCH
from openpyxl.xml.constants import (
    SHARED_STRINGS,
    XLSM,
    XLSX,
    XLTM,
    XLTX,
)

from rowfleet.errors import InputError
from submitter.sheets import safe_xml
from submitter.sheets.package import CHUNK, Members, opened

#: Formats of cells that a workbook may have; Excel keeps up to 65,490.
MAX_STYLES = 65_490
#: Number formats of a workbook's own; Excel keeps some 250, other programs one for each style.
MAX_NUMBER_FORMATS = 10_000
#: Characters of a number format: Excel's limit.
MAX_FORMAT_CHARS = 255
#: Built-in formats of East Asian Excels (ECMA-376 part 1, 18.8.30). All are dates or times, written
#: as the language of the program has it; a file does not say which, so here they are neutral.
EAST_ASIAN_FORMATS = {
    **dict.fromkeys((27, 28, 29, 30, 31, 36, 50, 51, 52, 53, 54, 57, 58), "yyyy-mm-dd"),
    **dict.fromkeys((32, 33), "h:mm:ss"),
    **dict.fromkeys((34, 35, 55, 56), "yyyy-mm-dd h:mm"),  # a time in China, a date in Japan
}
#: The built-in format 44 as it is meant; openpyxl's lacks what divides its sections.
ACCOUNTING = {44: r'_("$"* #,##0.00_);_("$"* \(#,##0.00\);_("$"* "-"??_);_(@_)'}
#: Sheets, relations of the workbook, and parts that the contents list: as many as zip members.
MAX_ENTRIES = 10_000
#: Characters of a sheet's name or of a part's path; Excel's names have up to 31.
MAX_TEXT_CHARS = 1_024
#: Names of sheets that an error lists.
MAX_TITLES_SHOWN = 50
#: XML elements of a part. A workbook of 65,490 styles has some 400,000.
MAX_ELEMENTS = 1_500_000

#: Ends the type of the package's relation to its workbook.
_DOCUMENT = "/officeDocument"
CONTENTS = "[Content_Types].xml"
STYLES, STRINGS = "xl/styles.xml", "xl/sharedStrings.xml"  #: Where a workbook keeps them.
_RELATION = "http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


@dataclass(frozen=True, slots=True)
class Found:
    """One worksheet: its name, whether it is `visible`, and its part in the zip."""

    title: str
    state: str
    path: str


@dataclass(slots=True)
class Workbook:
    """What reading rows needs to know of a workbook. Styles are numbered from 0."""

    worksheets: list[Found] = field(default_factory=list)
    charts: list[str] = field(default_factory=list)
    path: str = ""  #: The member that holds the workbook's own part.
    strings: str | None = None  #: The member that holds the shared strings,
    styles: str | None = None  #: and the one that holds the styles.
    epoch: datetime = WINDOWS_EPOCH
    dates: set[int] = field(default_factory=set)  #: Styles that show a number as a date,
    durations: set[int] = field(default_factory=set)  #: or as a duration.
    _formats: array[int] = field(default_factory=lambda: array("l"))
    _custom: dict[int, str] = field(default_factory=dict)

    def number_format(self, style: int) -> str:
        """Return how a style shows numbers; `General` for one the workbook does not have."""
        return self._code(self._formats[style] if style < len(self._formats) else 0)

    def _code(self, number: int) -> str:
        return (
            self._custom.get(number)
            or ACCOUNTING.get(number)
            or BUILTIN_FORMATS.get(number)
            or EAST_ASIAN_FORMATS.get(number, "General")
        )


class _Walk:
    """Calls ``take`` with (element, its parent, attributes), by names without namespace."""

    def __init__(self, where: str, take: Callable[[str, str, dict[str, str]], None]) -> None:
        self._where = where
        self._take = take
        self._path = [""]
        self._elements = 0

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise InputError(f"{self._where} has more than {MAX_ELEMENTS:,} XML elements")
        name = tag.rpartition("}")[2]
        self._take(name, self._path[-1], attributes)
        self._path.append(name)

    def end(self, _: str) -> None:
        self._path.pop()

    def depth(self, *_: object) -> int:
        return len(self._path)


def walk(
    package: zipfile.ZipFile,
    member: str,
    name: str,
    take: Callable[[str, str, dict[str, str]], None],
    *,
    whole: bool = True,
) -> None:
    """Give ``take`` each element of a part, or those of its first bytes: see `_Walk`."""
    where = f"{name}: the part {member!r}"
    elements = _Walk(where, take)
    parser = safe_xml.Parser(where, elements.start, end=elements.end)
    with opened(package, member, name) as stream:
        while chunk := stream.read(CHUNK):
            parser.feed(chunk, elements.depth)
            if not whole:
                return
        parser.close()


def read(package: zipfile.ZipFile, name: str) -> Workbook:
    """Return the workbook in ``package``; errors begin with the file's ``name``.

    Raises InputError for a part that is damaged, not well-formed, or beyond the bounds.
    """
    book = Workbook()
    members = Members(package.namelist())
    path, strings = _contents(package, name, members)
    folder, file = posixpath.split(path.replace("\\", "/"))
    relations = relations_of(package, f"{folder}/_rels/{file}.rels", name, folder, members)
    _sheets(package, path, name, relations, members, book)
    of_kind = {kind.rpartition("/")[2]: target for target, kind in relations.values()}
    book.path = path
    book.styles = members.find(of_kind.get("styles")) or members.find(STYLES)
    if book.styles is not None:
        _styles(package, book.styles, name, book)
    named = (of_kind.get("sharedStrings"), strings, STRINGS)
    book.strings = next((part for each in named if (part := members.find(each))), None)
    return book


def _bounded(entries: int, most: int, name: str, member: str, what: str) -> None:
    if entries > most:
        raise InputError(f"{name}: the part {member!r} has more than {most:,} {what}")


def _contents(package: zipfile.ZipFile, name: str, members: Members) -> tuple[str, str | None]:
    """Return the member that holds the workbook, and the shared strings' part if it is listed."""
    kinds = (XLTM, XLTX, XLSM, XLSX)
    found = _listed(package, name, members.find(CONTENTS), kinds)
    listed = [found[kind] for kind in (*kinds, "default") if kind in found]
    member = next(filter(None, map(members.find, listed)), None)
    if member is None:
        relations = relations_of(package, "_rels/.rels", name, "", members)
        related = (target for target, kind in relations.values() if kind.endswith(_DOCUMENT))
        member = next(filter(None, map(members.find, related)), None)
    if member is not None:
        return member, found.get(SHARED_STRINGS)
    if listed:
        raise InputError(f"{name}: not a readable Excel workbook: there is no part {listed[0]!r}")
    if CONTENTS not in members:
        raise InputError(f"{name}: a zip file, but not an Excel workbook")
    raise InputError(f"{name}: not a readable Excel workbook: it names no workbook part")


def _listed(
    package: zipfile.ZipFile, name: str, member: str | None, kinds: tuple[str, ...]
) -> dict[str, str]:
    """Return kind → part, as the package's list of contents has it."""
    found: dict[str, str] = {}
    listed = 0

    def take(element: str, _: str, attributes: dict[str, str]) -> None:
        nonlocal listed
        listed += 1
        _bounded(listed, 2 * MAX_ENTRIES, name, CONTENTS, "entries")
        kind = attributes.get("ContentType", "")
        if element == "Override" and kind in (*kinds, SHARED_STRINGS):
            found.setdefault(kind, attributes.get("PartName", "")[1 : MAX_TEXT_CHARS + 1])
        elif element == "Default" and kind in kinds:
            found.setdefault("default", "xl/workbook.xml")

    if member is not None:
        walk(package, member, name, take)
    return found


def relations_of(
    package: zipfile.ZipFile, part: str, name: str, folder: str, members: Members
) -> dict[str, tuple[str, str]]:
    """Return id → (target, type), as ``part`` has them; none if there is no such part.

    Targets are relative to ``folder``.
    """
    relations: dict[str, tuple[str, str]] = {}
    member = members.find(part)

    def take(element: str, _: str, attributes: dict[str, str]) -> None:
        target = attributes.get("Target", "").replace("\\", "/")
        if element != "Relationship" or attributes.get("TargetMode") == "External":
            return
        if len(target) > MAX_TEXT_CHARS:
            raise InputError(f"{name}: the part {member!r} has a target that is too long")
        absolute = target.startswith("/")
        path = target[1:] if absolute else posixpath.normpath(posixpath.join(folder, target))
        relations[attributes.get("Id", "")[:MAX_TEXT_CHARS]] = (
            path,
            attributes.get("Type", "")[:MAX_TEXT_CHARS],
        )
        _bounded(len(relations), MAX_ENTRIES, name, part, "relations")

    if member is not None:
        walk(package, member, name, take)
    return relations


def _sheets(
    package: zipfile.ZipFile,
    member: str,
    name: str,
    relations: dict[str, tuple[str, str]],
    members: Members,
    book: Workbook,
) -> None:
    def take(element: str, parent: str, attributes: dict[str, str]) -> None:
        if element == "workbookPr" and attributes.get("date1904") in ("1", "true", "on"):
            book.epoch = MAC_EPOCH
        if element != "sheet" or parent != "sheets":
            return
        target, kind = relations.get(attributes.get(_RELATION, ""), ("", ""))
        path = members.find(target)
        if path is None:
            return
        title = attributes.get("name", "")
        if len(title) > MAX_TEXT_CHARS:
            raise InputError(f"{name}: the part {member!r} has a sheet whose name is too long")
        if "chartsheet" in kind:
            book.charts.append(title)
        else:
            book.worksheets.append(Found(title, attributes.get("state", "visible"), path))
        _bounded(len(book.charts) + len(book.worksheets), MAX_ENTRIES, name, member, "sheets")

    walk(package, member, name, take)


def _styles(package: zipfile.ZipFile, member: str, name: str, book: Workbook) -> None:
    formats, custom = book._formats, book._custom

    def number(attributes: dict[str, str]) -> int:
        given = attributes.get("numFmtId") or "0"
        if not (given.isascii() and given.isdigit() and len(given) < 10):
            raise InputError(f"{name}: the part {member!r} has the number format {given[:20]!r}")
        return int(given)

    def take(element: str, parent: str, attributes: dict[str, str]) -> None:
        if element == "xf" and parent == "cellXfs":
            formats.append(number(attributes))
            _bounded(len(formats), MAX_STYLES, name, member, "cell formats, which Excel can't hold")
        elif element == "numFmt" and parent == "numFmts":
            custom[number(attributes)] = attributes.get("formatCode", "")[:MAX_FORMAT_CHARS]
            _bounded(len(custom), MAX_NUMBER_FORMATS, name, member, "number formats")

    walk(package, member, name, take)
    shows: dict[int, tuple[bool, bool]] = {}
    for style, each in enumerate(formats):
        if each not in shows:
            code = book._code(each)
            shows[each] = bool(is_date_format(code)), bool(is_timedelta_format(code))
        date, duration = shows[each]
        if date:
            book.dates.add(style)
        if duration:
            book.durations.add(style)


def choose_worksheet(book: Workbook, wanted: str | None, name: str) -> Found:
    """Return the worksheet of that name, or the first visible one if there is no name.

    Raises InputError, beginning with the file's ``name``, if there is none.
    """
    titles = ", ".join(repr(found.title) for found in book.worksheets[:MAX_TITLES_SHOWN])
    if not book.worksheets:
        raise InputError(
            f"{name}: holds no worksheet that can be read; open it in Excel or LibreOffice "
            f"and save it as .xlsx"
        )
    if wanted is None:
        visible = [found for found in book.worksheets if found.state == "visible"]
        return (visible or book.worksheets)[0]
    for found in book.worksheets:
        if found.title.casefold() == wanted.casefold():  # Excel's names ignore case too
            return found
    if any(chart.casefold() == wanted.casefold() for chart in book.charts):
        raise InputError(f"{name}: {wanted!r} is a chart, not a worksheet; there are {titles}")
    raise InputError(f"{name}: no sheet {wanted!r}; there are {titles}")
