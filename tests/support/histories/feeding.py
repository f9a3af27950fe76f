"""Rules of submitters and of the feeder."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import Connection, update

from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import claiming, feeding, finishing, stopping
from tests.support.histories.world import WHICH, WINDOW, World
from tests.support.ledger import make_batch


class Feeding(World):
    """Submitters, and a feeder that may be gone after any transaction."""

    # --- submitters

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

    @rule(which=WHICH, count=st.integers(1, 3), is_told=st.booleans())
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

    @rule(which=WHICH, what=st.sampled_from(["expire", "close", "sweep"]), stays_open=st.booleans())
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
