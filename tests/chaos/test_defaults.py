"""What Celery's own defaults would have done: three worst cases, each on three fleets at once.

*plain* has Celery's defaults, *careful* what is commonly advised, and *rowfleet* is the product.
It must be perfect, as in every case; the other two are measured and not judged. All times are a
`SCALE`-th of the usual ones, but for Celery's visibility timeout, which is its hour.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.chaos import report
from tests.chaos.autoscaler import Autoscaler
from tests.chaos.conftest import SEED
from tests.chaos.fleet import LOOK, Fleet
from tests.chaos.plain import PlainFleet
from tests.chaos.verdict import conclude
from tests.standin import Standin
from tests.support.sheets import invoices

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

#: The visibility timeout of 75 s is 6 s in this suite; the rest is made shorter as much.
SCALE = 12.5
#: Rows at once of a worker, on every fleet.
SLOTS = 4
#: Seconds before a row is tried again.
RETRY_DELAY = 60 / SCALE
#: Seconds of a row that is scaled away, of KEDA's poll, and of its cooldown as the chart has it.
LONG_ROW, POLL, COOLDOWN = 100 / SCALE, 5 / SCALE, 30 / SCALE
#: Seconds a pod gets to end: Kubernetes' default, and the chart's.
USUAL_GRACE, CHART_GRACE = 30 / SCALE, (600 + 30) / SCALE
#: Seconds for which the other fleets are watched after the harm, and longer if Rowfleet is not
#: through by then. It is four minutes of a real fleet.
WATCHED = 20.0
#: Seconds that a fleet may take to start.
PATIENCE = 60.0


@dataclass
class Outcome:
    """What a fleet has made of its rows: a line of the report."""

    rows: int
    answered: int
    #: Rows without an answer whose message is still in Redis.
    held: int
    #: Rows without an answer and without a message.
    lost: int
    calls: int
    #: Rows that the model has worked on twice or more, and rows that it has worked on while no
    #: answer was kept. Calls that it refused cost nothing.
    paid_twice: int
    paid_in_vain: int
    #: Seconds from the harm until all rows were answered; from the first call, if the harm is a
    #: scale-in. None if some were not before the test ended.
    seconds: float | None


@dataclass
class Trio:
    """The three fleets, and how each case is run on them."""

    rowfleet: Fleet
    others: dict[str, PlainFleet]
    home: Path
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _through: threading.Event = field(default_factory=threading.Event)

    def run(
        self,
        rows: int,
        *,
        plain: Callable[[PlainFleet], float],
        ours: Callable[[Fleet], float],
        **standin: Any,
    ) -> None:
        """Give all fleets the same rows and do a case on all at once.

        The functions do the harm and return when it was; ours waits for the end itself.
        """
        file = invoices(self.home / "plain.xlsx", rows)
        self.rowfleet.standin.configure(**standin)
        for other in self.others.values():
            other.standin.configure(**standin)

        def run_other(other: PlainFleet) -> Outcome:
            other.enqueue(file)
            return self._watch(other, rows, plain(other))

        def run_ours() -> Outcome:
            fleet = self.rowfleet
            fleet.submitted(rows)
            try:
                seconds = ours(fleet)
                conclude(fleet)
            finally:
                self._through.set()
            everything = set(range(rows))  # has its answer in the ledger and in the sheet
            return _outcome(
                fleet.standin, everything, answered=everything, held=set(), seconds=seconds
            )

        with ThreadPoolExecutor() as threads:
            running = {name: threads.submit(run_other, o) for name, o in self.others.items()}
            running["rowfleet"] = threads.submit(run_ours)
        self.outcomes.update((name, future.result()) for name, future in running.items())
        print(*self.outcomes.items(), sep="\n")

    def is_watching(self, harmed_at: float) -> bool:
        """Tell whether a fleet that was harmed then still has time to mend."""
        return time.monotonic() < harmed_at + WATCHED or not self._through.is_set()

    def _watch(self, fleet: PlainFleet, rows: int, harmed_at: float) -> Outcome:
        """Watch a plain fleet and say what has become of its rows."""
        seconds = None
        while seconds is None and self.is_watching(harmed_at):
            if len(fleet.answered()) == rows:
                seconds = time.monotonic() - harmed_at
            time.sleep(LOOK)
        # A row without a message may still be running: then its call is in flight.
        fleet.until(lambda: not fleet.in_flight(), PATIENCE)
        with_message, answered = fleet.with_message(), fleet.answered()
        return _outcome(
            fleet.standin,
            set(range(rows)),
            answered=answered,
            held=with_message - answered,
            seconds=seconds,
        )


def _outcome(
    standin: Standin, rows: set[int], *, answered: set[int], held: set[int], seconds: float | None
) -> Outcome:
    calls = standin.calls()
    worked = Counter(call.row for call in calls if call.outcome == "ok")
    return Outcome(
        rows=len(rows),
        answered=len(answered),
        held=len(held),
        lost=len(rows - answered - held),
        calls=len(calls),
        paid_twice=sum(count > 1 for count in worked.values()),
        paid_in_vain=len(set(worked) - answered),
        seconds=seconds,
    )


@pytest.fixture
def trio(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    rng: random.Random,
    standin: Standin,
    redis_url: str,
    postgres_url: str,
) -> Iterator[Trio]:
    """Three fleets on one broker, each with a database and a model of its own."""
    changes = {"ROWFLEET_SLOTS": str(SLOTS), "ROWFLEET_RETRY_DELAY": str(RETRY_DELAY)}
    broker = redis_url.rpartition("/")[0]
    with ExitStack() as stack:
        home = tmp_path / "rowfleet"
        home.mkdir()
        rowfleet = Fleet(
            home, rng, standin, redis_url=redis_url, database_url=postgres_url, changes=changes
        )
        stack.callback(rowfleet.close)
        others = {}
        for number, name in enumerate(("plain", "careful"), 1):
            others[name] = PlainFleet(
                tmp_path,
                name,
                stack.enter_context(Standin.start()),
                redis_url=f"{broker}/{number}",
                slots=SLOTS,
                retry_delay=RETRY_DELAY,
            )
            stack.callback(others[name].close)
        trio = Trio(rowfleet, others, tmp_path)
        yield trio
    fleets = {name: asdict(outcome) for name, outcome in trio.outcomes.items()}
    request.node.user_properties.append((report.PROPERTY, {"seed": SEED, "fleets": fleets}))


def test_sigkill_of_a_worker_under_load(trio: Trio, rng: random.Random) -> None:
    rows = 80
    before, pause = int(rows * rng.uniform(0.1, 0.4)), rng.uniform(0, 0.2)

    def both_work(standin: Standin, ended: int) -> bool:
        return ended >= before and standin.summary()["in_flight"] > SLOTS

    def plain(fleet: PlainFleet) -> float:
        victim, _ = fleet.start_worker(), fleet.start_worker()
        fleet.until(lambda: both_work(fleet.standin, len(fleet.answered())), PATIENCE)
        time.sleep(pause)
        fleet.kill(victim)
        return time.monotonic()

    def ours(fleet: Fleet) -> float:
        victim, _ = fleet.start_worker(), fleet.start_worker()
        fleet.until(lambda: both_work(fleet.standin, fleet.ended_rows()), PATIENCE)
        time.sleep(pause)
        with fleet.harm():
            fleet.kill(victim)
        return _seconds(fleet)

    trio.run(rows, plain=plain, ours=ours, latency=[0.2, 0.8])


def test_scale_in_while_the_last_rows_run(trio: Trio) -> None:
    """Two rounds of rows; the list is empty when the second starts, or even before."""

    def plain(fleet: PlainFleet) -> float:
        """The autoscaler counts the list alone, and pods have the usual grace."""
        scaler = Autoscaler(
            fleet.listed,
            fleet.start_worker,
            fleet.kill,
            poll=POLL,
            cooldown=COOLDOWN,
            grace=USUAL_GRACE,
        )
        started: list[float] = []

        def watched() -> bool:
            scaler.look()
            if not started and fleet.in_flight():
                started.append(time.monotonic())
            return bool(started) and not trio.is_watching(started[0])

        fleet.until(watched, 2 * PATIENCE)
        return started[0]

    def ours(fleet: Fleet) -> float:
        """The autoscaler counts what the chart has it count, and pods have the chart's grace."""
        queue = fleet.environment["ROWFLEET_QUEUE"]
        client: Any = redis.Redis.from_url(fleet.environment["REDIS_URL"])
        scaler = Autoscaler(
            lambda: client.llen(queue) + client.hlen(f"{queue}.unacked"),
            fleet.start_worker,
            fleet.kill,
            poll=POLL,
            cooldown=COOLDOWN,
            grace=CHART_GRACE,
        )
        times: list[float] = []

        def through() -> bool:
            scaler.look()
            if not times and fleet.standin.summary()["in_flight"]:
                times.append(time.monotonic())
            if len(times) == 1 and fleet.ended_rows() == rows:
                times.append(time.monotonic())
            return len(times) == 2 and not scaler.pods

        fleet.until(through, 1.5 * PATIENCE)
        client.close()
        assert len(fleet.workers) == 1, "it was scaled in while there were rows"
        assert fleet.workers[0].process.returncode == 0
        assert not scaler.killed
        return times[1] - times[0]

    rows = 2 * SLOTS
    trio.run(rows, plain=plain, ours=ours, latency=LONG_ROW)
    assert trio.outcomes["rowfleet"].paid_twice == 0


