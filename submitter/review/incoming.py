"""Decisions that a person wrote into a review's sheet are checked and recorded, all or none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rowfleet import cells as row_cells
from rowfleet.analysis import Question
from rowfleet.answers import reasons
from rowfleet.answers.judging import judge_corrected
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading, writing
from rowfleet.ledger.queries import batch_records, reviews
from rowfleet.ledger.queries.rows import rows_by_number
from rowfleet.ledger.records import BatchRecord, RecordedRow
from rowfleet.ledger.review_records import Decided, DecisionRecord, NewDecision, Values
from rowfleet.ledger.statuses import RowStatus, Verdict
from rowfleet.ledger.transitions import reviewing
from rowfleet.recipes import loading, validation
from rowfleet.recipes.recipe import Recipe
from rowfleet.recipes.strict import close
from rowfleet.storage import transfer
from rowfleet.storage.location import Location
from submitter.results.original import sha256_of
from submitter.review import review_sheet, written_rows
from submitter.review.corrections import NotAValueError, corrected
from submitter.review.written_rows import MOST_NAMED, Problems, WrittenRow

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to."""

    batch: BatchRecord
    made: int
    #: Rows whose newest decision says the same already.
    unchanged: int
    #: Rows of the sheet without a decision.
    undecided: int
    #: Addresses of rows whose corrected values still do not pass a check, each with the reason.
    doubtful: tuple[tuple[str, str], ...] = ()


def import_decisions(
    engine: Engine,
    batch_id: str,
    place: Location,
    *,
    by: str,
    reviewer: str | None = None,
    supersede: bool = False,
) -> Imported:
    """Record the decisions in the file at ``place``, all of them or none.

    ``reviewer`` is the person of the rows that name none. A row that was decided after the file was
    written is decided anew only if the file is to ``supersede`` that. Raises InputError for a file
    that can't be read or is of another batch, and for cells that say no decision or that the
    recipe's schema does not take, by their addresses.
    """
    with reading(engine) as connection:
        batch = batch_records.get_batch(connection, batch_id)
    recipe = loading.again(batch.recipe, batch.id)
    with transfer.downloaded(place) as file:
        file_hash = sha256_of(file, place)
        headers = review_sheet.corrections(recipe)
        written = written_rows.read(file, str(place), batch.id, headers, reviewer)
    problems = written.problems
    numbers = [row.key.number for row in written.rows]
    with reading(engine) as connection:
        recorded = rows_by_number(connection, batch.id, numbers)
        earlier = reviews.decisions_on(connection, batch.id, numbers)
    deciding = _Deciding(batch, recipe, problems)
    for row in written.rows:
        deciding.add(row, recorded.get(row.key.number), earlier.get(row.key.number, ()))
    problems.check()
    with writing(engine) as connection:
        decided = reviewing.decide(
            connection,
            batch.id,
            deciding.decisions,
            file_hash=file_hash,
            by=by,
            supersede=supersede,
        )
    _check_recorded(decided, written.rows, problems, batch.id)
    made, unchanged = len(decided.made), len(decided.unchanged)
    return Imported(batch, made, unchanged, written.undecided, tuple(deciding.doubtful))


def _check_recorded(
    decided: Decided, rows: Sequence[WrittenRow], problems: Problems, batch_id: str
) -> None:
    """Raise InputError if nothing was recorded, since rows were decided or changed meanwhile."""
    addresses = {row.key.number: row.addresses[review_sheet.DECISION] for row in rows}
    for number in decided.undone:
        problems.add(addresses[number], "is of a row that is not done")
    problems.check()
    if not decided.later:
        return
    listed = "; ".join(
        f"{addresses[each.number]} (by {each.reviewer} at {each.decided_at:%Y-%m-%d %H:%M} UTC: "
        f"{each.verdict})"
        for each in decided.later[:MOST_NAMED]
    )
    more = len(decided.later) - MOST_NAMED
    rest = f"; and {more:,} more" if more > 0 else ""
    raise InputError(
        f"{problems.where}: since the file was written, rows were decided otherwise: {listed}{rest}"
        f"; nothing is imported; export the review of {batch_id} again, or let this file win with "
        "--supersede"
    )


class _Deciding:
    """Makes decisions of rows that a person wrote."""

    def __init__(self, batch: BatchRecord, recipe: Recipe, problems: Problems) -> None:
        self.decisions: list[NewDecision] = []
        self.doubtful: list[tuple[str, str]] = []
        self._batch = batch
        self._recipe = recipe
        self._problems = problems
        self._schemas: Mapping[str, Any] = recipe.output["properties"]
        self._validator: Draft202012Validator = validation.validator(close(recipe.output))

    def add(
        self, row: WrittenRow, recorded: RecordedRow | None, earlier: Sequence[DecisionRecord]
    ) -> None:
        """Add the decision on a row, or what is wrong with it."""
        if recorded is None or recorded.status != RowStatus.DONE:
            self._problems.add(row.addresses[review_sheet.KEY], "names no row that is done")
            return
        seen = review_sheet.seen_values(recorded.output, earlier, row.key.seen)
        if review_sheet.digest(seen) != row.key.digest:
            self._problems.add(
                row.addresses[review_sheet.KEY],
                "is of an answer that the row no longer has; export the review again",
            )
            return
        after: Values | None = seen
        left: tuple[reasons.Reason, ...] = ()
        if row.verdict is Verdict.REJECT:
            after = None
        elif row.verdict is Verdict.CORRECT:
            found = self._corrected(row, recorded, seen or {})
            if found is None:
                return
            after, left = found
        if left:
            self.doubtful.append((row.addresses[review_sheet.DECISION], str(left[0])))
        self.decisions.append(
            NewDecision(
                row.key.number,
                row.key.seen,
                row.verdict,
                row.reviewer,
                after,
                row.note,
                reasons.encode(left) or None,
            )
        )

    def _corrected(
        self, row: WrittenRow, recorded: RecordedRow, seen: Values
    ) -> tuple[Values, tuple[reasons.Reason, ...]] | None:
        """Return the values with the corrections, and the reasons to review that they still have.

        None: a correction is no value that the schema takes.
        """
        asked = {name: seen.get(name) for name in self._schemas if name in seen}
        before = len(self._problems.found)
        for name, cell in row.corrections.items():
            try:
                asked[name] = corrected(cell, self._schemas[name])
            except NotAValueError as error:
                self._problems.add(row.addresses[name], str(error))
        if len(self._problems.found) > before:
            return None
        problem = validation.first_problem(self._validator, asked)
        if problem is not None:
            where, what = problem
            field = next((name for name in self._schemas if f"{where}/".startswith(f"{name}/")), "")
            address = row.addresses.get(field, row.addresses[review_sheet.DECISION])
            self._problems.add(address, f"does not fit the recipe: {what[:200]}")
            return None
        judged = judge_corrected(self._question(recorded), {**seen, **asked})
        left = judged.all_reasons
        if judged.failure is not None:
            left = (reasons.Reason("check", judged.failure), *left)
        return judged.output, left

    def _question(self, row: RecordedRow) -> Question:
        batch = self._batch
        return Question(
            self._recipe,
            batch.model,
            batch.sheet_row(row.number),
            row_cells.sent(batch.columns, row.cells),
            shown=row_cells.shown(batch.columns, row.cells),
        )
