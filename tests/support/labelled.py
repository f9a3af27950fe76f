"""Batches with labels and answers, put into a ledger without a worker."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, bindparam, update

from rowfleet.cells import Cell, encode_all
from rowfleet.ledger.models.row_tables import Row
from rowfleet.ledger.records import BatchRecord, NewBatch
from rowfleet.ledger.statuses import RowStatus
from rowfleet.ledger.transitions import recording
from rowfleet.recipes.recipe import Recipe

BASES = ("none", "duplicate", "excess tax", "returned")

#: Asks for a class, an amount and a confidence.
AUDIT = Recipe.model_validate(
    {
        "name": "audit",
        "analyzer": "openai",
        "model": "gpt-5-mini",
        "columns": ["Vendor"],
        "prompt": "Audit the row.",
        "output": {
            "type": "object",
            "properties": {
                "basis": {"type": "string", "enum": list(BASES)},
                "refund": {"type": "number"},
                "confidence": {"type": "integer", "minimum": 0, "maximum": 100},
            },
        },
    }
)
HEADER = ("Vendor", "Checked basis", "Checked refund")


@dataclass(frozen=True, slots=True)
class Answered:
    """A row with its labels, its answer, and what that took."""

    cells: Sequence[Cell]
    output: dict[str, Any] | None
    cost: float | None = 0.001
    latency: float = 1.0


def answered_batch(
    engine: Engine,
    rows: Iterable[Answered],
    *,
    batch_id: str = "b",
    recipe: Recipe = AUDIT,
    header: Sequence[str] = HEADER,
) -> str:
    """Record a finished batch; a row without an answer has failed."""
    rows = list(rows)
    new = _new(batch_id, recipe, header)
    with engine.begin() as connection:
        assert recording.create_batch(connection, new)
        recording.record_rows(
            connection,
            batch_id,
            [(number, encode_all(row.cells), None) for number, row in enumerate(rows)],
        )
        recording.finish_loading(connection, batch_id)
        connection.execute(
            update(Row).where(Row.batch_id == bindparam("of"), Row.number == bindparam("at")),
            [
                {
                    "of": batch_id,
                    "at": number,
                    "status": RowStatus.FAILED if row.output is None else RowStatus.DONE,
                    "output": row.output,
                    "calls": 1,
                    "cost_usd": row.cost,
                    "latency": row.latency,
                }
                for number, row in enumerate(rows)
            ],
        )
    return batch_id


def _new(batch_id: str, recipe: Recipe, header: Sequence[str]) -> NewBatch:
    names = [column.name for column in recipe.columns] or list(header)
    assert recipe.model is not None
    assert recipe.analyzer is not None
    return NewBatch(
        id=batch_id,
        source="test.xlsx",
        content_hash="c" * 64,
        file_hash="f" * 64,
        sheet="Sheet1",
        start_row=0,
        num_rows=None,
        header=list(header),
        formats=["General"] * len(header),
        widths=None,
        recipe=recipe.snapshot(),
        columns={name: list(header).index(name) for name in names},
        model=recipe.model,
        analyzer=recipe.analyzer,
        queue="q",
        first_row=2,
    )


def _record(new: NewBatch) -> BatchRecord:
    said = {name: getattr(new, name) for name in BatchRecord.__slots__ if hasattr(new, name)}
    more = {"status": "finished", "reason": None, "total": 0, "finished_at": None}
    return BatchRecord(**said, **more, created_at=datetime.now(UTC))


#: A batch of that recipe that is in no ledger.
BATCH = _record(_new("b", AUDIT, HEADER))


@dataclass(frozen=True, slots=True)
class Truth:
    """The rates with which `audited` makes mistakes."""

    #: How often the basis is right.
    accuracy: float = 0.9
    #: The mean of a refund's absolute error, where it has any: each row errs up or down alike.
    error: float = 2.0
    #: What each row is said to be surer than it is.
    overconfidence: float = 0.05
    #: How far a row's own chance to be right may be from the accuracy, up and down.
    spread: float = 0.05


def audited(seed: int, rows: int, truth: Truth = Truth()) -> Iterable[Answered]:
    """Yield rows with labels and with answers whose mistakes have the rates of ``truth``.

    Each row has a chance of its own to be right, around the accuracy; its confidence is that
    chance and the overconfidence.
    """
    draw = random.Random(seed)
    for number in range(rows):
        label = draw.choices(BASES, weights=(6, 2, 1, 1))[0]
        chance = truth.accuracy + draw.choice((-1, 0, 1)) * truth.spread
        others = [name for name in BASES if name != label]
        basis = label if draw.random() < chance else draw.choice(others)
        refund = round(draw.lognormvariate(4, 1), 2)
        error = draw.expovariate(1 / truth.error) * draw.choice((-1, 1))
        yield Answered(
            (f"Vendor {number % 7}", label, refund),
            {
                "basis": basis,
                "refund": refund + error,
                "confidence": round(100 * (chance + truth.overconfidence)),
            },
            cost=draw.uniform(0.001, 0.003),
            latency=draw.lognormvariate(0.5, 0.5),
        )
