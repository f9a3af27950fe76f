"""The finished workbook: the original package with the answers in its worksheet."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO

from rowfleet.recipes.names import fold
from submitter.results.write_back import (
    around_rows,
    header_texts,
    raw_copy,
    relations,
    tables,
    workbook_part,
    xml_bytes,
)
from submitter.results.write_back.answer_cells import (
    AnswerCells,
    AnswerColumn,
    AnsweredRow,
    widths,
)
from submitter.results.write_back.refusals import check_macros, check_room, worksheet_of
from submitter.results.write_back.relations import ContentTypes, Parts
from submitter.results.write_back.rows import RowWriter
from submitter.results.write_back.stylesheet import Stylesheet
from submitter.results.write_back.survey import PLAIN_ROWS, HeaderCell, opened_xml, survey
from submitter.results.write_back.tables import Table
from submitter.sheets import workbook
from submitter.sheets.package import one_sentence, open_package
from submitter.sheets.plain import plain_rows

#: Rows from which the widths of new columns are taken.
SAMPLED_ROWS = 50


@dataclass(frozen=True, slots=True)
class Written:
    """What a finished workbook came to."""

    rows: int
    #: Sentences about what is not as it was in the original.
    notes: tuple[str, ...] = ()


def write_back(
    source: Path,
    out: IO[bytes],
    *,
    name: str,
    sheet: str,
    header_row: int,
    last_row: int,
    headers: Sequence[str],
    rows: Iterable[AnsweredRow],
    answers_in: Callable[[Mapping[int, str]], Mapping[str, int]] = lambda _: {},
    macros: bool | None = None,
) -> Written:
    """Write the workbook ``source`` with the answers of ``rows`` into ``out``.

    ``headers`` are those of the answers, in the order of a row's cells. ``rows`` come in the order
    of the sheet, up to ``last_row``; rows of the sheet count from 0. ``answers_in`` is given the
    texts of the header by column, and says which columns hold answers of an earlier export, by
    their headers: those are filled again. The other answers get new columns right of all that the
    sheet holds; a header that is taken gets a number. ``macros`` says whether the name of ``out``
    is that of a workbook that may hold macros; None if it does not matter. ``name`` is what errors
    call the source.

    Raises InputError for a source that is no workbook, has no such sheet or not all of the rows,
    and where the answers find no room.
    """
    with source.open("rb") as file, open_package(file, name) as package:
        with one_sentence(name):
            parts = Parts(package, name)
            types = ContentTypes(parts)
            if macros is not None:
                check_macros(types, name, macros=macros)
            job = _Job(parts, sheet, header_row, last_row, headers, answers_in)
            changed = job.changed_parts()
            dropped = job.dropped()
            changed |= relations.without(parts, "", dropped)
            changed |= relations.without(parts, job.workbook_path, dropped)
            new_types = types.changed(dropped)
            if types.member is not None and new_types is not None:
                changed[types.member] = new_types
        sample = list(islice(counted := _Counted(rows), SAMPLED_ROWS))
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
            for member in package.infolist():
                if member.filename == job.sheet_path:
                    with target.open(_like(member), "w", force_zip64=True) as part:
                        job.write_sheet(part, sample, counted)
                elif member.filename in changed:
                    target.writestr(_like(member), changed[member.filename])
                elif member.filename != job.styles_path and member.filename not in dropped:
                    raw_copy.copy_member(file, member, target, name)
            if job.styles_path is not None:  # the rows say which styles there are
                info = package.getinfo(job.styles_path)
                if job.styles.is_there:
                    target.writestr(_like(info), job.styles.part())
                else:
                    raw_copy.copy_member(file, info, target, name)
        return Written(counted.count, job.notes())


class _Counted:
    """Rows that are counted when they are taken."""

    def __init__(self, rows: Iterable[AnsweredRow]) -> None:
        self._rows = iter(rows)
        self.count = 0

    def __iter__(self) -> _Counted:
        return self

    def __next__(self) -> AnsweredRow:
        row = next(self._rows)
        self.count += 1
        return row


def _like(member: zipfile.ZipInfo) -> zipfile.ZipInfo:
    new = zipfile.ZipInfo(member.filename, member.date_time)
    new.compress_type = zipfile.ZIP_DEFLATED
    new.external_attr = member.external_attr
    return new


class _Job:
    """Where the answers go, and which parts that changes."""

    def __init__(
        self,
        parts: Parts,
        sheet: str,
        header_row: int,
        last_row: int,
        headers: Sequence[str],
        answers_in: Callable[[Mapping[int, str]], Mapping[str, int]],
    ) -> None:
        self._parts = parts
        self._header_row = header_row
        package, name = parts.package, parts.name
        book = workbook.read(package, name)
        found = worksheet_of(book, sheet, name)
        self._title = found.title
        self._epoch = book.epoch
        self.sheet_path = found.path
        self.workbook_path = book.path
        self.styles_path = book.styles
        calculation = relations.first(relations.relations_of(parts, book.path), "calcChain")
        self._calculation = parts.find(calculation) if calculation else None
        self._survey = survey(package, self.sheet_path, name, header_row, last_row)
        self._tables = tables.tables_of(parts, self.sheet_path)
        texts = header_texts.read(parts, book.strings, self._survey.header)
        below = [table.range for table in self._tables if table.range.bottom >= header_row]
        self._edge = max([self._survey.edge, *(place.right for place in below)])
        self._columns = self._placed(headers, texts, answers_in(texts))
        self._new = [each for each in self._columns if each.is_new]
        self.styles = Stylesheet(
            parts.read(self.styles_path) if self.styles_path else None,
            parts.where(self.styles_path or ""),
        )
        self.styles.base_on(
            style for column, style in self._survey.first_styles.items() if column in texts
        )
        last = self._edge + len(self._new)
        self._filter = around_rows.grown_filter(self._survey, header_row, self._edge, last)

    def _placed(
        self, headers: Sequence[str], texts: Mapping[int, str], answers: Mapping[str, int]
    ) -> list[AnswerColumn]:
        taken = {fold(text) for text in texts.values()}
        taken |= {fold(name) for table in self._tables for name in table.columns}
        column = self._edge
        placed = []
        for header in headers:
            if header in answers:
                placed.append(AnswerColumn(header, answers[header], is_new=False))
                continue
            column += 1
            name, number = header, 1
            while fold(name) in taken:
                number += 1
                name = f"{header}_{number}"
            taken.add(fold(name))
            placed.append(AnswerColumn(name, column, is_new=True))
        check_room(column, self._parts.name)
        return placed

    def changed_parts(self) -> dict[str, bytes]:
        """Return the parts that follow from new columns, as path → content."""
        if not self._new:
            return {}
        changed = {
            table.path: tables.grown(
                self._parts.read(table.path),
                self._parts.where(table.path),
                [each.header for each in self._new],
            )
            for table in self._tables
            if self._grows(table)
        }
        if self._filter is not None:
            old, new = self._filter
            changed |= workbook_part.with_filter(
                self._parts, self.workbook_path, self._title, old, new
            )
        return changed

    def _grows(self, table: Table) -> bool:
        place = table.range
        return table.can_grow and place.top == self._header_row and place.right == self._edge

    def dropped(self) -> set[str]:
        """Return the parts that the finished workbook does without."""
        package = self._parts.package
        gone = {part for part in package.namelist() if relations.is_signature(part)}
        filled_again = {each.column for each in self._columns if not each.is_new}
        if self._calculation and filled_again & self._survey.formulas:
            gone.add(self._calculation)  # Excel makes it anew, and repairs a wrong one
        return gone

    def notes(self) -> tuple[str, ...]:
        """Return sentences about what is not as it was."""
        if any(map(relations.is_signature, self._parts.package.namelist())):
            return (
                f"{self._parts.name} was digitally signed; the finished workbook is not, since "
                "it has more in it than was signed",
            )
        return ()

    def write_sheet(
        self, part: IO[bytes], sample: Sequence[AnsweredRow], rows: Iterable[AnsweredRow]
    ) -> None:
        """Write the worksheet's part."""
        found = self._survey
        cells = AnswerCells(self._columns, self.styles, self._epoch, found.prefix)
        header = cells.header(self._header_row, self._header_style())
        below = cells.of(chain(sample, rows))
        new_filter = self._filter[1] if self._filter else None
        edits = around_rows.edits(found, widths(self._columns, sample), new_filter)
        where = self._parts.where(self.sheet_path)
        package, name = self._parts.package, self._parts.name
        with opened_xml(package, self.sheet_path, name) as (stream, codec):
            out = xml_bytes.Encoded(part, codec) if codec else part
            writer = RowWriter(
                out, found, edits, chain([header] if header[1] else [], below), where
            )
            for other, run in plain_rows.split(
                stream, plain_rows.SHEET_DATA, PLAIN_ROWS, b"</row>"
            ):
                writer.other(other)
                if run:
                    writer.run(run)
            writer.close()

    def _header_style(self) -> int:
        header = self._survey.header
        beside = max((column for column in header if column <= self._edge), default=None)
        return (header[beside] if beside is not None else HeaderCell()).style
