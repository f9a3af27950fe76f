"""A fleet that KEDA scales, event by event, and what it does with a batch, beside a fixed one.

    python -m benchmarks.autoscaler

The rules are those of KEDA 2.20 and of Kubernetes' horizontal pod autoscaler, with the chart's
values. How long things take was read off timestamps on a cluster (`python -m tests.e2e.curve`),
none of it off the curves that the simulation is compared with. Rows are taken as alike.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median

from benchmarks.figures import Figure

#: Least, median and most of what was measured.
Range = tuple[float, float, float]

#: The chart's values: seconds between KEDA's looks, and of its cooldown; rows for a pod; rows that
#: wait on the queue at most.
POLL, COOLDOWN, SLOTS, WINDOW = 5.0, 30.0, 100, 10_000
#: The chart's values: by how many percent, and by how many, the HPA may add pods in so many
#: seconds, the larger counts; then the same for taking pods away.
UP_PERCENT, UP_PODS, UP_PERIOD = 1000, 20, 15.0
DOWN_PERCENT, DOWN_PODS, DOWN_PERIOD = 50, 2, 30.0
#: The chart's value: seconds for which the most that was wanted holds, before pods are taken away.
STABILIZATION = 60.0

#: Kubernetes' defaults: seconds between the HPA's looks (`--horizontal-pod-autoscaler-sync-period`),
#: and how far the metric may be from the target without effect (`…-tolerance`).
SYNC, TOLERANCE = 15.0, 0.1

#: Seconds from the apply of a Job to its first rows in Redis.
SUBMIT: Range = (1.17, 1.29, 1.47)
#: Seconds from the creation of a pod to its first call, rows waiting and a core to itself.
FIRST_CALL: Range = (1.58, 1.71, 2.21)
#: Of those, the seconds of CPU: what lasts longer where pods start together on too few cores.
START_CPU = 1.3
#: Seconds from the creation of a pod until its container runs, and from then to the first look of
#: the startup probe; the chart's value: seconds between its looks.
RUNNING: Range = (0.48, 0.54, 0.64)
PROBED: Range = (0.0, 0.1, 0.8)
PROBE = 2.0
#: Seconds from the end of a call to the next one in the same slot.
BETWEEN = 0.1
#: Seconds from SIGTERM until a pod that runs no row is gone.
STOP: Range = (0.9, 2.9, 4.7)

#: Rows that are fed at once (`RECORD_CHUNK`), and recorded a second (`make bench ARGS=submit`);
#: seconds between two looks of who feeds (docs/architecture.md).
CHUNK, RECORDED, FEED = 1_000, 18_000.0, 1.0


@dataclass(slots=True)
class Course:
    """What became of a batch. Times are seconds from the apply."""

    first_call: float = 0.0
    #: When there were first so many ready pods.
    ready: dict[int, float] = field(default_factory=dict)
    last_answer: float = 0.0
    #: When there was no pod any more.
    gone: float = 0.0
    #: Of all pods, from the creation of each until it was gone.
    pod_seconds: float = 0.0


@dataclass(slots=True, eq=False)
class _Pod:
    created: float
    #: Seconds of CPU until it makes its first call.
    work: float
    serves: bool = False
    ready: bool = False
    ending: bool = False
    busy: int = 0


class _Fleet:
    """A queue, its pods, and who scales them. ``at`` is now."""

    def __init__(
        self, rows: int, latency: float, most: int, slots: int, cores: float, rng: random.Random
    ) -> None:
        self.course = Course()
        self._rows, self._latency, self._most, self._slots = rows, latency, most, slots
        self._cores, self._rng = cores, rng
        self._at = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._fed = self._begun = self._busy = self._answered = 0
        self._submitted = self._draw(SUBMIT)
        self._wanted = 0
        self._pods: list[_Pod] = []
        self._starting: dict[_Pod, float] = {}
        self._last_active = 0.0
        self._recommended: list[tuple[float, int]] = []
        self._scaled_up: list[tuple[float, int]] = []
        self._scaled_down: list[tuple[float, int]] = []

    def run(self) -> Course:
        """Run the batch and return what became of it."""
        self._after(self._submitted, self._feed)
        self._after(self._rng.uniform(0, POLL), self._poll)
        self._after(self._rng.uniform(0, SYNC), self._sync)
        while not self.course.gone:
            self._at, _, happens = heapq.heappop(self._events)
            happens()
        return self.course

    def _after(self, seconds: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._at + seconds, next(self._order), happens))

    def _draw(self, measured: Range) -> float:
        """Return a value from a range, as often below its median as above."""
        least, middle, most = measured
        low, high = (least, middle) if self._rng.random() < 0.5 else (middle, most)
        return self._rng.uniform(low, high)

    # --- rows

    def _feed(self) -> None:
        recorded = CHUNK + int((self._at - self._submitted) * RECORDED)
        room = WINDOW - (self._fed - self._begun)
        self._fed += max(0, min(room, min(recorded, self._rows) - self._fed))
        if self._fed < self._rows:
            self._after(CHUNK / RECORDED if recorded < self._rows else FEED, self._feed)
        self._begin()

    def _begin(self) -> None:
        for pod in self._pods:
            count = min(self._fed - self._begun, self._slots - pod.busy)
            if count <= 0 or not pod.serves or pod.ending:
                continue
            self.course.first_call = self.course.first_call or self._at
            self._begun += count
            self._busy += count
            pod.busy += count
            self._after(self._latency + BETWEEN, lambda pod=pod, count=count: self._end(pod, count))

    def _end(self, pod: _Pod, count: int) -> None:
        self._busy -= count
        pod.busy -= count
        self._answered += count
        if self._answered == self._rows:
            self.course.last_answer = self._at - BETWEEN
        if pod.ending and not pod.busy:
            self._after(self._draw(STOP), lambda: self._gone(pod))
        self._begin()

    def _metric(self) -> int:
        return self._fed - self._begun + self._busy

    # --- KEDA: from none to one, and from any to none

    def _poll(self) -> None:
        self._after(POLL, self._poll)
        if self._metric():
            self._last_active = self._at
            if not self._wanted:
                self._scale(1)
        # It notes the time in whole seconds, so that the look exactly a cooldown later is late
        # enough.
        elif self._wanted and self._at - self._last_active > COOLDOWN - 0.5:
            self._scale(0)

    # --- the HPA: all between

    def _sync(self) -> None:
        self._after(SYNC, self._sync)
        if not self._wanted:
            return
        usage = self._metric() / (self._slots * self._wanted)
        target = self._wanted
        if abs(usage - 1) > TOLERANCE:
            target = math.ceil(self._metric() / self._slots)
        highest = max(
            [target, *(n for at, n in self._recommended if at > self._at - STABILIZATION)]
        )
        self._recommended.append((self._at, target))
        target = max(target, min(self._wanted, highest))
        if target > self._wanted:
            before = self._before(UP_PERIOD)
            limit = max(math.ceil(before * (1 + UP_PERCENT / 100)), before + UP_PODS)
            target = min(target, self._most, max(limit, self._wanted))
        elif target < self._wanted:
            before = self._before(DOWN_PERIOD)
            limit = min(int(before * (1 - DOWN_PERCENT / 100)), before - DOWN_PODS)
            target = max(target, 1, min(limit, self._wanted))
        if target != self._wanted:
            changes = self._scaled_up if target > self._wanted else self._scaled_down
            changes.append((self._at, abs(target - self._wanted)))
            self._scale(target)

    def _before(self, period: float) -> int:
        """Return how many pods were wanted when the period began."""
        more, fewer = (
            sum(n for at, n in changes if at > self._at - period)
            for changes in (self._scaled_up, self._scaled_down)
        )
        return self._wanted - more + fewer

    # --- pods

    def _scale(self, wanted: int) -> None:
        self._wanted = wanted
        there = [pod for pod in self._pods if not pod.ending]
        for _ in range(wanted - len(there)):
            self._create()
        # As the ReplicaSet chooses: those that are not ready first, then those that do least.
        there.sort(key=lambda pod: (pod.ready, pod.busy))
        for pod in there[: max(0, len(there) - wanted)]:
            pod.ending = True
            if not pod.busy:
                self._after(self._draw(STOP), lambda pod=pod: self._gone(pod))

    def _create(self) -> None:
        pod = _Pod(self._at, START_CPU)
        self._pods.append(pod)
        self._after(self._draw(FIRST_CALL) - START_CPU, lambda: self._starts(pod))

    def _starts(self, pod: _Pod) -> None:
        self._work()
        self._starting[pod] = self._at
        self._reckon()

    def _work(self) -> None:
        """Take off what the starting pods have done since; they share the cores."""
        share = self._share()
        for pod, since in self._starting.items():
            pod.work -= (self._at - since) * share
            self._starting[pod] = self._at

    def _share(self) -> float:
        return min(1.0, self._cores / max(1, len(self._starting)))

    def _reckon(self) -> None:
        """Look again when the next one will have started."""
        if self._starting:
            left = min(pod.work for pod in self._starting)
            self._after(max(0.0, left / self._share()), self._started)

    def _started(self) -> None:
        self._work()
        done = [pod for pod in self._starting if pod.work < 1e-6]
        for pod in done:
            del self._starting[pod]
            pod.serves = True
            running = pod.created + self._draw(RUNNING) + self._draw(PROBED)
            looks = math.ceil(max(0.0, self._at - running) / PROBE)
            self._after(running + looks * PROBE - self._at, lambda pod=pod: self._ready(pod))
        if done:
            self._reckon()
            self._begin()

    def _ready(self, pod: _Pod) -> None:
        if not pod.ending:
            pod.ready = True
            self.course.ready.setdefault(sum(p.ready for p in self._pods), self._at)

    def _gone(self, pod: _Pod) -> None:
        self._pods.remove(pod)
        self.course.pod_seconds += self._at - pod.created
        if not self._pods and not self._wanted and self._answered == self._rows:
            self.course.gone = self._at


def scaled(
    rows: int,
    latency: float,
    *,
    most: int,
    slots: int = SLOTS,
    cores: float = math.inf,
    seed: int = 0,
) -> Course:
    """Run a batch on a fleet that starts from nothing.

    ``cores`` is what pods that start have of the machine they share. ``seed`` draws when KEDA and
    the HPA look, and what is not the same each time.
    """
    return _Fleet(rows, latency, most, slots, cores, random.Random(seed)).run()


def fixed(rows: int, latency: float, *, pods: int, slots: int = SLOTS) -> float:
    """Return the seconds that a fleet of ``pods`` which is there already takes."""
    return SUBMIT[1] + math.ceil(rows / (pods * slots)) * (latency + BETWEEN) - BETWEEN


if __name__ == "__main__":
    pass
