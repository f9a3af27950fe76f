"""People decide on answered rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from rowfleet.ledger.clock import now
from rowfleet.ledger.models import Decision, Row
from rowfleet.ledger.queries.reviews import decisions_on
from rowfleet.ledger.review_records import Decided, DecisionRecord, NewDecision, Values
from rowfleet.ledger.statuses import RowReview, RowStatus
from rowfleet.ledger.transitions.sql import hold_batch, in_parts
from rowfleet.ledger.transitions.tallies import write_tallies


def decide(
    connection: Connection,
    batch_id: str,
    decisions: Sequence[NewDecision],
    *,
    file_hash: str,
    by: str,
    supersede: bool = False,
) -> Decided:
    """Record what people decided on rows of the batch, all of it or nothing.

    A decision that says the same as the newest one on its row is not recorded again. Nothing is
    recorded if a row is not done, or if it was decided after the person saw it, unless the new
    decisions are to ``supersede`` later ones. ``file_hash`` is that of the file that they came in.
    """
    # Two people may import at once: the second one sees what the first one decided.
    hold_batch(connection, batch_id)
    numbers = [decision.number for decision in decisions]
    outputs = _outputs(connection, batch_id, numbers)
    undone = tuple(number for number in numbers if number not in outputs)
    if undone:
        return Decided(undone=undone)
    earlier = decisions_on(connection, batch_id, numbers)
    made: list[dict[str, Any]] = []
    unchanged: list[int] = []
    later: list[DecisionRecord] = []
    for decision in decisions:
        newest = earlier[decision.number][-1] if decision.number in earlier else None
        if newest is not None and _says_the_same(newest, decision):
            unchanged.append(decision.number)
        elif newest is not None and newest.version != decision.seen and not supersede:
            later.append(newest)
        else:
            made.append(
                {
                    "batch_id": batch_id,
                    "number": decision.number,
                    "version": 1 if newest is None else newest.version + 1,
                    "verdict": decision.verdict,
                    "reviewer": decision.reviewer,
                    "before": outputs[decision.number] if newest is None else newest.after,
                    "after": decision.after,
                    "reasons": decision.reasons,
                    "note": decision.note,
                    "file_hash": file_hash,
                }
            )
    if later:
        return Decided(later=tuple(later))
    for part in in_parts(made):
        connection.execute(insert(Decision).values(decided_at=now()), part)
    _review(connection, batch_id, [each["number"] for each in made], by)
    return Decided(tuple(each["number"] for each in made), tuple(unchanged))


def _outputs(
    connection: Connection, batch_id: str, numbers: Sequence[int]
) -> dict[int, Values | None]:
    """Return what those of the rows were answered that are done."""
    found: dict[int, Values | None] = {}
    for part in in_parts(numbers):
        rows = connection.execute(
            select(Row.number, Row.output).where(
                Row.batch_id == batch_id, Row.number.in_(part), Row.status == RowStatus.DONE
            )
        )
        found.update((row.number, row.output) for row in rows)
    return found


def _says_the_same(newest: DecisionRecord, new: NewDecision) -> bool:
    def said(decision: DecisionRecord | NewDecision) -> str:
        # As JSON, since to Python `1` is equal to `true`.
        values = (decision.verdict, decision.reviewer, decision.note, decision.after)
        return json.dumps(values, sort_keys=True)

    return said(newest) == said(new)


def _review(connection: Connection, batch_id: str, numbers: Sequence[int], by: str) -> None:
    """Let the rows be reviewed, and the tallies know that they no longer need it."""
    waited = 0
    for part in in_parts(numbers):
        rows = (Row.batch_id == batch_id, Row.number.in_(part))
        reviewed = update(Row).values(review=RowReview.REVIEWED)
        waited += connection.execute(
            reviewed.where(*rows, Row.review == RowReview.NEEDS_REVIEW)
        ).rowcount
        connection.execute(reviewed.where(*rows, Row.review.is_distinct_from(RowReview.REVIEWED)))
    if waited:
        write_tallies(connection, by, {batch_id: {"needs_review": -waited}})
