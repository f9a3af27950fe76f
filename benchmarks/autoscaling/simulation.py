"""The simulation of a fleet that KEDA scales, event by event.

The rules are those of KEDA 2.20 and of Kubernetes' horizontal pod autoscaler (HPA), with the values
of the chart. All rows are alike.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from benchmarks.autoscaling.cores import Clock, Cores
from benchmarks.autoscaling.times import (
    ACTS,
    BETWEEN,
    CHUNK,
    COOLDOWN,
    DOWN_PERCENT,
    DOWN_PERIOD,
    DOWN_PODS,
    FEED,
    FIRST_CALL,
    HEALTHY_CPU,
    NOTED,
    POLL,
    PROBE,
    PROBE_CPU,
    RECORDED,
    ROW_CPU,
    RUNNING,
    SERVING_CPU,
    SLOTS,
    STABILIZATION,
    STOP,
    STOP_CPU,
    SUBMIT,
    SYNC,
    TOLERANCE,
    UP_PERCENT,
    UP_PERIOD,
    UP_PODS,
    WINDOW,
    Range,
)


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
    healthy: bool = False
    serves: bool = False
    ready: bool = False
    ending: bool = False
    busy: int = 0


class _Fleet:
    """A queue, its pods, and the two that scale them: KEDA and the HPA."""

    def __init__(
        self, rows: int, latency: float, most: int, slots: int, cores: float, rng: random.Random
    ) -> None:
        self.course = Course()
        self._rows, self._latency, self._most, self._slots = rows, latency, most, slots
        self._rng = rng
        self._clock = Clock()
        self._cores = Cores(cores, self._clock)
        self._fed = self._begun = self._busy = self._answered = 0
        self._submitted = self._draw(SUBMIT)
        self._wanted = 0
        self._pods: list[_Pod] = []
        self._last_active = 0.0
        self._recommended: list[tuple[float, int]] = []
        self._scaled_up: list[tuple[float, int]] = []
        self._scaled_down: list[tuple[float, int]] = []

    def run(self, poll: float | None, sync: float | None) -> Course:
        """Run the batch and return what became of it."""
        first_poll, first_sync = self._rng.uniform(0, POLL), self._rng.uniform(0, SYNC)
        self._clock.after(self._submitted, self._feed)
        self._clock.after(first_poll if poll is None else poll % POLL, self._poll)
        self._clock.after(first_sync if sync is None else (sync - ACTS) % SYNC, self._sync)
        while not self.course.gone:
            self._clock.step()
        return self.course

    def _draw(self, measured: Range) -> float:
        """Return a value from a range, as often below its median as above."""
        least, middle, most = measured
        low, high = (least, middle) if self._rng.random() < 0.5 else (middle, most)
        return self._rng.uniform(low, high)

    # --- rows

    def _feed(self) -> None:
        recorded = CHUNK + int((self._clock.now - self._submitted) * RECORDED)
        room = WINDOW - (self._fed - self._begun)
        self._fed += max(0, min(room, min(recorded, self._rows) - self._fed))
        if self._fed < self._rows:
            self._clock.after(CHUNK / RECORDED if recorded < self._rows else FEED, self._feed)
        self._begin()

    def _begin(self) -> None:
        for pod in self._pods:
            count = min(self._fed - self._begun, self._slots - pod.busy)
            if count <= 0 or not pod.serves or pod.ending:
                continue
            self.course.first_call = self.course.first_call or self._clock.now
            self._begun += count
            self._busy += count
            pod.busy += count
            self._clock.after(
                self._latency + BETWEEN, lambda pod=pod, count=count: self._end(pod, count)
            )

    def _end(self, pod: _Pod, count: int) -> None:
        self._busy -= count
        pod.busy -= count
        self._answered += count
        self._cores.work(count * ROW_CPU)
        if self._answered == self._rows:
            self.course.last_answer = self._clock.now - BETWEEN
        if pod.ending and not pod.busy:
            self._stop(pod)
        self._begin()

    def _metric(self) -> int:
        return self._fed - self._begun + self._busy

    # --- KEDA: from none to one, and from any to none

    def _poll(self) -> None:
        self._clock.after(POLL, self._poll)
        if self._metric():
            self._last_active = self._clock.now
            if not self._wanted:
                self._scale(1)
        # It notes the time in whole seconds, so that the look exactly a cooldown later is late
        # enough.
        elif self._wanted and self._clock.now - self._last_active > COOLDOWN - 0.5:
            self._scale(0)

    # --- the HPA: all between

    def _sync(self) -> None:
        self._clock.after(SYNC, self._sync)
        if not self._wanted:
            return
        usage = self._metric() / (self._slots * self._wanted)
        target = self._wanted
        if abs(usage - 1) > TOLERANCE:
            target = math.ceil(self._metric() / self._slots)
        highest = max(
            [target, *(n for at, n in self._recommended if at > self._clock.now - STABILIZATION)]
        )
        self._recommended.append((self._clock.now, target))
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
            changes.append((self._clock.now, abs(target - self._wanted)))
            self._scale(target)

    def _before(self, period: float) -> int:
        """Return how many pods were wanted when the period began."""
        more, fewer = (
            sum(n for at, n in changes if at > self._clock.now - period)
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
                self._stop(pod)

    def _create(self) -> None:
        pod = _Pod(self._clock.now)
        self._pods.append(pod)
        waits = self._draw(FIRST_CALL) - HEALTHY_CPU - SERVING_CPU
        self._clock.after(waits, lambda: self._cores.work(HEALTHY_CPU, lambda: self._healthy(pod)))

        self._clock.after(self._draw(RUNNING), lambda: self._probe(pod))

    def _healthy(self, pod: _Pod) -> None:
        pod.healthy = True
        self._cores.work(SERVING_CPU, lambda: self._serves(pod))

    def _serves(self, pod: _Pod) -> None:
        pod.serves = True
        self._begin()

    def _stop(self, pod: _Pod) -> None:
        waits = self._draw(STOP) - STOP_CPU
        self._clock.after(waits, lambda: self._cores.work(STOP_CPU, lambda: self._gone(pod)))

    def _probe(self, pod: _Pod) -> None:
        self._cores.work(PROBE_CPU)
        if pod.healthy:
            self._clock.after(self._draw(NOTED), lambda: self._ready(pod))
        elif not pod.ending:
            self._clock.after(PROBE, lambda: self._probe(pod))

    def _ready(self, pod: _Pod) -> None:
        if not pod.ending:
            pod.ready = True
            self.course.ready.setdefault(sum(p.ready for p in self._pods), self._clock.now)

    def _gone(self, pod: _Pod) -> None:
        self._pods.remove(pod)
        self.course.pod_seconds += self._clock.now - pod.created
        if not self._pods and not self._wanted and self._answered == self._rows:
            self.course.gone = self._clock.now


def scaled(
    rows: int,
    latency: float,
    *,
    most: int,
    slots: int = SLOTS,
    cores: float = math.inf,
    poll: float | None = None,
    sync: float | None = None,
    seed: int = 0,
) -> Course:
    """Run a batch on a fleet that starts from nothing.

    ``cores`` is what the node has for pods, and for the servers and the model with them. ``poll``
    and ``sync`` are seconds after the apply at which KEDA and the HPA change something, or could.
    ``seed`` draws what is not the same each time, and those two if they are not given.
    """
    return _Fleet(rows, latency, most, slots, cores, random.Random(seed)).run(poll, sync)


def fixed(rows: int, latency: float, *, pods: int, slots: int = SLOTS) -> float:
    """Return the seconds that a fleet of ``pods`` which is there already takes."""
    return SUBMIT[1] + math.ceil(rows / (pods * slots)) * (latency + BETWEEN) - BETWEEN
