"""Values that the ledger takes and gives: plain records, without SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from rowfleet.answers.reasons import Reason
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.ledger.statuses import RowReview, RowStatus, Tier

#: A row by its batch and number.
Key = tuple[str, int]

#: The row below a header in the first row, as a spreadsheet program numbers it. Older versions did
#: not record where a header stood.
FIRST_ROW: Final = 2

#: Times a row's worker may vanish while it runs before the row counts as what kills it.
MAX_LOSSES = 3


def sheet_row(number: int, first_row: int | None) -> int:
    """Return a row's number as a spreadsheet program shows it, by that of the batch's row 0."""
    return number + (FIRST_ROW if first_row is None else first_row)


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch's record, before its rows."""

    id: str
    source: str
    content_hash: str
    file_hash: str
    sheet: str
    start_row: int
    num_rows: int | None
    header: Sequence[str]
    formats: Sequence[str]
    widths: Sequence[float] | None
    recipe: Mapping[str, Any]
    columns: Mapping[str, int]
    model: str
    analyzer: str
    queue: str
    urgent: bool = False
    #: The model's price in dollars per million tokens (input, cached, output) if a user gave one.
    price: Mapping[str, float | None] | None = None
    #: Dollars its calls may cost.
    max_cost: float | None = None
    #: The share of its last rows, from 0 to 1, that may fail or need review before it stops.
    max_failures: float | None = None
    #: The rows to run at first, until a person lets the rest go on.
    sample: Sequence[int] | None = None
    dedupe: bool = False
    tier: Tier = Tier.WORKERS
    #: The row of position 0 as a spreadsheet program numbers it.
    first_row: int | None = None
    #: Where the file was read: an absolute path, or a URI without credentials.
    origin: str | None = None
    where_expression: str | None = None
    order_by: str | None = None
    hidden: Literal["include", "skip"] = "include"
    totals: Literal["keep", "skip"] | None = None
    documents: str | None = None


@dataclass(frozen=True, slots=True)
class Claimed:
    """A row that now is its claimer's to run."""

    key: Key
    cells: Sequence[Any]
    identity: str | None
    attempts: int
    retries: int
    #: Times its worker has vanished.
    losses: int = 0

    @property
    def has_one_try_left(self) -> bool:
        """Whether it fails if its worker vanishes once more."""
        return self.losses == MAX_LOSSES - 1


