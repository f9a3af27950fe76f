"""The same rows in two batches, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.queries.answered import AnsweredRow, answered_rows
from rowfleet.ledger.records import BatchRecord
from submitter.evaluation.labels import Compared, Judged, Unreadable, in_sheet, judged
from submitter.submission.matching import same_value


@dataclass(slots=True)
class Paired:
    """Yields the rows that both batches have, and counts those that one has alone."""

    connection: Connection
    first: BatchRecord
    second: BatchRecord
    both: int = 0
    first_alone: int = 0
    second_alone: int = 0
    _places: list[tuple[int, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Raise InputError unless the two sheets have a column of the same header."""
        at = {name: place for place, name in enumerate(self.second.header)}
        self._places = [
            (place, at[name]) for place, name in enumerate(self.first.header) if name in at
        ]
        if not self._places:
            raise InputError(
                f"batches {self.first.id} and {self.second.id} are not of the same rows: their "
                "sheets have no column in common"
            )

    def rows(self) -> Iterator[tuple[AnsweredRow, AnsweredRow]]:
        """Yield the pairs in order. Raises InputError for a row whose cells differ.

        Only columns that both sheets have are compared: labels may have been added to one.
        """
        self.both = self.first_alone = self.second_alone = 0
        ones = answered_rows(self.connection, self.first.id)
        others = answered_rows(self.connection, self.second.id)
        one, other = next(ones, None), next(others, None)
        while one is not None or other is not None:
            if other is None or (one is not None and one.number < other.number):
                self.first_alone += 1
                one = next(ones, None)
            elif one is None or other.number < one.number:
                self.second_alone += 1
                other = next(others, None)
            else:
                self._check(one, other)
                self.both += 1
                yield one, other
                one, other = next(ones, None), next(others, None)
        if not self.both:
            raise InputError(f"batches {self.first.id} and {self.second.id} have no row in common")

    def _check(self, one: AnsweredRow, other: AnsweredRow) -> None:
        for place, its in self._places:
            if not same_value(_cell(one, place), _cell(other, its)):
                row, column = self.first.sheet_row(one.number), self.first.header[place]
                raise InputError(
                    f"batches {self.first.id} and {self.second.id} are not of the same rows: row "
                    f"{row} differs in {column!r}"
                )


def _cell(row: AnsweredRow, place: int) -> object:
    cell = row.cells[place] if place < len(row.cells) else None
    return None if isinstance(cell, list) else cell


@dataclass(frozen=True, slots=True)
class Answers:
    """Two answers of a row to one property."""

    about: Compared
    #: The first as the label, the second as the answer: right if the two are the same.
    pair: Judged
    #: The first and the second beside the row's label, where there are labels.
    beside: tuple[Judged, Judged] | None


def answers(about: Sequence[Compared], one: AnsweredRow, other: AnsweredRow) -> Iterator[Answers]:
    """Yield the two answers to each property; none of a row that one batch has not answered.

    A property with labels is left out where the label is blank or can't be read.
    """
    if one.output is None or other.output is None:
        return
    for each in about:
        first, second = one.output.get(each.property), other.output.get(each.property)
        beside: tuple[Judged, Judged] | None = None
        if each.index is not None:
            label = in_sheet(each, one)
            if label is None:
                continue
            try:
                beside = judged(each, label, first), judged(each, label, second)
            except Unreadable:
                continue
        try:
            pair = judged(each, first, second)
        except Unreadable:  # an amount that the first batch answered as text
            pair = Judged(str(first), str(second), is_right=first == second)
        yield Answers(each, pair, beside)
