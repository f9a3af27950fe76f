"""Whatever happens to batches, in whatever order: every row reaches one end, and is paid for once.

Hypothesis makes up the histories: submitters, feeders, workers and people act in turn, on a real
broker and both databases. Any of them may be gone after any transaction. On PostgreSQL a
transaction may also stay open while others commit theirs: SQLite has one writer at a time.

`STATES_EXAMPLES=5000 pytest tests/integration/ledger/test_states.py` tries that many, new ones
each time.
"""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, Phase
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection, Engine, Transaction, func, select, text, update
from sqlalchemy.exc import DBAPIError

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.ledger_errors import LedgerUnavailable, is_unavailable
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Key, Outcome, Spent
from rowfleet.ledger.transitions import (
    claiming,
    feeding,
    finishing,
    in_chunks,
    recording,
    settling,
    stopping,
)
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from tests.support.ledger import make_batch

#: Histories for each database. Unset: few, and the same ones each time.
EXAMPLES = int(os.environ.get("STATES_EXAMPLES", "0"))

#: Milliseconds for which a statement waits for a transaction that is open beside it. That one goes
#: on only after the statement, so it waits in vain, as if the database were away.
LOCK_TIMEOUT = 40

WINDOW = 5
END_STATES = ("done", "failed", "cancelled")
UNFINISHED = ("pending", "queued", "running")

_examples = itertools.count()
_which = st.integers(0, 7)


@dataclass
class Process:
    """A worker: what it runs, and the messages that it has not acknowledged."""

    name: str
    #: Row → the number of this attempt.
    runs: dict[Key, int] = field(default_factory=dict)
    hands: list[Key] = field(default_factory=list)
    #: Rows that others may have by now, since the lease ran out while it stood still.
    late: set[Key] = field(default_factory=set)
    is_alive: bool = True


@dataclass
class Open:
    """A transaction that is not committed yet, and what its end means."""

    connection: Connection
    transaction: Transaction
    result: Any
    then: Callable[[Any], None]


