"""Batches for tests that need one in the ledger without a sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine, select

from rowfleet.ledger import records
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import recording
from rowfleet.recipes.recipe import Recipe

ECHO = Recipe.model_validate(
    {
        "name": "echo",
        "analyzer": "openai",
        "model": "gpt-5-mini",
        "prompt": "Say what the row says.",
        "output": {
            "type": "object",
            "properties": {"answer": {"type": "string"}, "score": {"type": "integer"}},
        },
    }
)


def make_batch(
    engine: Engine,
    rows: int = 3,
    *,
    batch_id: str = "b",
    queue: str = "q",
    names: Sequence[str] | None = None,
    identities: list[str | None] | None = None,
    recipe: Recipe = ECHO,
    sent: Sequence[str] | None = None,
    ranks: Sequence[int] | None = None,
    urgent: bool = False,
    tier: str = "workers",
    loaded: bool = True,
    **terms: Any,
) -> str:
    """Record a running batch of ``rows`` rows of one column, `Name`.

    ``sent`` has each row's hash of what is sent, ``ranks`` its place in the feeding; unless
    ``loaded``, more rows may follow; ``terms`` are further fields of `NewBatch`.
    """
    assert recipe.model is not None
    assert recipe.analyzer is not None
    new = records.NewBatch(
        id=batch_id,
        source="test.xlsx",
        content_hash="c" * 64,
        file_hash="f" * 64,
        sheet="Sheet1",
        start_row=0,
        num_rows=None,
        header=["Name"],
        formats=["General"],
        widths=None,
        recipe=recipe.model_dump(mode="json"),
        columns={"Name": 0},
        model=recipe.model,
        analyzer=recipe.analyzer,
        queue=queue,
        urgent=urgent,
        tier=tier,
        dedupe=sent is not None,
        **terms,
    )
    with engine.begin() as connection:
        assert recording.create_batch(connection, new)
        recording.record_rows(
            connection,
            batch_id,
            [
                (n, [names[n] if names else f"row {n}"], identities[n] if identities else None)
                for n in range(rows)
            ],
            None if sent is None else dict(enumerate(sent)),
            None if ranks is None else dict(enumerate(ranks)),
        )
        if loaded:
            recording.finish_loading(connection, batch_id)
    return batch_id


def statuses(engine: Engine, batch_id: str = "b") -> list[str]:
    """Return the rows' statuses in order."""
    with engine.connect() as connection:
        return list(
            connection.execute(
                select(Row.status).where(Row.batch_id == batch_id).order_by(Row.number)
            ).scalars()
        )
