"""What a person wrote into a review's sheet, read within the bounds of every other sheet."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from rowfleet.cells import Cell, plain
from rowfleet.errors import InputError
from rowfleet.ledger.statuses import Verdict
from rowfleet.masking import printable
from submitter.excel import letter
from submitter.review import review_sheet
from submitter.review.review_sheet import Key, parse_key
from submitter.sheets import workbook
from submitter.sheets.opening import CSV_SUFFIXES, open_sheet
from submitter.sheets.package import open_package
from submitter.sheets.sheet import Sheet

#: Characters of a reviewer's name, and of a note: a paragraph.
MAX_NAME, MAX_NOTE = 200, 2_000
#: Cells that a sentence names; the first ones are mended first.
MOST_NAMED = 5

#: The names of a review's sheet in a workbook that has several.
_TITLE = re.compile(re.escape(review_sheet.TITLE) + r"(?:_[0-9]{1,5})?", re.IGNORECASE)


@dataclass(slots=True)
class Problems:
    """Cells that keep a file from being imported."""

    where: str
    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, address: str, sentence: str) -> None:
        """Note what is wrong with a cell."""
        self.found.append((address, sentence))

    def check(self) -> None:
        """Raise InputError if there are any."""
        if not self.found:
            return
        listed = "; ".join(f"{address} {sentence}" for address, sentence in self.found[:MOST_NAMED])
        more = len(self.found) - MOST_NAMED
        rest = f"; and {more:,} more" if more > 0 else ""
        raise InputError(f"{self.where}: {listed}{rest}; nothing is imported")


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """A decided row of the sheet."""

    key: Key
    verdict: Verdict
    reviewer: str
    note: str | None
    #: Property of the answer → the cell of its correction, where there is one.
    corrections: Mapping[str, Cell]
    #: What names the cell of a column: a property's, or a header of the sheet's own.
    addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Written:
    """The sheet's rows that a person decided."""

    rows: Sequence[WrittenRow]
    undecided: int
    #: Takes what else is wrong with them.
    problems: Problems


def read(
    file: Path,
    name: str,
    batch_id: str,
    corrections: Mapping[str, str],
    reviewer: str | None = None,
) -> Written:
    """Return what is decided in ``file``, the sheet of a review of the batch.

    ``corrections`` has the header of each property's column of corrections. ``reviewer`` is the
    person of rows that name none. Raises InputError for a file that is no such sheet. Mistakes in
    single cells are in the result's ``problems``.
    """
    with open_sheet(file, _title(file, name), name=name) as sheet:
        return _Reading(sheet, batch_id, corrections, reviewer).all()


def _title(file: Path, name: str) -> str | None:
    """Return the name of the review's sheet: of several the last, which was written last."""
    if PurePath(name).suffix.lower() in CSV_SUFFIXES:
        return None
    titles: list[str] = []
    with (
        suppress(InputError, OSError),
        file.open("rb") as stream,
    ):  # `open_sheet` says what is wrong
        package = open_package(stream, name)
        titles = [found.title for found in workbook.read(package, name).worksheets]
    ours = [title for title in titles if _TITLE.fullmatch(title)]
    if titles and not ours:
        listed = ", ".join(map(repr, titles[:MOST_NAMED]))
        raise InputError(
            f"{name}: has no sheet {review_sheet.TITLE!r}, on which a review is decided; there are "
            f"{listed}"
        )
    return ours[-1] if ours else review_sheet.TITLE


