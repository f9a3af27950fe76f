"""What the bookkeeper gives a slot for a row, and the ways it can refuse."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rowfleet import analyzer_kinds
from rowfleet.analyzer_kinds import Kind
from rowfleet.ledger.document_records import RowsDocument
from rowfleet.ledger.records import BatchRecord, Claimed
from rowfleet.prices import Price
from rowfleet.recipes.recipe import Recipe
from rowfleet.stopwatch import Stopwatch


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What a worker needs to know of a row's batch."""

    record: BatchRecord
    recipe: Recipe
    #: The model's price, where a user gave one.
    price: Price | None = None

    @property
    def kind(self) -> Kind:
        """What sets the batch's analyzer apart."""
        return analyzer_kinds.get(self.record.analyzer)


@dataclass(frozen=True, slots=True)
class Assignment:
    """A claimed row with all that its question needs."""

    row: Claimed
    batch: BatchInfo
    duplicate_of: Sequence[int]
    #: What its time limit is measured by; whoever runs the row stops it while that waits.
    clock: Stopwatch = field(default_factory=Stopwatch)
    #: The documents that it names, where its recipe has them sent.
    documents: Sequence[RowsDocument] = ()

    @property
    def sheet_row(self) -> int:
        """The row's number as a spreadsheet program shows it."""
        return self.batch.record.sheet_row(self.row.key[1])

    @property
    def name(self) -> str:
        """What logs call the row."""
        return f"row {self.sheet_row} of {self.row.key[0]}"


@dataclass(frozen=True, slots=True)
class Refused:
    """A row that is not to be run, and why: it has ended, another slot has it, its batch stands."""

    why: str
    #: The row's number as a spreadsheet program shows it; None: it is not in the ledger.
    sheet_row: int | None = field(default=None, compare=False)


class ResultRefused(Exception):
    """The ledger did not take a row's result; the row has failed for that. Its text says so."""
