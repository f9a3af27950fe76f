"""Rules of workers: they claim, answer, stand still and die."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule
from sqlalchemy import Connection

from rowfleet.answers.reasons import Reason
from rowfleet.ledger.records import Key, Outcome, Spent
from rowfleet.ledger.transitions import claiming, settling
from tests.support.histories.feeding import Feeding
from tests.support.histories.world import WHICH, Process


class Working(Feeding):
    """Workers beside the submitters and the feeder."""

    @initialize(process_count=st.integers(1, 3))
    def start(self, process_count: int) -> None:
        for _ in range(process_count):
            self.start_process()

    @precondition(lambda self: len(self.living()) < 2)
    @rule()
    def start_process(self) -> None:
        self.processes.append(Process(f"{self.id}-w{next(self.names)}"))

    @precondition(lambda self: self.living())
    @rule(which=WHICH, count=st.integers(1, 3), stays_open=st.booleans())
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
        which=WHICH,
        how=st.sampled_from(["done", "to review", "failed", "retry", "later", "given back"]),
        stays_open=st.booleans(),
    )
    def settle(self, which: int, how: str, stays_open: bool) -> None:
        process, key = self.running()[which % len(self.running())]
        spent = Spent(1, 10, 0, 10, 0, 0.3)
        attempt = process.runs[key]
        outcome = {
            "done": Outcome(key, attempt, "done", output={"answer": "x"}, spent=spent),
            "to review": Outcome(
                key,
                attempt,
                "done",
                output={"answer": "x"},
                spent=spent,
                review="needs_review",
                reasons=(Reason("cited", "the citation is none of the list"),),
            ),
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
    @rule(which=WHICH, how=st.sampled_from(["done", "failed", "pending"]))
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
    @rule(which=WHICH)
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
    @rule(which=WHICH, how=st.sampled_from(["messages return", "messages are lost", "known"]))
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
    @rule(which=WHICH, renews=st.booleans())
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