def test_retry_that_waits_on_a_worker_that_is_killed(trio: Trio, rng: random.Random) -> None:
    """Every row is refused once; the worker is killed while they wait, and another started."""
    rows = 2 * SLOTS
    pause = rng.uniform(0, RETRY_DELAY / 4)
    waited: dict[str, set[int]] = {}

    def all_wait(standin: Standin, waiting: int) -> bool:
        calls = standin.summary()["calls"]
        # On a slow machine the first retry may be due before the last row was refused.
        return calls == rows == waiting or (calls > rows and waiting > 0)

    def plain(fleet: PlainFleet) -> float:
        victim = fleet.start_worker()
        fleet.until(lambda: all_wait(fleet.standin, len(fleet.unacked())), PATIENCE)
        time.sleep(pause)
        fleet.kill(victim)
        harmed_at = time.monotonic()
        waited[fleet.name] = fleet.unacked()
        fleet.start_worker()
        return harmed_at

    def ours(fleet: Fleet) -> float:
        victim = fleet.start_worker()
        fleet.until(lambda: all_wait(fleet.standin, fleet.statuses()["pending"]), PATIENCE)
        time.sleep(pause)
        with fleet.harm():
            fleet.kill(victim)
        fleet.start_worker()
        return _seconds(fleet)

    refused = {"kind": "unavailable", "attempts": 1, "retry_after": RETRY_DELAY}
    trio.run(rows, plain=plain, ours=ours, latency=0.2, faults=[refused])
    assert trio.outcomes["rowfleet"].paid_twice == 0
    for name, numbers in waited.items():
        # What waits in the dead worker's name, waits for its visibility timeout of an hour.
        assert trio.outcomes[name].answered <= rows - len(numbers)


def _seconds(fleet: Fleet) -> float:
    fleet.finish()
    assert fleet.record.ended is not None
    return fleet.record.ended