@dataclass(frozen=True, slots=True)
class Spent:
    """What the calls of one attempt used; ``cost_usd`` is None if that is not known.

    It is not without a price, nor if one of the answers does not say what it used.

    ``possibly_billed`` are calls that were sent and ended without an answer.
    """

    calls: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: float | None = None
    possibly_billed: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt ended: a value the worker decides and `settle` writes down.

    ``status`` is where the row goes: ``done`` with ``output``, ``failed`` with ``error``, or
    ``pending`` to be tried again ``delay`` seconds from now. ``counts`` tells whether a try again
    counts as a retry; a row given back because its batch stopped does not. One that was not even
    ``begun`` has had no attempt. ``brief`` is what logs and events may name of ``error``, which may
    quote the row or its answer. A row that is done may have a ``review``, and ``reasons`` for it.
    """

    key: Key
    attempts: int
    status: RowStatus
    output: Mapping[str, Any] | None = None
    error: str | None = None
    brief: str | None = None
    delay: float = 0
    counts: bool = True
    begun: bool = True
    spent: Spent = field(default_factory=Spent)
    latency: float | None = None
    review: RowReview | None = None
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchRecord:
    """A batch as it was recorded."""

    id: str
    source: str
    content_hash: str
    sheet: str
    header: Sequence[str]
    formats: Sequence[str]
    widths: Sequence[float] | None
    recipe: Mapping[str, Any]
    columns: Mapping[str, int]
    model: str
    analyzer: str
    queue: str
    status: str
    reason: str | None
    total: int
    created_at: datetime
    finished_at: datetime | None
    price: Mapping[str, float | None] | None
    max_cost: float | None
    sample: Sequence[int] | None
    dedupe: bool
    tier: str
    file_hash: str
    start_row: int
    num_rows: int | None
    first_row: int | None = None
    origin: str | None = None
    where_expression: str | None = None
    order_by: str | None = None
    hidden: str = "include"
    totals: str | None = None
    documents: str | None = None

    def sheet_row(self, number: int) -> int:
        """Return the number that a spreadsheet program shows for the row."""
        return sheet_row(number, self.first_row)

    def number_of(self, sheet_row: int) -> int:
        """Return the row's number in the ledger; below 0 for a row above the data."""
        return sheet_row - self.sheet_row(0)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a batch is. Field by field what ``rowfleet progress --json`` prints, if not said.

    The table of docs/reference/json.md is made from the comments; a field without one shares the
    comment of the fields before it.
    """

    #: The batch's id.
    batch_id: str
    #: `loading`, `running`, `finished`, `cancelled`, `stopped`, `sampled` or `budget_exhausted`.
    status: str
    #: Rows of the batch; while it is `loading`, those recorded so far.
    total: int
    #: Rows that wait in the ledger, for their documents or a retry's time, too.
    pending: int
    #: Rows on the queue, and rows in a worker's hands.
    queued: int
    running: int
    #: Rows that have ended.
    done: int
    failed: int
    cancelled: int
    #: Rows that ended a second, over the last one to two minutes.
    rows_per_second: float
    #: Seconds until the end at that rate; `null` without a rate.
    eta_seconds: float | None
    #: Tokens as the API counted them, over all attempts.
    prompt_tokens: int
    completion_tokens: int
    #: USD for all answered calls; `null` if the price of some is not known.
    cost_usd: float | None
    #: The budget in USD; `null` for none.
    max_cost_usd: float | None = None
    #: Only if the batch is stopped or exhausted: the cause.
    reason: str | None = None
    #: Calls that were sent and ended without an answer: they may be billed, and are in no cost.
    possibly_billed_calls: int = 0
    #: Only if the batch is `running` and nothing runs it now: `true`.
    is_idle: bool = False
    #: Rows that are done and need review: people have not decided yet.
    needs_review: int = 0
    #: Why most rows that wait for another try do so. Not printed as JSON, which a log may keep: the
    #: API's words may quote a cell.
    retried_for: str | None = None

    @property
    def ended(self) -> int:
        """Rows in an end state."""
        return self.done + self.failed + self.cancelled


@dataclass(frozen=True, slots=True)
class RowState:
    """How a row and its batch stand."""

    status: str
    batch_status: str
    #: The row's number as a spreadsheet program shows it.
    sheet_row: int


@dataclass(frozen=True, slots=True)
class FailedRow:
    """A row that failed, and why."""

    #: Its number as a spreadsheet program shows it.
    row: int
    attempts: int
    error: str


@dataclass(frozen=True, slots=True)
class RecordedRow:
    """A row with its encoded cells and what became of it."""

    number: int
    cells: Sequence[Any]
    status: str
    output: Mapping[str, Any] | None
    error: str | None
    #: The earlier row whose answer this is, since the same was sent for both.
    same_as: int | None = None
    #: A value of `RowReview`, and the reasons as the ledger keeps them.
    review: str | None = None
    review_reasons: Sequence[Mapping[str, Any]] | None = None
    #: What a person decided last.
    decision: DecisionRecord | None = None

    @property
    def values(self) -> Mapping[str, Any] | None:
        """The row's final values: a person's, or else those that it was answered."""
        return self.output if self.decision is None else self.decision.after


@dataclass(frozen=True, slots=True)
class SampledRow:
    """A row of a sample and what became of it; ``cost_usd`` is None if that is not known."""

    #: Its number as a spreadsheet program shows it.
    row: int
    status: str
    output: Mapping[str, Any] | None
    error: str | None
    cost_usd: float | None
    #: A value of `RowReview`, and the reasons as the ledger keeps them.
    review: str | None = None
    review_reasons: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What answered calls of earlier batches took."""

    calls: int
    completion_tokens: int
    cached_tokens: int
    prompt_tokens: int
