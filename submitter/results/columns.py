"""The columns that the finished sheet has beside the original ones and the answers: one list.

A column that is added to `ADDED` is counted, written and named by itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from functools import partial
from typing import Any

from rowfleet import analyzer_kinds
from rowfleet.answers.reasons import decode
from rowfleet.cells import Cell
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.ledger.review_records import DecisionRecord
from rowfleet.ledger.statuses import Verdict
from rowfleet.recipes import loading
from rowfleet.recipes.parts.documents import Missing
from rowfleet.recipes.parts.evidence import SourcePart
from rowfleet.recipes.recipe import JUDGED_BY, Recipe
from submitter.results.citing import cited_cells
from submitter.sheets.header import AnswerHeaders


class FinishedRow(RecordedRow):
    """A row of the ledger with its decoded cells."""

    __slots__ = ()

    @classmethod
    def of(cls, row: RecordedRow, cells: Sequence[Cell] = ()) -> FinishedRow:
        """Return a row of the ledger with these cells in place of the encoded ones."""
        return cls(
            row.number,
            cells,
            row.status,
            row.output,
            row.error,
            row.same_as,
            row.review,
            row.review_reasons,
            row.decision,
        )


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the writer fills it: a header, and a row's cell below it."""

    header: str
    value: Callable[[FinishedRow], Cell]


@dataclass(frozen=True, slots=True)
class Added:
    """A column that Rowfleet adds behind the answers."""

    header: str
    #: The cell of a batch's row.
    value: Callable[[BatchRecord, FinishedRow], Cell]
    #: Whether a batch's finished sheet has the column.
    is_present: Callable[[BatchRecord], bool] = lambda _batch: True
    #: Whether a batch has it in which people have decided on rows.
    is_of_reviews: bool = False

    def of(self, batch: BatchRecord) -> Column:
        """Return the column of one batch."""
        return Column(self.header, partial(self.value, batch))


def _answered_by(batch: BatchRecord, row: FinishedRow) -> str | None:
    if not row.output:
        return None
    kind = analyzer_kinds.find(batch.analyzer)
    names_model = kind is not None and kind.asks_a_model
    return batch.analyzer + (f" ({batch.model})" if names_model else "")


def _same_as(batch: BatchRecord, row: FinishedRow) -> int | None:
    return None if row.same_as is None else batch.sheet_row(row.same_as)


#: What a person's decision makes of a row.
_DECIDED = {
    Verdict.APPROVE: "approved",
    Verdict.CORRECT: "corrected",
    Verdict.REJECT: "rejected",
}


def _review(_batch: BatchRecord, row: FinishedRow) -> str | None:
    return row.review if row.decision is None else _DECIDED[Verdict(row.decision.verdict)]


def _of_decision(value: Callable[[DecisionRecord], Cell]) -> Callable[..., Cell]:
    return lambda _batch, row: None if row.decision is None else value(row.decision)


def _sources(batch: BatchRecord, recipe: Recipe, row: FinishedRow) -> str | None:
    """Say which values a person gave, which were computed, and who answered the others."""
    answered = _answered_by(batch, row)
    if row.values is None or answered is None:
        return None
    asked = recipe.output["properties"]
    headers = recipe.headers()
    computed = [header for name, header in headers.items() if name not in asked]
    given = [
        header
        for name, header in headers.items()
        if name in asked and not _is_same(row.values.get(name), (row.output or {}).get(name))
    ]
    parts = [f"reviewer: {', '.join(given)}"] if given else []
    parts += [f"computed: {', '.join(computed)}"] if computed else []
    if len(given) + len(computed) < len(headers):
        parts.append(f"{answered}: the others" if parts else answered)
    return "; ".join(parts)


@dataclass(frozen=True, slots=True)
class _Sources(Added):
    """The column that says where a row's values came from."""

    def of(self, batch: BatchRecord) -> Column:
        """Return the column of one batch, whose recipe is read once."""
        return Column(self.header, partial(_sources, batch, loading.recorded(batch.recipe)))


def _is_same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _is_judged(batch: BatchRecord) -> bool:
    missing = (batch.recipe.get("documents") or {}).get("missing")
    return missing == Missing.NEEDS_REVIEW or any(batch.recipe.get(field) for field in JUDGED_BY)