class _Reading:
    """Goes through the rows of a sheet."""

    def __init__(
        self, sheet: Sheet, batch_id: str, corrections: Mapping[str, str], reviewer: str | None
    ) -> None:
        self._sheet = sheet
        self._batch_id = batch_id
        self._reviewer = reviewer
        self._places = {name: index for index, name in reversed(list(enumerate(sheet.header)))}
        own = (review_sheet.DECISION, review_sheet.REVIEWER, review_sheet.NOTE, review_sheet.KEY)
        for header in own:
            if header not in self._places:
                raise InputError(
                    f"{sheet.where}: has no column {header!r}, so it is not the sheet of a review; "
                    "give the file that `rowfleet review --export` wrote"
                )
        self._corrections = {
            name: header for name, header in corrections.items() if header in self._places
        }
        self._problems = Problems(sheet.where)
        self._seen: dict[int, str] = {}

    def all(self) -> Written:
        rows, undecided = [], 0
        for position, cells in self._sheet.rows():
            number = self._sheet.first_row + position
            key_text = _text(cells[self._places[review_sheet.KEY]])
            wrote = self._what_a_person_wrote(cells)
            if not key_text and not wrote:
                continue
            key = self._key(key_text, number)
            if key is None:
                continue
            if not wrote:
                undecided += 1
                continue
            row = self._row(key, cells, number)
            if row is not None:
                rows.append(row)
        return Written(rows, undecided, self._problems)

    def _what_a_person_wrote(self, cells: Sequence[Cell]) -> bool:
        headers = (review_sheet.DECISION, *self._corrections.values())
        return any(_text(cells[self._places[header]]) for header in headers)

    def _address(self, header: str, number: int) -> str:
        return f"{letter(self._sheet.sheet_columns[self._places[header]])}{number}"

    def _key(self, text: str, number: int) -> Key | None:
        key = parse_key(text)
        address = self._address(review_sheet.KEY, number)
        if key is None:
            shown = repr(text[:60]) if text else "blank"
            self._problems.add(address, f"is {shown}, which names no row; export the review again")
            return None
        if key.batch_id != self._batch_id:
            raise InputError(
                f"{self._sheet.where}: {address} is of the batch {key.batch_id!r}, not of "
                f"{self._batch_id!r}"
            )
        return key

    def _row(self, key: Key, cells: Sequence[Cell], number: int) -> WrittenRow | None:
        """Return the row, None if something is wrong with it."""
        before = len(self._problems.found)

        def cell(header: str) -> Cell:
            return cells[self._places[header]]

        def wrong(header: str, sentence: str) -> None:
            self._problems.add(self._address(header, number), sentence)

        decision = _text(cell(review_sheet.DECISION))
        corrections = {
            name: cell(header) for name, header in self._corrections.items() if _text(cell(header))
        }
        verdict = next((each for each in Verdict if each == decision.casefold()), None)
        listed = ", ".join(review_sheet.VERDICTS)
        if not decision:
            wrong(review_sheet.DECISION, "is blank, but the row has a correction: write correct")
        elif verdict is None:
            wrong(review_sheet.DECISION, f"is {decision[:40]!r}, and must be one of {listed}")
        elif verdict is Verdict.CORRECT and not corrections:
            wrong(review_sheet.DECISION, "says correct, but the row has no correction")
        elif verdict is not Verdict.CORRECT and corrections:
            header = self._corrections[next(iter(corrections))]
            wrong(header, f"has a correction, but the decision is {verdict}: write correct")
        reviewer = _text(cell(review_sheet.REVIEWER)) or (self._reviewer or "")
        if not reviewer:
            wrong(review_sheet.REVIEWER, "is blank: write who decided, or give --reviewer NAME")
        elif len(reviewer) > MAX_NAME:
            wrong(review_sheet.REVIEWER, f"has more than {MAX_NAME} characters")
        note = _text(cell(review_sheet.NOTE))
        if len(note) > MAX_NOTE:
            wrong(review_sheet.NOTE, f"has more than {MAX_NOTE:,} characters")
        if key.number in self._seen:
            wrong(review_sheet.KEY, f"is that of {self._seen[key.number]}, too: a row stands twice")
        self._seen[key.number] = self._address(review_sheet.KEY, number)
        if len(self._problems.found) > before or verdict is None:
            return None
        headers = {header: header for header in (review_sheet.DECISION, review_sheet.KEY)}
        addresses = {
            name: self._address(header, number)
            for name, header in (headers | self._corrections).items()
        }
        note = printable(note, keep="\n\t")
        return WrittenRow(key, verdict, printable(reviewer), note or None, corrections, addresses)


def _text(cell: Cell) -> str:
    found = plain(cell)
    return "" if found is None else str(found).strip()
