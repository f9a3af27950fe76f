"""Ledgers with a large batch in them, made by the database itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text, update

from benchmarks.harness import sheets
from rowfleet.cells import encode_all
from rowfleet.ledger import records
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import recording, tallies
from rowfleet.recipes.recipe import Recipe

RECIPE = Recipe.model_validate(
    {
        "name": "bench",
        "analyzer": "openai",
        "model": "gpt-5-mini",
        "prompt": "Is money due back?",
        "output": {
            "type": "object",
            "properties": {"refund": {"type": "boolean"}, "why": {"type": "string"}},
        },
    }
)


def new_batch(
    batch_id: str, header: tuple[str, ...] = sheets.HEADER, file: Path | None = None
) -> records.NewBatch:
    """Return a batch for sheets of invoices; ``file`` is the sheet, if there is one."""
    dates = ("Date", "Due_Date")
    return records.NewBatch(
        id=batch_id,
        source="master.xlsx",
        content_hash="c" * 64,
        file_hash=hashlib.sha256(file.read_bytes()).hexdigest() if file else "f" * 64,
        origin=str(file) if file else None,
        sheet="Refunds",
        start_row=0,
        num_rows=None,
        header=list(header),
        formats=["yyyy-mm-dd" if name in dates else "General" for name in header],
        widths=None,
        recipe=RECIPE.model_dump(mode="json"),
        columns={name: place for place, name in enumerate(header)},
        model="gpt-5-mini",
        analyzer="openai",
        queue="rowfleet",
    )


def finished(engine: Engine, rows: int, output: Mapping[str, Any], file: Path | None = None) -> str:
    """Record a batch of invoices, all done with the same answer. Return its id."""
    with engine.begin() as connection:
        recording.create_batch(connection, new_batch("b", file=file))
        chunk: list[tuple[int, list[Any], str | None]] = []
        for number, cells in enumerate(sheets.typed_rows(rows)):
            chunk.append((number, encode_all(cells), None))
            if len(chunk) == 5_000:
                recording.record_rows(connection, "b", chunk)
                chunk.clear()
        recording.record_rows(connection, "b", chunk)
        recording.finish_loading(connection, "b")
        connection.execute(update(Row).values(status="done", output=dict(output)))
    return "b"


def half_way(engine: Engine, rows: int, *, minutes: int, window: int, running: int) -> str:
    """Make a batch in PostgreSQL whose first half is done, as `progress` finds it. Return its id.

    ``minutes`` is how long it has run: each leaves a tally in every shard.
    """
    with engine.begin() as connection:
        recording.create_batch(connection, new_batch("b", sheets.HEADER[:2]))
        recording.finish_loading(connection, "b")
        connection.execute(
            text(
                "INSERT INTO rows (batch_id, number, cells, status, queued_at) "
                "SELECT 'b', n, '[\"Vendor\", \"INV\"]', "
                "CASE WHEN n < :half THEN 'done' WHEN n < :half + :running THEN 'running' "
                "WHEN n < :half + :running + :window THEN 'queued' ELSE 'pending' END, now() "
                "FROM generate_series(0, :rows - 1) AS n"
            ),
            {"rows": rows, "half": rows // 2, "running": running, "window": window},
        )
        connection.execute(
            text(
                "INSERT INTO tallies (batch_id, minute, shard, done, calls, prompt_tokens) "
                "SELECT 'b', extract(epoch FROM now())::int / 60 - m, shard, 1, 1, 700 "
                "FROM generate_series(0, :minutes - 1) AS m, generate_series(0, :last) AS shard"
            ),
            {"minutes": minutes, "last": tallies.TALLY_SHARDS - 1},
        )
        connection.execute(text("UPDATE batches SET total = :rows"), {"rows": rows})
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE rows"))
        connection.execute(text("VACUUM ANALYZE tallies"))
    return "b"
