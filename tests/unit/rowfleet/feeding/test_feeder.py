"""How a feeder shares its window, how often it repairs, and what it tells the autoscaler."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, update

from rowfleet.feeding import feeder as feeding
from rowfleet.feeding.feeder import LOOK_INTERVAL, REPAIR_INTERVAL, WORD_INTERVAL, Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import claiming, stopping
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support.feeders import feeder
from tests.support.ledger import make_batch, statuses

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def queue(settings: Settings) -> Queue:
    return Queue(settings)


@pytest.mark.parametrize(
    ("window", "rows", "fed", "pushes"),
    [
        (10, [100, 100, 100], [4, 3, 3], 4),
        (10, [1, 100], [1, 9], 3),
        (2, [5, 5, 5], [1, 1, 0], 3),
        (900, [600, 100], [600, 100], 3),
        (600, [500, 500], [300, 300], 2),
        (5, [2, 0, 1], [2, 0, 1], 4),
    ],
)
def test_batches_have_equal_shares_and_what_one_leaves_is_the_others(
    engine: Engine,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    window: int,
    rows: list[int],
    fed: list[int],
    pushes: int,
) -> None:
    """In few and large steps, each a transaction."""
    for number, count in enumerate(rows):
        make_batch(engine, count, batch_id=f"b{number}", queue=queue.name)
    pushed: list[int] = []
    push = queue.push

    def note(batch_id: str, numbers: Any, **options: Any) -> None:
        pushed.append(len(numbers))
        push(batch_id, numbers, **options)

    monkeypatch.setattr(queue, "push", note)
    assert feeder(engine, queue, window=window).feed() == sum(fed)
    found = [statuses(engine, f"b{number}").count("queued") for number in range(len(rows))]
    assert sorted(found, reverse=True) == sorted(fed, reverse=True)
    assert len(pushed) <= pushes
    assert queue.depth() == (sum(fed), 0)


def test_a_feeder_compares_counts_often_and_reads_the_messages_now_and_then(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    looks: list[tuple[float, bool]] = []
    words: list[float] = []

    class Watched(Feeder):
        def feed(self, only: str | None = None) -> int:
            return 0

        def repair(
            self, only: str | None = None, *, thorough: bool = True, patient: bool = False
        ) -> int:
            assert patient
            looks.append((now, thorough))
            return 0

        def leave_word(self) -> None:
            words.append(now)

    monkeypatch.setattr(feeding, "time", SimpleNamespace(monotonic=lambda: now))
    watched = Watched(engine, queue, window=10, redelivery=75)
    for step in range(1, 300):
        now = step / 2
        watched.step()
    times = [at for at, _ in looks]
    assert times[0] == 0.5  # a feeder that is new looks at once
    assert {b - a for a, b in pairwise(times)} == {REPAIR_INTERVAL}
    assert words == times
    thorough = [at for at, is_thorough in looks if is_thorough]
    assert thorough[0] == 0.5
    apart = {b - a for a, b in pairwise(thorough)}
    assert len(thorough) == 3
    assert all(LOOK_INTERVAL < one <= LOOK_INTERVAL + REPAIR_INTERVAL for one in apart)


@pytest.mark.parametrize(
    ("due", "lease", "is_cancelled", "wake"),
    [
        (None, None, False, WORD_INTERVAL),  # a row that waits now
        (600, None, False, 600 + WORD_INTERVAL),
        (-600, None, False, WORD_INTERVAL),
        (600, 45, False, 45 + 75 + WORD_INTERVAL),
        (60, 45, False, 60 + WORD_INTERVAL),
        (600, 45, True, 45 + 75 + WORD_INTERVAL),  # the rest of it is to be ended
    ],
)
def test_the_autoscaler_is_told_when_the_next_row_needs_a_feeder(
    engine: Engine,
    queue: Queue,
    monkeypatch: pytest.MonkeyPatch,
    due: float | None,
    lease: float | None,
    is_cancelled: bool,
    wake: float,
) -> None:
    told: list[float | None] = []
    monkeypatch.setattr(queue, "wake_in", told.append)
    keeper = feeder(engine, queue)
    keeper.leave_word()
    assert told == [None]
    make_batch(engine, 2, queue=queue.name)
    with engine.begin() as connection:
        if lease is not None:
            claiming.claim(connection, [("b", 1)], holder="h", worker="w", lease=lease)
        if due is not None:
            pending = update(Row).where(Row.status == "pending")
            connection.execute(pending.values(due_at=in_seconds(due)))
        if is_cancelled:
            stopping.cancel(connection, "b", by="test")
    if is_cancelled:
        keeper.sweep("b")
    keeper.leave_word()
    assert told[1] == pytest.approx(wake, abs=5)


def test_new_urgent_batches_get_their_share_of_a_full_window_from_urgent_ones_alone(
    engine: Engine, queue: Queue
) -> None:
    keeper = feeder(engine, queue, window=10)
    make_batch(engine, 20, batch_id="calm", queue=queue.name)
    make_batch(engine, 100, batch_id="u1", queue=queue.name, urgent=True)
    assert keeper.feed() == 20
    for batch_id, rows in (("u2", 5), ("u3", 1)):
        make_batch(engine, rows, batch_id=batch_id, queue=queue.name, urgent=True)
        assert keeper.feed() == rows
        assert queue.waiting(is_urgent=True) == queue.waiting() == 10
        assert statuses(engine, batch_id) == ["queued"] * rows
        assert statuses(engine, "calm").count("queued") == 10


def test_a_window_of_fewer_rows_than_batches_still_lets_a_new_one_in(
    engine: Engine, queue: Queue
) -> None:
    keeper = feeder(engine, queue, window=1)
    for batch_id in ("a", "b"):
        make_batch(engine, 5, batch_id=batch_id, queue=queue.name)
        assert keeper.feed() == 1
        assert queue.waiting() == 1
        assert statuses(engine, batch_id).count("queued") == 1


def test_each_feeding_renews_the_cap_and_tries_the_ledger(
    engine: Engine, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a feeder with rows to feed knows, too, whether workers could renew their leases."""
    done: list[str] = []
    cap: Any = SimpleNamespace(write=lambda: done.append("cap"))
    keeper = Feeder(engine, queue, window=10, redelivery=75, cap=cap)
    monkeypatch.setattr(keeper._steadiness, "check", lambda: done.append("ledger"))
    keeper.feed()
    assert done == ["cap", "ledger"]
