"""The bookkeeper: grouped claims and results, and a slot that is stuck for good."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from celery.exceptions import Reject
from sqlalchemy import Engine, create_engine, event, select, text, update
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.ledger_errors import is_unavailable
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import progress, rows
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, settling
from tests.support.ledger import make_batch, statuses
from tests.support.refusals import only_reads
from worker.assignment import Assignment, Refused
from worker.bookkeeper import Bookkeeper


def test_many_slots_claim_and_settle_through_one_connection(engine: Engine) -> None:
    make_batch(engine, 100)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)

    def run(number: int) -> bool:
        assignment = books.claim(("b", number))
        assert isinstance(assignment, Assignment)
        return books.settle(Outcome(("b", number), assignment.row.attempts, "done", output={}))

    with ThreadPoolExecutor(30) as threads:
        assert all(threads.map(run, range(100)))
    assert set(statuses(engine)) == {"done"}
    assert books.running() == 0


def test_a_row_is_refused_with_the_reason(engine: Engine) -> None:
    make_batch(engine, 1)
    first = Bookkeeper(engine, worker="w1", lease=60, time_limit=60)
    second = Bookkeeper(engine, worker="w2", lease=60, time_limit=60)
    assert isinstance(first.claim(("b", 0)), Assignment)
    for books in (first, second):
        assert books.claim(("b", 0)) == Refused("another worker runs it")
    first.settle(Outcome(("b", 0), 1, "done", output={}))
    assert second.claim(("b", 0)) == Refused("it is done already")
    assert second.claim(("b", 7)) == Refused("not in the ledger")


def test_a_slot_that_is_stuck_gives_its_row_up_and_the_worker_learns_of_it(
    engine: Engine, eventually: Callable[..., None]
) -> None:
    make_batch(engine, 2)
    stuck = threading.Event()
    books = Bookkeeper(engine, worker="w", lease=1, time_limit=0.5, on_stuck=stuck.set)
    assignment = books.claim(("b", 0))
    assert isinstance(assignment, Assignment)
    assert stuck.wait(10)
    assert books.is_stuck()
    assert books.running() == 0  # nothing is waited for when the worker drains
    eventually(lambda: statuses(engine) == ["failed", "pending"])
    with engine.connect() as connection:
        (row, _) = rows.recorded_rows(connection, "b")
    assert row.error == "over the hard time limit of 0.5 s"
    with engine.connect() as connection:
        assert (
            progress.progress_of(connection, "b").possibly_billed_calls == 1
        )  # its call never ended
    late = Outcome(("b", 0), assignment.row.attempts, "done", output={})
    assert not books.settle(late)  # the row has ended, and ends once
    assert statuses(engine) == ["failed", "pending"]
    assert not books.is_stuck()


def test_leases_are_renewed_while_rows_run(engine: Engine) -> None:
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w1", lease=4, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    threading.Event().wait(5)  # more than a lease
    with engine.connect() as connection:
        assert connection.execute(select(Row.lease_until > in_seconds(0))).scalar()
    other = Bookkeeper(engine, worker="w2", lease=4, time_limit=60)
    assert other.claim(("b", 0)) == Refused("another worker runs it")


def test_last_tries_are_made_one_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of rows that have lost the same two workers, only one may be what killed those."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 3)
    keys = [("b", number) for number in range(3)]
    for dead in ("first", "second"):
        with engine.begin() as connection:
            claimed = claiming.claim(connection, keys, holder=dead, worker=dead, lease=-1)
        assert len(claimed) == 3
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    first = books.claim(keys[0])
    assert isinstance(first, Assignment)
    assert (first.row.losses, first.row.attempts) == (2, 3)
    for key in keys[1:]:
        refused = books.claim(key)
        assert isinstance(refused, Refused)
        assert "last try waits" in refused.why
    assert statuses(engine) == ["running", "pending", "pending"]
    assert books.settle(Outcome(keys[0], 3, "done", output={}))
    second = books.claim(keys[1])
    assert isinstance(second, Assignment)
    assert (second.row.losses, second.row.attempts) == (2, 3)


def test_rows_wait_for_tables_that_are_gone_and_are_given_back_by_a_worker_that_ends(
    engine: Engine, eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """As after a restore from an old backup. Answers are saved once the rows are back."""
    make_batch(engine, 3)
    ending = threading.Event()
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60, is_ending=ending.is_set)
    running = books.claim(("b", 0))
    assert isinstance(running, Assignment)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO elsewhere"))
    with ThreadPoolExecutor(3) as threads:
        result = threads.submit(books.settle, Outcome(("b", 0), 1, "done", output={}))
        claims = [threads.submit(books.claim, ("b", number)) for number in (1, 2)]
        eventually(lambda: "lacks tables of this version" in caplog.text)
        assert not any(claim.done() for claim in claims)
        ending.set()
        for claim in claims:
            with pytest.raises(Reject) as given_back:
                claim.result(30)
            assert given_back.value.requeue
        assert not result.done()
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO rows"))
        assert result.result(30)
    assert statuses(engine) == ["done", "pending", "pending"]
    assert caplog.text.count("waiting, no row is lost") == 1


def test_a_row_is_not_begun_if_its_lease_ran_out_before_the_claim_was_confirmed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that stalls behind the commit, or a process that is stopped there."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 2)
    lease = 1.0
    watching = create_engine(engine.url)
    books = Bookkeeper(engine, worker="w1", lease=lease, time_limit=60)
    standing, go_on = threading.Event(), threading.Event()

    def stand_still(*_: object) -> None:
        ours = threading.current_thread().name == "bookkeeper" and not standing.is_set()
        if ours and statuses(watching)[0] == "running":
            standing.set()
            assert go_on.wait(30)

    with ThreadPoolExecutor(1) as threads:
        event.listen(engine, "checkin", stand_still)  # the commit is behind it
        claim = threads.submit(books.claim, ("b", 0))
        assert standing.wait(10)
        with engine.begin() as connection:
            connection.execute(update(Row).values(lease_until=in_seconds(-1)))
        other = Bookkeeper(engine, worker="w2", lease=60, time_limit=60)
        assert isinstance(other.claim(("b", 0)), Assignment)
        threading.Event().wait(lease)
        go_on.set()
        assert claim.result(10) == Refused("another worker runs it")
    assert books.running() == 0
    assert isinstance(books.claim(("b", 1)), Assignment)  # it goes on with others
    watching.dispose()


def test_no_row_is_taken_over_just_after_the_ledger_was_away(
    engine: Engine,
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was away from the row's worker, too, which may not be back yet and has the answer."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 2.0)
    make_batch(engine, 3)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="away", worker="w1", lease=-1)
    books = Bookkeeper(engine, worker="w2", lease=8, time_limit=60)  # it renews every 2 s
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO elsewhere"))
    with ThreadPoolExecutor(2) as threads:
        claims = [threads.submit(books.claim, ("b", number)) for number in (0, 1)]
        eventually(lambda: books.away_for() > 0.5)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO rows"))
        assert claims[0].result(30) == Refused("another worker runs it")
        assert isinstance(claims[1].result(30), Assignment)
    with engine.begin() as connection:
        back = settling.settle(connection, [Outcome(("b", 0), 1, "done")], holder="away")
        assert back == {("b", 0)}
        claiming.claim(connection, [("b", 2)], holder="gone", worker="w3", lease=-1)
    eventually(lambda: isinstance(books.claim(("b", 2)), Assignment))


def test_no_row_is_taken_over_after_an_outage_until_leases_were_renewed(
    engine: Engine, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However short it was: the row's worker may have been refused its renewal."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 3)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="away", worker="w1", lease=-1)
    books = Bookkeeper(engine, worker="w2", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 2)), Assignment)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO elsewhere"))
    with ThreadPoolExecutor(1) as threads:
        claim = threads.submit(books.claim, ("b", 1))
        eventually(lambda: books.away_for() > 0.5)
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE elsewhere RENAME TO rows"))
        assert isinstance(claim.result(30), Assignment)
    assert books.claim(("b", 0)) == Refused("another worker runs it")


def test_a_worker_without_rows_is_patient_after_a_time_without_writes(
    engine: Engine, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing that it was asked for failed, but the row's worker could not renew its lease."""
    monkeypatch.setattr("worker.group_commit.PATIENCE", 2.0)
    monkeypatch.setattr("worker.group_commit.LONGEST_PAUSE", 0.2)
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="idle", lease=2, time_limit=60)
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="away", worker="w", lease=-1)
    with only_reads(engine):
        threading.Event().wait(2.5)
    assert books.claim(("b", 0)) == Refused("another worker runs it")
    eventually(lambda: isinstance(books.claim(("b", 0)), Assignment))


