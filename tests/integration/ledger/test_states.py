"""Whatever happens to batches, in whatever order: every row reaches one end, and is paid for once.

What people decide on a row stays, too, and is its value from then on.

Hypothesis makes up the histories: submitters, feeders, workers and people act in turn, on a real
broker and both databases. Any of them may be gone after any transaction. On PostgreSQL a
transaction may also stay open while others commit theirs: SQLite has one writer at a time.

`STATES_EXAMPLES=5000 pytest tests/integration/ledger/test_states.py` tries that many, new ones
each time.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from sqlalchemy import Connection, Engine, func, select, text

from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.statuses import Verdict
from rowfleet.ledger.transitions import followers, in_chunks, recording, settling, stopping
from rowfleet.settings import Settings
from tests.support.histories.reviewing import Reviewing
from tests.support.histories.running import try_histories
from tests.support.histories.world import WHICH, WINDOW, Process

END_STATES = ("done", "failed", "cancelled")
UNFINISHED = ("pending", "queued", "running")


class Fleet(Reviewing):
    """Submitters, a feeder, workers and people, and what they may rely on."""

    # --- people

    @rule(which=WHICH, limit=st.integers(0, 2), stays_open=st.booleans(), whole=st.booleans())
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
        which=WHICH,
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

    @rule(which=WHICH, whole=st.booleans())
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
                    select(Row.number, Row.status, Row.review, Row.review_reasons).where(
                        Row.batch_id == batch_id
                    )
                ).all()
            counts = Counter(row.status for row in rows)
            assert (progress.done, progress.failed, progress.cancelled) == tuple(
                counts[status] for status in END_STATES
            )
            to_review = [row for row in rows if row.review == "needs_review"]
            assert progress.needs_review == len(to_review)
            assert all(row.status == "done" and row.review_reasons for row in to_review)
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
            for row, verdict in enumerate(Verdict):
                self.decide_row(0, row, verdict, row, False, False, stays_open=False)
            for index in range(len(self.batches)):
                self.retry(index, whole=True)
                self.decide(index, "submit again")
                self.decide(index, "resume")
            self.drain()
            self.what_people_decided_stays_and_counts()
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


def test_every_row_reaches_one_end_and_is_paid_for_once(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_chunks, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(followers, "MOST_FOLLOWERS", 2)
    try_histories(Fleet, engine, settings)
