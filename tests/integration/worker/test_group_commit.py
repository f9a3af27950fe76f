"""A group's transaction while the ledger is away, stands still or refuses, and its pauses."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery.exceptions import Reject
from sqlalchemy import Engine, create_engine, event, select, text, update
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.ledger_errors import is_unavailable
from rowfleet.ledger.models import Row
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, settling
from tests.support.ledger import make_batch, statuses
from tests.support.refusals import only_reads
from worker import group_commit
from worker.assignment import Assignment, Refused
from worker.bookkeeper import Bookkeeper
from worker.group_commit import FIRST_PAUSE, LONGEST_PAUSE, GroupCommit
from worker.running_rows import RunningRows
from worker.slot_requests import Request, SlotRequests


def group_commits(
    engine: Engine, lease: float = 60.0, is_ending: Callable[[], bool] = lambda: False
) -> GroupCommit:
    return GroupCommit(
        engine,
        SlotRequests(),
        RunningRows(60.0),
        holder="h",
        worker="w",
        lease=lease,
        is_ending=is_ending,
    )


def test_leases_that_are_refused_are_asked_for_after_a_pause(engine: Engine) -> None:
    """Without it the process would ask the database all the time."""
    commits = group_commits(engine)
    before = time.monotonic()
    with refusing(engine, "UPDATE"):
        commits.commit([], [])
    assert before + LONGEST_PAUSE <= commits.renew_at <= time.monotonic() + LONGEST_PAUSE


def test_renewals_in_time_are_no_absence_of_the_ledger(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process whose writes all go through has been patient since the first of them."""
    commits = group_commits(engine, lease=60.0)

    def steady_since(moment: float) -> float:
        clock = SimpleNamespace(monotonic=lambda: moment, sleep=time.sleep)
        monkeypatch.setattr(group_commit, "time", clock)
        commits.renew_at = 0.0
        commits.commit([], [])
        return commits._steady_since

    assert [steady_since(moment) for moment in (1000, 1016, 1032, 1063)] == [1000, 1000, 1000, 1063]


def test_a_mistake_of_the_program_pauses_the_renewals_and_brings_none_forward(
    engine: Engine,
) -> None:
    commits = group_commits(engine)
    before = time.monotonic()
    commits.pause_renewals()
    assert before + FIRST_PAUSE <= commits.renew_at <= time.monotonic() + FIRST_PAUSE
    commits.renew_at = later = before + 1000
    commits.pause_renewals()
    assert commits.renew_at == later


@pytest.mark.parametrize(
    ("lease", "pauses"),
    [(60.0, [0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]), (4.0, [0.2, 0.4, 0.8, 1.0, 1.0])],
)
def test_a_ledger_that_is_away_is_asked_less_and_less_often_but_within_a_lease(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, lease: float, pauses: list[float]
) -> None:
    make_batch(engine, 1)
    slept: list[float] = []
    ours = threading.get_ident()

    def sleep(seconds: float) -> None:
        if threading.get_ident() != ours:  # a bookkeeper that another test has left behind
            return time.sleep(seconds)
        slept.append(seconds)
        if len(slept) == len(pauses):
            with engine.begin() as connection:
                connection.execute(text("ALTER TABLE elsewhere RENAME TO rows"))
        return None

    clock = SimpleNamespace(monotonic=time.monotonic, sleep=sleep)
    monkeypatch.setattr(group_commit, "time", clock)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE rows RENAME TO elsewhere"))
    request = Request("claim", ("b", 0))
    group_commits(engine, lease).commit([request], [])
    assert slept == pytest.approx(pauses)
    assert request.future.result(0).row.key == ("b", 0)
    assert statuses(engine) == ["running"]


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
