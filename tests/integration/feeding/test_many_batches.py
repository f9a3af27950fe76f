"""A feeder's step over many live batches: what it asks does not grow with those that are idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text, update

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import batch_records, fleet, parts, progress, rows
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, feeding, settling
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings, load_settings
from tests.support.ledger import make_batch, statuses


@contextmanager
def counted(engine: Engine) -> Iterator[list[str]]:
    """Yield the statements that are sent meanwhile."""
    sent: list[str] = []

    def note(_c: object, _k: object, statement: str, *_: object) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine, "before_cursor_execute", note)


def idle_batches(engine: Engine, queue: str, numbers: range) -> None:
    """Make batches that run, with a row that runs and one that waits for its retry."""
    for number in numbers:
        batch_id = make_batch(engine, 2, batch_id=f"b{number}", queue=queue)
        with engine.begin() as connection:
            keys = [(batch_id, 0), (batch_id, 1)]
            claiming.claim(connection, keys, holder="h", worker="w", lease=600)
            settling.settle(
                connection,
                [records.Outcome((batch_id, 1), 1, "pending", error="busy", delay=600)],
                holder="h",
            )


def test_idle_batches_cost_a_step_no_statement(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowfleet.feeding.steadiness.TRY_INTERVAL", 0.0)  # each step tries to write
    queue = Queue(settings)
    keeper = Feeder(engine, queue, window=100, redelivery=75)

    def step() -> int:
        with counted(engine) as sent:
            assert keeper.feed() == 0
            keeper.repair(patient=True)
            keeper.leave_word()
        return len(sent)

    idle_batches(engine, queue.name, range(2))
    few = step()
    idle_batches(engine, queue.name, range(2, 12))
    assert step() == few


def test_among_idle_batches_the_one_with_work_is_fed_repaired_and_closed(
    engine: Engine, settings: Settings
) -> None:
    queue = Queue(settings)
    keeper = Feeder(engine, queue, window=100, redelivery=75)
    idle_batches(engine, queue.name, range(3))
    for batch_id in ("fresh", "due", "lost", "over"):
        make_batch(engine, 1, batch_id=batch_id, queue=queue.name)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rows SET status = 'done' WHERE batch_id = 'over'"))
        for batch_id, delay in (("due", -1), ("lost", 0)):
            claiming.claim(connection, [(batch_id, 0)], holder="h", worker="w", lease=-600)
            if batch_id == "due":
                outcome = records.Outcome((batch_id, 0), 1, "pending", error="x", delay=delay)
                settling.settle(connection, [outcome], holder="h")
    assert keeper.feed() == 2
    assert statuses(engine, "fresh") == statuses(engine, "due") == ["queued"]
    assert keeper.repair() == 1
    assert statuses(engine, "lost") == ["pending"]
    with reading(engine) as connection:
        live = [batch.id for batch in fleet.live_batches(connection, queue.name)]
        assert "over" not in live
        assert len(live) == 6
        assert batch_records.get_batch(connection, "over").status == "finished"


def test_an_idle_batch_is_looked_at_again_when_its_retry_is_due(
    engine: Engine, settings: Settings
) -> None:
    queue = Queue(settings)
    idle_batches(engine, queue.name, range(2))
    with reading(engine) as connection:
        seconds = fleet.seconds_to_next(connection, ["b0", "b1"], 75)
        assert seconds is not None
        assert 590 < seconds <= 600
        standing = fleet.standings(connection, ["b0"])[0]
    assert (standing.may_be_fed, standing.has_running, standing.leads_nothing) == (
        False,
        True,
        False,
    )
    with engine.begin() as connection:
        connection.execute(text("UPDATE rows SET due_at = started_at WHERE due_at IS NOT NULL"))
    with reading(engine) as connection:
        assert all(batch.may_be_fed for batch in fleet.standings(connection, ["b0", "b1"]))


# --- plans


def plans_of(engine: Engine, work: Callable[[], object]) -> list[str]:
    """Return the plan of each statement that ``work`` sends about rows, made where it is sent."""
    plans: list[str] = []

    def explain(
        connection: Connection, _k: object, statement: str, parameters: Any, *_: object
    ) -> None:
        if statement.startswith("SELECT") and "rows" in statement:
            with connection.connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(line for (line,) in cursor.fetchall()))

    event.listen(engine, "before_cursor_execute", explain)
    work()
    event.remove(engine, "before_cursor_execute", explain)
    return plans


@pytest.fixture
def large(postgres_url: str) -> Iterator[Engine]:
    """A ledger with one large live batch, and a larger one that is with the Batch API."""
    engine = open_ledger(postgres_url)
    migrate(engine)
    for batch_id, tier, queue in (("b", "workers", "q"), ("remote", "batch", "openai-batch")):
        make_batch(engine, 1, batch_id=batch_id, queue=queue, tier=tier)
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO rows (batch_id, number, cells, status, queued_at) "
                    "SELECT :id, n, '[\"a cell of some length in a row\"]', CASE WHEN n < :most "
                    "THEN :before WHEN n < 20100 THEN :next ELSE 'pending' END, now() "
                    "FROM generate_series(1, :rows) AS n"
                ),
                {
                    "id": batch_id,
                    "before": "done" if tier == "workers" else "running",
                    "next": "queued" if tier == "workers" else "pending",
                    "rows": 40_000 if tier == "workers" else 120_000,
                    "most": 20_000 if tier == "workers" else 119_000,
                },
            )
            connection.execute(
                text("UPDATE batches SET total = 40001 WHERE id = :id"), {"id": batch_id}
            )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE rows"))
    yield engine
    engine.dispose()


def test_no_look_of_a_feeder_reads_the_table_of_rows(large: Engine, redis_url: str) -> None:
    queue = Queue(load_settings({}, redis_url=redis_url, queue="q"))
    keeper = Feeder(large, queue, window=100, redelivery=75)
    queue.push("b", range(20_000, 20_100))
    with large.begin() as connection:
        # PostgreSQL takes an index for expensive, as it does where many rows of others run.
        name = large.url.database
        connection.exec_driver_sql(f"ALTER DATABASE {name} SET random_page_cost = 1000")
    large.dispose()

    def step() -> None:
        keeper.feed()
        keeper.repair(thorough=False, patient=True)
        keeper.leave_word()

    plans = plans_of(large, step)
    assert len(plans) >= 6
    assert not [plan for plan in plans if "Seq Scan on rows" in plan]


@pytest.mark.parametrize("rank", ["NULL", "mod(number, 7)"], ids=["as the sheet", "ordered"])
def test_rows_are_fed_in_order_without_sorting_them(large: Engine, rank: str) -> None:
    with large.begin() as connection:
        connection.exec_driver_sql(f"UPDATE rows SET rank = {rank} WHERE batch_id = 'b'")
    with large.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE rows"))
        due = feeding.due_rows("b", 1_000).compile(large)
        with connection.connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN {due}", due.params)
            plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "rows_pending" in plan
    assert "Sort" not in plan


def test_no_look_at_retries_reads_the_table_of_rows(large: Engine) -> None:
    with large.begin() as connection:
        put_off = update(Row).where(Row.batch_id == "b", Row.number > 30_000)
        connection.execute(put_off.values(error="HTTP 503", due_at=in_seconds(9)))

    def look() -> None:
        with reading(large) as connection:
            assert rows.why_retried(connection, "b") == "HTTP 503"

    (plan,) = plans_of(large, look)
    assert "rows_due" in plan
    assert "Sort" not in plan


def test_no_look_at_the_batch_tier_reads_the_table_of_rows(large: Engine) -> None:
    with large.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO remote_batches (batch_id, part, token, row_count, first_row, last_row,"
                " remote_id, remote_status, created_at) VALUES "
                "('remote', 1, 'a', 15000, 0, 14999, 'r1', 'in_progress', now()), "
                "('remote', 2, 'b', 5000, 15000, 19999, 'r2', 'completed', now())"
            )
        )
        connection.execute(
            text(
                "UPDATE rows SET claim = 'b' WHERE batch_id = 'remote' "
                "AND number BETWEEN 19990 AND 19999"
            )
        )

    def looks() -> None:
        with reading(large) as connection:
            assert progress.progress_of(connection, "remote").running == 15_000 + 10
            assert parts.waiting_for_room(connection, "remote", 5_000) == (1, False)

    plans = plans_of(large, looks)
    assert len(plans) >= 4
    assert not [plan for plan in plans if "Seq Scan on rows" in plan]


def test_rows_that_wait_are_counted_only_as_far_as_matters(engine: Engine) -> None:
    make_batch(engine, 6, tier="batch", queue="openai-batch")

    def waiting(enough: int = 1) -> tuple[int, bool]:
        with reading(engine) as connection:
            return parts.waiting_for_room(connection, "b", enough)

    assert waiting(4) == (1, False)
    with engine.begin() as connection:
        for number, seconds in ((0, 600), (1, -600)):
            connection.execute(
                update(Row).where(Row.number == number).values(due_at=in_seconds(seconds))
            )
    assert waiting(4) == (4, True)
    assert waiting(9) == (5, True)
    with engine.begin() as connection:
        connection.execute(update(Row).where(Row.number != 0).values(status="done"))
    assert waiting(4) == (0, True)
    with engine.begin() as connection:
        connection.execute(update(Row).values(status="done"))
    assert waiting(4) == (0, False)