class Fleet(RuleBasedStateMachine):
    """Submitters, a feeder, workers and people, and what they may rely on."""

    engine: Engine
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self.id = f"e{next(_examples)}"
        self.settings = self.settings.model_copy(update={"queue": self.id})
        self.queue = Queue(self.settings)
        assert self.settings.redis_url
        self.redis = redis.Redis.from_url(self.settings.redis_url.get_secret_value())
        self.feeder = Feeder(self.engine, self.queue, window=WINDOW, redelivery=75)
        self.batches: list[str] = []
        #: Batches whose cancel is committed, and that no person has brought back.
        self.cancelled: set[str] = set()
        self.processes: list[Process] = []
        self.calls: Counter[Key] = Counter()
        #: Calls beyond the first that a row may have had: for retries, and for kills.
        self.allowed: Counter[Key] = Counter()
        #: What rows ended as.
        self.ends: dict[Key, str] = {}
        self.retried: Counter[str] = Counter()
        self.open: list[Open] = []
        self.names = itertools.count()
        self.holds = self.engine.dialect.name == "postgresql"

    # --- transactions

    def do(
        self,
        work: Callable[[Connection], Any],
        then: Callable[[Any], None] = lambda _: None,
        *,
        stays_open: bool = False,
    ) -> bool:
        """Do ``work`` in a transaction; ``then`` learns of its result after the commit.

        Return False if another transaction was in the way.
        """
        connection = self.engine.connect()
        transaction = connection.begin()
        try:
            result = work(connection)
        except DBAPIError as error:
            self.check(error)
            transaction.rollback()
            connection.close()
            return False
        self.open.append(Open(connection, transaction, result, then))
        if not (stays_open and self.holds and len(self.open) <= 2):
            self.end(len(self.open) - 1)
        return True

    def end(self, index: int, *, commits: bool = True) -> None:
        one = self.open.pop(index)
        try:
            if commits:
                one.transaction.commit()
            else:
                one.transaction.rollback()
        except DBAPIError as error:  # PostgreSQL ends a transaction that says no more
            self.check(error)
            commits = False
        finally:
            one.connection.close()
        if commits:
            one.then(one.result)

    def unless_in_the_way(self, work: Callable[[], Any]) -> None:
        """Do ``work``, which has transactions of its own and may be cut off between any two."""
        with suppress(LedgerUnavailable):
            work()

    def check(self, error: DBAPIError) -> None:
        """Raise it unless it is of the kind that clients wait out."""
        if not is_unavailable(error):
            raise error

    @precondition(lambda self: self.open)
    @rule(index=_which, commits=st.sampled_from([True, True, True, False]))
    def end_transaction(self, index: int, commits: bool) -> None:
        self.end(index % len(self.open), commits=commits)

    # --- submitters

    @initialize(process_count=st.integers(1, 3))
    def start(self, process_count: int) -> None:
        for _ in range(process_count):
            self.start_process()

    @initialize(
        kind=st.sampled_from(["plain", "plain", "plain", "dedupe", "sample", "budget"]),
        rows=st.integers(1, 6),
        loaded=st.sampled_from([True, True, True, False]),
    )
    def submit_first(self, kind: str, rows: int, loaded: bool) -> None:
        self.submit(kind, rows, loaded)

    @precondition(lambda self: len(self.batches) < 2 and not self.open)
    @rule(
        kind=st.sampled_from(["plain", "dedupe", "sample", "budget"]),
        rows=st.integers(1, 6),
        loaded=st.booleans(),
    )
    def submit(self, kind: str, rows: int, loaded: bool) -> None:
        terms: dict[str, Any] = {}
        if kind == "dedupe":
            terms["sent"] = [f"s{n % 2}" for n in range(rows)]
        elif kind == "sample":
            terms["sample"] = list(range((rows + 1) // 2))
        elif kind == "budget":
            terms["max_cost"] = 1.0
        batch_id = f"{self.id}-{len(self.batches)}"
        make_batch(
            self.engine, rows, batch_id=batch_id, queue=self.queue.name, loaded=loaded, **terms
        )
        self.batches.append(batch_id)

    # --- the feeder

    @rule()
    def feed(self) -> None:
        before = self.queue.waiting()
        self.unless_in_the_way(self.feeder.feed)
        assert self.queue.waiting() <= max(WINDOW, before)

    @rule(which=_which, count=st.integers(1, 3), is_told=st.booleans())
    def feed_slowly(self, which: int, count: int, is_told: bool) -> None:
        """A feeder's transaction; unless it commits, or where the feeder dies, none is told."""
        batch_id = self.batches[which % len(self.batches)]

        def then(numbers: list[int]) -> None:
            if is_told:
                self.queue.push(batch_id, numbers)

        self.do(lambda connection: feeding.feed(connection, batch_id, count), then, stays_open=True)

    @rule(thorough=st.booleans())
    def repair(self, thorough: bool) -> None:
        self.unless_in_the_way(lambda: self.feeder.repair(thorough=thorough))

    @rule(
        which=_which, what=st.sampled_from(["expire", "close", "sweep"]), stays_open=st.booleans()
    )
    def tend(self, which: int, what: str, stays_open: bool) -> None:
        """One transaction of the feeder's repair, or of whoever cancels."""
        batch_id = self.batches[which % len(self.batches)]

        def work(connection: Connection) -> None:
            if what == "expire":
                claiming.expire(connection, batch_id, grace=75, by="feeder")
            elif what == "sweep":
                stopping.sweep(connection, batch_id, by="feeder", limit=1)
            elif not finishing.finish_batch(connection, batch_id):
                finishing.finish_sample(connection, batch_id)
                finishing.exhaust(connection, batch_id, by="feeder")

        self.do(work, stays_open=stays_open)

    @rule(messages_are_lost=st.booleans())
    def let_time_pass(self, messages_are_lost: bool = False) -> None:
        """Retries are due, dead workers' leases over, and rows queued for long."""
        if messages_are_lost:
            self.redis.delete(self.queue.name)

        def work(connection: Connection) -> None:
            for status, values in (
                ("pending", {"due_at": in_seconds(-1)}),
                ("queued", {"queued_at": in_seconds(-3600)}),
            ):
                mine = (Row.batch_id.in_(self.batches), Row.status == status)
                connection.execute(update(Row).where(*mine).values(**values))

        self.do(work)
        for process in self.processes:
            if not process.is_alive:
                self.outlive(process)

    # --- workers

    @precondition(lambda self: len(self.living()) < 2)
    @rule()
    def start_process(self) -> None:
        self.processes.append(Process(f"{self.id}-w{next(self.names)}"))

    def living(self) -> list[Process]:
        return [process for process in self.processes if process.is_alive]

    @precondition(lambda self: self.living())
    @rule(which=_which, count=st.integers(1, 3), stays_open=st.booleans())
    def deliver(self, which: int, count: int, stays_open: bool) -> None:
        process = self.living()[which % len(self.living())]
        if not self.queue.waiting():
            self.feed()
        keys = self.queue.take_back(count)
        process.hands += keys
        self.claim(process, keys, stays_open=stays_open)

    def claim(self, process: Process, keys: Sequence[Key], *, stays_open: bool = False) -> None:
        # As the bookkeeper does, which asks for no row that it runs.
        wanted = sorted({key for key in keys if key not in process.runs})
        cancelled = self.cancelled.copy()

        def work(connection: Connection) -> Any:
            return claiming.claim(
                connection, wanted, holder=process.name, worker=process.name, lease=3600
            )

        def then(claimed: dict[Key, Any]) -> None:
            for key, row in claimed.items():
                assert key[0] not in cancelled, f"{key} began although its batch is cancelled"
                if not process.is_alive:
                    self.allowed[key] += 1
                self.calls[key] += 1
                assert self.calls[key] <= 1 + self.allowed[key], f"{key} is paid for twice"
                process.runs[key] = row.attempts
                process.late.discard(key)

        if wanted and not self.do(work, then, stays_open=stays_open):
            self.deliver_again(process)

    def deliver_again(self, process: Process) -> None:
        """Put a process's messages on the queue again, as the visibility timeout does."""
        for batch_id, number in process.hands:
            self.queue.push(batch_id, [number])
        process.hands.clear()

    def running(self) -> list[tuple[Process, Key]]:
        return [(process, key) for process in self.living() for key in process.runs]

    @precondition(lambda self: self.running())
    @rule(
        which=_which,
        how=st.sampled_from(["done", "done", "failed", "retry", "retry", "later", "given back"]),
        stays_open=st.booleans(),
    )
    def settle(self, which: int, how: str, stays_open: bool) -> None:
        process, key = self.running()[which % len(self.running())]
        spent = Spent(1, 10, 0, 10, 0, 0.3)
        attempt = process.runs[key]
        outcome = {
            "done": Outcome(key, attempt, "done", output={"answer": "x"}, spent=spent),
            "failed": Outcome(key, attempt, "failed", error="refused", spent=spent),
            "retry": Outcome(key, attempt, "pending", error="503"),
            "later": Outcome(key, attempt, "pending", error="503", delay=60),
            "given back": Outcome(key, attempt, "pending", counts=False, begun=False),
        }[how]
        is_late = key in process.late
        runs, hands = process.runs.copy(), process.hands.copy()

        def then(settled: set[Key]) -> None:
            assert is_late or not process.is_alive or settled == {key}, f"{how} of {key} is lost"
            if settled and outcome.status == "pending":
                self.allowed[key] += 1

        # It has ended for the process, which waits for the commit in the meantime.
        del process.runs[key]
        process.hands = [other for other in process.hands if other != key]

        def work(connection: Connection) -> Any:
            return settling.settle(connection, [outcome], holder=process.name)

        if not self.do(work, then, stays_open=False):
            process.runs, process.hands = runs, hands

    @precondition(lambda self: self.holds and self.running())
    @rule(which=_which, how=st.sampled_from(["done", "failed", "pending"]))
    def settle_slowly(self, which: int, how: Any) -> None:
        process, key = self.running()[which % len(self.running())]
        outcome = Outcome(key, process.runs[key], how, output={}, error="503")

        def then(settled: set[Key]) -> None:
            if settled and how == "pending":
                self.allowed[key] += 1

        def work(connection: Connection) -> Any:
            return settling.settle(connection, [outcome], holder=process.name)

        if self.do(work, then, stays_open=True):
            # If it does not commit, the process has died over it.
            del process.runs[key]
            process.hands = [other for other in process.hands if other != key]
            self.allowed[key] += 1

    @precondition(lambda self: self.running())
    @rule(which=_which)
    def postpone(self, which: int) -> None:
        process, key = self.running()[which % len(self.running())]

        def then(_: Any) -> None:
            del process.runs[key]
            process.hands = [other for other in process.hands if other != key]
            self.allowed[key] += 1

        self.do(
            lambda connection: claiming.postpone(connection, key, holder=process.name, delay=5),
            then,
        )

    @precondition(lambda self: self.living())
    @rule(which=_which, how=st.sampled_from(["messages return", "messages are lost", "known"]))
    def kill(self, which: int, how: str) -> None:
        process = self.living()[which % len(self.living())]
        process.is_alive = False
        self.outlive(process)
        for key in process.runs:
            self.allowed[key] += 1
        process.runs.clear()
        if how != "messages are lost":
            self.deliver_again(process)
        if how == "known":
            self.do(
                lambda connection: claiming.give_up(connection, worker=process.name, by="local")
            )

    @precondition(lambda self: self.running())
    @rule(which=_which, renews=st.booleans())
    def stand_still(self, which: int, renews: bool) -> None:
        """A process does not renew its leases for a while, and comes back."""
        process = self.running()[which % len(self.running())][0]
        if renews:
            keys = list(process.runs)
            self.do(
                lambda connection: claiming.renew(connection, keys, holder=process.name, lease=3600)
            )
            return
        if self.outlive(process):
            for key in process.runs:
                if key not in process.late:
                    self.allowed[key] += 1
            process.late |= set(process.runs)
            self.deliver_again(process)

    def outlive(self, process: Process) -> bool:
        """Let the leases of a process run out."""
        return self.do(
            lambda connection: connection.execute(
                update(Row)
                .where(Row.claim == process.name, Row.status == "running")
                .values(lease_until=in_seconds(-3600))
            )
        )

    # --- people

    @rule(which=_which, limit=st.integers(0, 2), stays_open=st.booleans(), whole=st.booleans())
    def cancel(self, which: int, limit: int, stays_open: bool, whole: bool) -> None:
        batch_id = self.batches[which % len(self.batches)]

        def then(was_cancelled: bool) -> None:
            if was_cancelled:
                self.cancelled.add(batch_id)
                if whole:  # else the process dies here
                    self.unless_in_the_way(lambda: in_chunks.sweep(self.engine, batch_id, by="cli"))

        self.do(
            lambda connection: stopping.cancel(connection, batch_id, by="cli", limit=limit),
            then,
            stays_open=stays_open,
        )

    @rule(
        which=_which,
        what=st.sampled_from(["stop", "submit again", "resume", "resume with a budget"]),
        stays_open=st.booleans(),
    )
    def decide(self, which: int, what: str, stays_open: bool = False) -> None:
        batch_id = self.batches[which % len(self.batches)]

        def work(connection: Connection) -> None:
            if what == "stop":
                stopping.stop(connection, batch_id, "the key is wrong")
            elif what == "submit again":
                stopping.reopen(connection, batch_id)
                recording.finish_loading(connection, batch_id)
            else:
                stopping.end_sample(connection, batch_id)
                stopping.set_budget(connection, batch_id, None if what == "resume" else 5.0)

        self.do(work, stays_open=stays_open)

    @rule(which=_which, whole=st.booleans())
    def retry(self, which: int, whole: bool) -> None:
        batch_id = self.batches[which % len(self.batches)]
        if whole:
            before = self.numbers(batch_id, "failed")
            self.unless_in_the_way(
                lambda: in_chunks.retry_failed(self.engine, batch_id, None, by="cli")
            )
            self.note_retried(batch_id, before - self.numbers(batch_id, "failed"))
            return
        if not _is_settled(self.engine, batch_id):
            return  # the command sweeps a cancelled batch first
        self.do(
            lambda connection: stopping.retry_failed(connection, batch_id, None, by="cli", limit=1),
            lambda again: self.note_retried(batch_id, again),
            stays_open=True,
        )

    def note_retried(self, batch_id: str, numbers: Any) -> None:
        for number in numbers:
            self.allowed[batch_id, number] += 1
            self.ends.pop((batch_id, number), None)
        if numbers:
            self.cancelled.discard(batch_id)

    def numbers(self, batch_id: str, status: str) -> set[int]:
        with self.engine.connect() as connection:
            found = select(Row.number).where(Row.batch_id == batch_id, Row.status == status)
            return set(connection.execute(found).scalars())

    # --- what always holds

    @invariant()
    def tallies_are_those_of_the_rows_and_ends_stay(self) -> None:
        for batch_id in self.batches:
            with self.engine.connect() as connection:
                if self.holds:  # what the following sees is of one moment
                    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
                progress = progress_of(connection, batch_id)
                rows = connection.execute(
                    select(Row.number, Row.status).where(Row.batch_id == batch_id)
                ).all()
            counts = Counter(row.status for row in rows)
            assert (progress.done, progress.failed, progress.cancelled) == tuple(
                counts[status] for status in END_STATES
            )
            if progress.status == "finished":
                assert not any(counts[status] for status in UNFINISHED), counts
            for row in rows:
                key = (batch_id, row.number)
                if key in self.ends:
                    assert row.status == self.ends[key], f"{key} was {self.ends[key]} already"
                if row.status in END_STATES:
                    self.ends[key] = row.status

    def teardown(self) -> None:
        """Everybody dies. The fleet that comes after brings every row to an end."""
        try:
            while self.open:
                self.end(0)
            for _ in self.living():
                self.kill(0, "messages are lost")
            self.drain()
            for batch_id in self.batches:
                status, counts = self.seen(batch_id)
                assert not counts["queued"] + counts["running"], (status, counts)
                assert status == "cancelled" or batch_id not in self.cancelled
                if status == "cancelled":
                    assert not counts["pending"], counts
                assert status not in ("loading", "running"), (status, counts)
            for batch_id in self.batches:
                self.decide(self.batches.index(batch_id), "submit again")
                self.decide(self.batches.index(batch_id), "resume")
            self.drain()
            for batch_id in self.batches:
                status, counts = self.seen(batch_id)
                assert status in ("finished", "cancelled")
                assert not any(counts[status] for status in UNFINISHED), (status, counts)
            self.tallies_are_those_of_the_rows_and_ends_stay()
        finally:
            while self.open:
                self.end(0, commits=False)
            with self.engine.begin() as connection:
                for batch_id in self.batches:
                    connection.execute(Batch.__table__.delete().where(Batch.id == batch_id))
            self.redis.close()

    def drain(self) -> None:
        """Let a new worker do what there is to do, and the feeder what it does."""
        for batch_id in self.batches:  # as the submitter does that comes back
            self.do(lambda connection, b=batch_id: recording.finish_loading(connection, b))
        worker = Process(f"{self.id}-w{next(self.names)}")
        for _ in range(40):
            self.let_time_pass()
            self.feeder.repair()
            fed = self.feeder.feed()
            keys = self.queue.take_back(WINDOW)
            self.claim(worker, keys)
            outcomes = [
                Outcome(key, attempt, "done", output={}) for key, attempt in worker.runs.items()
            ]
            with self.engine.begin() as connection:
                settled = settling.settle(connection, outcomes, holder=worker.name)
            assert settled == set(worker.runs)
            worker.runs.clear()
            if not (fed or keys) and not self.is_unsettled():
                self.feeder.repair()  # closes what has just ended
                return
        pytest.fail(f"rows that reach no end: {[self.seen(b) for b in self.batches]}")

    def is_unsettled(self) -> bool:
        with self.engine.connect() as connection:
            live = (
                select(func.count())
                .select_from(Row)
                .join(Batch, Batch.id == Row.batch_id)
                .where(
                    Row.batch_id.in_(self.batches),
                    Row.status.in_(UNFINISHED),
                    (Batch.status.in_(("loading", "running", "cancelled")))
                    | (Row.status != "pending"),
                )
            )
            return bool(connection.execute(live).scalar())

    def seen(self, batch_id: str) -> tuple[str, Counter[str]]:
        with self.engine.connect() as connection:
            status = connection.execute(
                select(Batch.status).where(Batch.id == batch_id)
            ).scalar_one()
            rows = connection.execute(select(Row.status).where(Row.batch_id == batch_id))
            return status, Counter(rows.scalars())


def _is_settled(engine: Engine, batch_id: str) -> bool:
    with engine.connect() as connection:
        status = connection.execute(select(Batch.status).where(Batch.id == batch_id)).scalar_one()
        waits = connection.execute(
            select(func.count()).where(Row.batch_id == batch_id, Row.status.in_(UNFINISHED))
        ).scalar_one()
    return status != "cancelled" or not waits


@pytest.fixture
def impatient(engine: Engine, database_url: str) -> Iterator[Engine]:
    """The ledger, as one that does not wait long for the transactions of others."""
    if engine.dialect.name != "postgresql":
        yield engine
        return
    url = engine.url.update_query_dict({"options": f"-c lock_timeout={LOCK_TIMEOUT}"})
    other = open_ledger(url.render_as_string(hide_password=False), connections=6)
    yield other
    other.dispose()


def test_every_row_reaches_one_end_and_is_paid_for_once(
    impatient: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rowfleet.feeding.repair.SECOND_LOOK", 0.0)
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(settling, "MOST_FOLLOWERS", 2)
    monkeypatch.setattr(Fleet, "engine", impatient, raising=False)
    monkeypatch.setattr(Fleet, "settings", settings, raising=False)
    run_state_machine_as_test(
        Fleet,
        settings=profile(
            max_examples=EXAMPLES or 20,
            stateful_step_count=30,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            phases=[Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
