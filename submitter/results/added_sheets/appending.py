"""Sheets that are added to a workbook behind its own: the package around them."""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Sequence
from html import escape
from itertools import count, islice
from pathlib import Path
from typing import IO

from rowfleet.errors import InputError
from submitter.results.added_sheets.new_sheet import NewSheet, SheetWriter
from submitter.results.write_back import raw_copy, xml_bytes
from submitter.results.write_back.relations import (
    ContentTypes,
    Parts,
    relations_of,
    relations_part,
)
from submitter.results.write_back.stylesheet import Stylesheet
from submitter.results.write_back.xml_bytes import NAMESPACES, Edit
from submitter.sheets import workbook
from submitter.sheets.header import numbered
from submitter.sheets.package import one_sentence, open_package

#: Characters of a sheet's name, at most: Excel's limit.
MAX_TITLE = 31
_STRICT = NAMESPACES[1]
#: The namespace of references to relations, as a usual and as a Strict workbook has it.
_REFERENCES = (
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "http://purl.oclc.org/ooxml/officeDocument/relationships",
)
_RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"
_SHEET_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"


def append_sheets(
    source: Path, out: IO[bytes], sheets: Sequence[NewSheet], *, name: str
) -> tuple[str, ...]:
    """Write the workbook ``source`` with new sheets behind its own into ``out``.

    Every other part is copied as it is. Return the names of the new sheets: one that is taken gets
    a number. ``name`` is what errors call the source. Raises InputError for one that is no
    workbook.
    """
    with source.open("rb") as file, open_package(file, name) as package:
        with one_sentence(name):
            job = _Job(Parts(package, name), sheets)
            changed = job.changed_parts()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
            for member in package.infolist():
                if member.filename in changed:
                    target.writestr(member.filename, changed[member.filename])
                elif member.filename != job.styles_path:
                    raw_copy.copy_member(file, member, target, name)
            job.write_sheets(target)
            if job.styles_path is not None:  # the sheets say which styles there are
                if job.styles.is_there:
                    target.writestr(job.styles_path, job.styles.part())
                else:
                    info = package.getinfo(job.styles_path)
                    raw_copy.copy_member(file, info, target, name)
    return job.titles


class _Job:
    """Where the new sheets go, and which parts that changes."""

    def __init__(self, parts: Parts, sheets: Sequence[NewSheet]) -> None:
        self._parts = parts
        self._sheets = sheets
        book = workbook.read(parts.package, parts.name)
        if not book.worksheets:
            raise InputError(f"{parts.name}: holds no worksheet that can be read")
        self._book_path = book.path
        self._epoch = book.epoch
        self.styles_path = book.styles
        self.styles = Stylesheet(
            parts.read(book.styles) if book.styles else None, parts.where(book.styles or "")
        )
        self._xml, self._codec = xml_bytes.decoded(parts.read(book.path), parts.where(book.path))
        self._is_strict = _STRICT.encode() in self._xml
        taken = [*(found.title for found in book.worksheets), *book.charts]
        titles: list[str] = []
        for sheet in sheets:
            titles.append(numbered(sheet.title, [*taken, *titles]))
        self.titles = tuple(titles)
        folder = posixpath.dirname(book.worksheets[0].path)
        free = (f"rowfleet{number}.xml" for number in count(1))
        paths = (posixpath.join(folder, name) for name in free)
        unused = (path for path in paths if parts.find(path) is None)
        self._paths = list(islice(unused, len(sheets)))
        self._ids: list[str] = []

    def changed_parts(self) -> dict[str, bytes]:
        """Return the parts that name the sheets, as path → content."""
        types = ContentTypes(self._parts)
        relations = self._with_relations()
        overrides = [(f"/{path}", _SHEET_TYPE) for path in self._paths]
        changed = {self._book_path: self._with_names(), **relations}
        if types.member is not None:
            changed[types.member] = types.with_parts(overrides)
        return changed

    def _with_relations(self) -> dict[str, bytes]:
        """Return the workbook's relations with those to the sheets."""
        parts = self._parts
        member = parts.find(relations_part(self._book_path))
        found = [each for each in relations_of(parts, self._book_path) if each.kind == "worksheet"]
        if member is None or not found:
            raise InputError(f"{parts.where(self._book_path)} has no relations to its sheets")
        xml, codec = xml_bytes.decoded(parts.read(member), parts.where(member))
        last = found[-1].element
        prefix = xml_bytes.prefix_of(xml[last.start : last.inner])
        unused = (
            id_ for id_ in map("rowfleet{}".format, count(1)) if f'"{id_}"'.encode() not in xml
        )
        self._ids = list(islice(unused, len(self._paths)))
        kind = escape(last.attributes["Type"])
        new = b"".join(
            xml_bytes.prefixed(f'<Relationship Id="{id_}" Type="{kind}" Target="/{path}"/>', prefix)
            for id_, path in zip(self._ids, self._paths, strict=True)
        )
        edits = [Edit(last.end, last.end, new)]
        return {member: xml_bytes.encoded(xml_bytes.edited(xml, edits), codec)}

    def _with_names(self) -> bytes:
        """Return the workbook's part with the names of the sheets."""
        where = self._parts.where(self._book_path)
        found = xml_bytes.elements(self._xml, where, {"sheets", "sheet"})
        listed = [each for each in found if each.tag == "sheet" and each.parent == "sheets"]
        if not listed:
            raise InputError(f"{where} lists no sheets")
        last = listed[-1]
        prefix = xml_bytes.prefix_of(self._xml[last.start : last.inner])
        reference = self._reference()
        ids = (xml_bytes.number(each.attributes.get("sheetId", "")) or 0 for each in listed)
        new = b""
        for number, (title, id_) in enumerate(
            zip(self.titles, self._ids, strict=True), max(ids) + 1
        ):
            element = f'<sheet name="{escape(title)}" sheetId="{number}" {reference}="{id_}"/>'
            new += xml_bytes.prefixed(element, prefix)
        xml = xml_bytes.edited(self._xml, [Edit(last.end, last.end, new)])
        return xml_bytes.encoded(xml, self._codec)

    def _reference(self) -> str:
        """Return the attribute of a sheet that refers to its relation."""
        namespace = _REFERENCES[self._is_strict]
        declared = re.search(rb'xmlns:([^\s=<>]+)\s*=\s*"%s"' % namespace.encode(), self._xml)
        if declared is None:
            return f'xmlns:r="{namespace}" r:id'
        return declared[1].decode() + ":id"

    def write_sheets(self, target: zipfile.ZipFile) -> None:
        """Write the parts of the sheets."""
        for path, sheet in zip(self._paths, self._sheets, strict=True):
            writer = SheetWriter(
                sheet,
                self.styles,
                self._epoch,
                NAMESPACES[self._is_strict],
                _REFERENCES[self._is_strict],
                has_view=b"workbookView" in self._xml,
            )
            with target.open(path, "w", force_zip64=True) as part:
                writer.write(part)
            relations = writer.relations(_RELATIONS)
            if relations is not None:
                target.writestr(relations_part(path), relations)