def test_a_row_that_is_locked_holds_up_no_other_rows_lease(postgres_url: str) -> None:
    """Neither by its own renewal, nor by its result, which has to wait."""
    engine, other = open_ledger(postgres_url), open_ledger(postgres_url)
    migrate(engine)
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=2, time_limit=60)
    for number in range(2):
        assert isinstance(books.claim(("b", number)), Assignment)
    is_leased = select(Row.lease_until > in_seconds(0)).where(Row.number == 1)
    with ThreadPoolExecutor(1) as threads:
        with other.begin() as connection:
            connection.execute(select(Row).where(Row.number == 0).with_for_update())
            threading.Event().wait(2.5)
            assert connection.execute(is_leased).scalar()
            result = threads.submit(books.settle, Outcome(("b", 0), 1, "done", output={}))
            for _ in range(12):
                threading.Event().wait(0.5)
                assert connection.execute(is_leased).scalar()
            assert not result.done()
        assert result.result(30)
    other.dispose()
    engine.dispose()


def test_rows_of_a_transaction_that_stands_still_are_free_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process is stopped, or its network stalls between a statement and the commit."""
    monkeypatch.setattr("rowfleet.ledger.engine.SILENT_MS", 1000)
    stalled, engine = open_ledger(postgres_url), open_ledger(postgres_url)
    migrate(engine)
    make_batch(engine, 1)
    with stalled.connect() as connection:
        claiming.claim(connection, [("b", 0)], holder="stalled", worker="w1", lease=60)
        books = Bookkeeper(engine, worker="w2", lease=60, time_limit=60)
        assert isinstance(books.claim(("b", 0)), Assignment)  # the other's claim is undone
        with pytest.raises(DBAPIError) as ended:
            connection.execute(text("SELECT 1"))
        assert is_unavailable(ended.value)  # so that it asks again
    stalled.dispose()
    engine.dispose()


def test_what_is_asked_for_shortly_after_a_transaction_goes_together(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.slot_requests.APART", 1.0)
    make_batch(engine, 21)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 20)), Assignment)
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    def claim(number: int) -> Assignment | Refused:
        threading.Event().wait(number * 0.05)
        return books.claim(("b", number))

    with ThreadPoolExecutor(20) as threads:
        assert all(isinstance(one, Assignment) for one in threads.map(claim, range(20)))
    assert len(commits) <= 6


def test_an_idle_process_leaves_the_ledger_alone_between_renewals(engine: Engine) -> None:
    """They are a quarter of a lease apart."""
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    statements: list[object] = []
    event.listen(engine, "before_cursor_execute", lambda *_: statements.append(_))
    threading.Event().wait(1)
    assert statements == []


def test_a_last_try_that_loses_its_slot_leaves_the_turn_to_the_next(
    engine: Engine, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.group_commit.PATIENCE", 0.0)
    make_batch(engine, 2)
    keys = [("b", 0), ("b", 1)]
    for dead in ("first", "second"):
        with engine.begin() as connection:
            claiming.claim(connection, keys, holder=dead, worker=dead, lease=-1)
    books = Bookkeeper(engine, worker="w", lease=1, time_limit=0.5)
    assert isinstance(books.claim(keys[0]), Assignment)
    eventually(books.is_stuck)
    eventually(lambda: isinstance(books.claim(keys[1]), Assignment))


@contextmanager
def refusing(engine: Engine, *parts: str) -> Iterator[list[str]]:
    """Let the ledger refuse statements for what they say; yield those that it refused."""
    refused: list[str] = []

    def refuse(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if all(part in statement for part in parts):
            refused.append(statement)
            raise ValueError("not this")

    event.listen(engine, "before_cursor_execute", refuse)
    yield refused
    event.remove(engine, "before_cursor_execute", refuse)


def test_a_row_whose_end_the_ledger_never_takes_is_let_go(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """Its slot is free, so its lease must run out."""
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 1)), Assignment)
    with refusing(engine, "UPDATE rows SET", "given"), pytest.raises(ValueError, match="not this"):
        books.settle(Outcome(("b", 1), 1, "done", output={}))
    assert books.running() == 0
    assert "the ledger takes no end of row 3 of b" in caplog.messages
    assert isinstance(books.claim(("b", 0)), Assignment)


def test_a_refused_result_of_a_row_that_was_taken_over_is_dropped(engine: Engine) -> None:
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    with engine.begin() as connection:
        connection.execute(update(Row).values(lease_until=in_seconds(-1)))
        claiming.claim(connection, [("b", 0)], holder="other", worker="w2", lease=60)
    assert books.settle(Outcome(("b", 0), 1, "done", output={"score": float("nan")})) is False
    assert statuses(engine) == ["running"]


def test_a_ledger_that_does_not_stop_a_batch_holds_no_slot(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The reason may quote an answer, so it is not in the log."""
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    with refusing(engine, "UPDATE batches"):
        books.stop_batch("b", "a secret")
    assert "the ledger refused to stop batch b" in caplog.messages
    assert "secret" not in caplog.text
    assert isinstance(books.claim(("b", 0)), Assignment)


def test_a_mistake_of_the_bookkeeper_is_raised_to_its_callers_and_holds_up_no_other_claim(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    with monkeypatch.context() as broken:
        broken.setattr(books._commits, "commit", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            books.claim(("b", 1))
    assert isinstance(books.claim(("b", 1)), Assignment)


def test_leases_that_the_ledger_refuses_to_renew_are_tried_again(
    engine: Engine, eventually: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.group_commit.LONGEST_PAUSE", 0.2)
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=2, time_limit=60)
    assert isinstance(books.claim(("b", 0)), Assignment)
    with refusing(engine, "UPDATE rows SET lease_until") as refused:
        eventually(lambda: len(refused) > 1)
    with engine.begin() as connection:
        connection.execute(update(Row).values(lease_until=in_seconds(-1)))
    is_leased = select(Row.lease_until > in_seconds(0))

    def renewed() -> bool:
        with engine.connect() as connection:
            return bool(connection.execute(is_leased).scalar())

    eventually(renewed)
