"""A feeder's step over many live batches: what it asks does not grow with those that are idle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, event, text

from rowfleet.feeder import Feeder
from rowfleet.ledger import queries, transitions
from rowfleet.ledger.engine import reading
from rowfleet.queue import Queue
from rowfleet.settings import Settings
from tests.ledger_helpers import make_batch, statuses


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
            transitions.claim(connection, keys, holder="h", worker="w", lease=600)
            transitions.settle(
                connection,
                [transitions.Outcome((batch_id, 1), 1, "pending", error="busy", delay=600)],
                holder="h",
            )


def test_idle_batches_cost_a_step_no_statement(engine: Engine, settings: Settings) -> None:
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
            transitions.claim(connection, [(batch_id, 0)], holder="h", worker="w", lease=-600)
            if batch_id == "due":
                outcome = transitions.Outcome((batch_id, 0), 1, "pending", error="x", delay=delay)
                transitions.settle(connection, [outcome], holder="h")
    assert keeper.feed() == 2
    assert statuses(engine, "fresh") == statuses(engine, "due") == ["queued"]
    assert keeper.repair() == 1
    assert statuses(engine, "lost") == ["pending"]
    with reading(engine) as connection:
        live = [batch.id for batch in queries.live_batches(connection, queue.name)]
        assert "over" not in live
        assert len(live) == 6
        assert queries.get_batch(connection, "over").status == "finished"


def test_an_idle_batch_is_looked_at_again_when_its_retry_is_due(
    engine: Engine, settings: Settings
) -> None:
    queue = Queue(settings)
    idle_batches(engine, queue.name, range(2))
    with reading(engine) as connection:
        seconds = queries.seconds_to_next(connection, ["b0", "b1"], 75)
        assert seconds is not None
        assert 590 < seconds <= 600
        standing = queries.standings(connection, ["b0"])[0]
    assert (standing.may_be_fed, standing.has_running, standing.leads_nothing) == (
        False,
        True,
        False,
    )
    with engine.begin() as connection:
        connection.execute(text("UPDATE rows SET due_at = started_at WHERE due_at IS NOT NULL"))
    with reading(engine) as connection:
        assert all(batch.may_be_fed for batch in queries.standings(connection, ["b0", "b1"]))