def _nothing(_batch: BatchRecord, _row: FinishedRow) -> None:
    return None


def _never(_batch: BatchRecord) -> bool:
    return False


def _reasons(_batch: BatchRecord, row: FinishedRow) -> str | None:
    return "; ".join(map(str, decode(row.review_reasons))) or None


ANALYZER = Added("AI_Analyzer", _answered_by)
ROW = Added("AI_Row", lambda batch, row: batch.sheet_row(row.number))
STATUS = Added("AI_Status", lambda _batch, row: row.status)
ERROR = Added("AI_Error", lambda _batch, row: row.error)
ALWAYS_ADDED = (ANALYZER, ROW, STATUS, ERROR)

#: The number of an answer's header where a person's own column has the name without it.
_NUMBERED = re.compile(r"_[0-9]{1,5}$")

#: In the order of the sheet.
ADDED = (
    ANALYZER,
    ROW,
    Added("AI_Same_As_Row", _same_as, lambda batch: batch.dedupe),
    STATUS,
    ERROR,
    Added("AI_Review", _review, _is_judged, is_of_reviews=True),
    Added("AI_Review_Reasons", _reasons, _is_judged, is_of_reviews=True),
    _Sources("AI_Sources", _nothing, _never, is_of_reviews=True),
    Added("AI_Reviewer", _of_decision(lambda each: each.reviewer), _never, is_of_reviews=True),
    Added(
        "AI_Reviewed_At_UTC",
        _of_decision(lambda each: each.decided_at.astimezone(UTC).replace(tzinfo=None)),
        _never,
        is_of_reviews=True,
    ),
    Added("AI_Review_Note", _of_decision(lambda each: each.note), _never, is_of_reviews=True),
)


def cited(batch: BatchRecord) -> list[Column]:
    """Return the columns of the answers' sources."""
    if not batch.recipe.get("evidence"):
        return []
    headers = loading.recorded(batch.recipe).source_headers()
    return [
        Column(header, partial(_source, batch.documents, field, part))
        for (field, part), header in headers.items()
    ]


def _source(root: str | None, field: str, part: SourcePart, row: FinishedRow) -> Cell:
    return cited_cells.cell(row.output, field, part, root)


def added_to(batch: BatchRecord, *, is_reviewed: bool = False) -> list[Column]:
    """Return the added columns that the batch's finished sheet has."""
    return cited(batch) + [
        added.of(batch)
        for added in ADDED
        if added.is_present(batch) or (is_reviewed and added.is_of_reviews)
    ]


def least_headers(recipe: Recipe) -> tuple[str, ...]:
    """Return the headers that each finished sheet has beside the original ones."""
    return (*recipe.headers().values(), *(added.header for added in ALWAYS_ADDED))


def most_beside_the_original(recipe: Recipe) -> int:
    """Return how many columns a finished sheet has at most beside the original ones."""
    return len(recipe.headers()) + len(recipe.source_headers()) + len(ADDED)


def of_earlier_runs(texts: Mapping[int, str], recipe: Recipe) -> set[int]:
    """Return the columns of answers that earlier runs of the recipe wrote, whatever their headers.

    ``texts`` are the headers by sheet column. The answers are known by the columns behind them that
    Rowfleet adds, where all of those stand side by side.
    """
    names = {column: _NUMBERED.sub("", text) for column, text in texts.items()}
    needed = {added.header for added in ALWAYS_ADDED}
    known = {added.header for added in ADDED}
    found: set[int] = set()
    for first in (column for column, name in names.items() if name == ANALYZER.header):
        behind = first
        while names.get(behind) in known:
            behind += 1
        if needed <= {names[column] for column in range(first, behind)}:
            answers = len(recipe.headers()) + len(recipe.source_headers())
            found.update(range(first - answers, behind))
    return found & texts.keys()


def answer_headers(recipe: Recipe) -> AnswerHeaders:
    """Return the headers by which a finished sheet's answer columns are known."""
    always = (*recipe.headers().values(), *recipe.source_headers().values(), STATUS.header)
    return AnswerHeaders(
        always, tuple(added.header for added in ADDED if added.header not in always)
    )
