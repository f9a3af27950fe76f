"""A fleet that KEDA scales, event by event, and what it does with a batch, beside a fixed one.

    python -m benchmarks.cases.autoscaler

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

from benchmarks.harness.figures import Figure, compared

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

#: Kubernetes' defaults: seconds between the HPA's looks, and how far the metric may be from the
#: target without effect (`--horizontal-pod-autoscaler-sync-period`, `…-tolerance`).
SYNC, TOLERANCE = 15.0, 0.1
#: Seconds by which the HPA's look is before what comes of it. It reads how many pods are wanted,
#: asks KEDA for the metric, and 7 to 26 ms after that the Deployment is seen to be told.
ACTS = 0.04

#: Down to NOTED all was taken on a node of two cores while other programs used less than one of
#: them, the rest with nothing else to do. Seconds from the apply of a Job to its first rows in
#: Redis; nine runs.
SUBMIT: Range = (1.16, 1.29, 1.47)
#: Seconds from the creation of a pod to its first call, rows waiting, a core to itself; ten pods.
FIRST_CALL: Range = (1.58, 1.73, 2.21)
#: Of those, seconds of CPU: until its health file is there, and from then on. By cgroup it has
#: used 1.22 when it makes its first call; kubelet, containerd and runc use 0.35 more than at rest.
#: Its first line in the log, which comes with that file, is at 1.05 of 1.71 seconds.
HEALTHY_CPU, SERVING_CPU = 0.91, 0.66
#: How many times as much CPU the same takes while more starts than there are cores. Of pods that
#: have nothing to do and start at once on two cores, one takes 1.60 s without the probe's looks,
#: four 1.88 each, eight 2.14: 1.18 and 1.34 times as much. Three times each.
CROWDED = 1.25
#: Seconds from the creation of a pod until its container runs and the startup probe looks for the
#: first time; the chart's value: between its looks; and from such a look until the pod is seen
#: to be ready. What a look takes of a core: four a second take 0.14.
RUNNING: Range = (0.48, 0.51, 0.64)
PROBE = 2.0
NOTED: Range = (0.02, 0.40, 0.77)
PROBE_CPU = 0.035
#: Seconds from the end of a call to the next one in the same slot, the mean of 1,800 calls; and
#: what a row takes of the cores, the model's stand-in and the servers with it.
BETWEEN = 0.09
ROW_CPU = 0.006
#: Seconds from SIGTERM until a pod that runs no row is gone, and of those, CPU; alone, three pods.
STOP: Range = (1.6, 1.7, 1.8)
STOP_CPU = 0.52

#: Rows that are fed at once (`RECORD_CHUNK`), and recorded a second (`make bench ARGS=submit`);
#: seconds between two looks of who feeds (docs/explanation/architecture.md).
CHUNK, RECORDED, FEED = 1_000, 18_000.0, 1.0

#: Times that a batch is simulated, each with other phases: small ones, large ones.
SEEDS, LARGE_SEEDS = 200, 20


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
class _Work:
    #: Seconds of a core.
    left: float
    then: Callable[[], None]


@dataclass(slots=True, eq=False)
class _Pod:
    created: float
    healthy: bool = False
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
        self._working: list[_Work] = []
        self._shared_out = 0.0
        self._last_active = 0.0
        self._recommended: list[tuple[float, int]] = []
        self._scaled_up: list[tuple[float, int]] = []
        self._scaled_down: list[tuple[float, int]] = []

    def run(self, poll: float | None, sync: float | None) -> Course:
        """Run the batch and return what became of it."""
        first_poll, first_sync = self._rng.uniform(0, POLL), self._rng.uniform(0, SYNC)
        self._after(self._submitted, self._feed)
        self._after(first_poll if poll is None else poll % POLL, self._poll)
        self._after(first_sync if sync is None else (sync - ACTS) % SYNC, self._sync)
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
        self._work(count * ROW_CPU)
        if self._answered == self._rows:
            self.course.last_answer = self._at - BETWEEN
        if pod.ending and not pod.busy:
            self._stop(pod)
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
                self._stop(pod)

    def _create(self) -> None:
        pod = _Pod(self._at)
        self._pods.append(pod)
        waits = self._draw(FIRST_CALL) - HEALTHY_CPU - SERVING_CPU
        self._after(waits, lambda: self._work(HEALTHY_CPU, lambda: self._healthy(pod)))

        self._after(self._draw(RUNNING), lambda: self._probe(pod))

    def _healthy(self, pod: _Pod) -> None:
        pod.healthy = True
        self._work(SERVING_CPU, lambda: self._serves(pod))

    def _serves(self, pod: _Pod) -> None:
        pod.serves = True
        self._begin()

    def _stop(self, pod: _Pod) -> None:
        waits = self._draw(STOP) - STOP_CPU
        self._after(waits, lambda: self._work(STOP_CPU, lambda: self._gone(pod)))

    # --- what pods share: the cores

    def _work(self, seconds: float, then: Callable[[], None] = lambda: None) -> None:
        """Use so much of a core, or of the share of one that there is, and go on."""
        if self._cores == math.inf:
            self._after(seconds, then)
            return
        self._share_out()
        self._working.append(_Work(seconds, then))
        self._look_again()

    def _speed(self) -> float:
        """Return how much of its work each that works gets done in a second."""
        share = self._cores / max(1, len(self._working))
        return 1.0 if share >= 1 else share / CROWDED

    def _share_out(self) -> None:
        """Take off what was done since this was last called."""
        done = (self._at - self._shared_out) * self._speed()
        self._shared_out = self._at
        for work in self._working:
            work.left -= done

    def _look_again(self) -> None:
        """Come back when the next one will have done its work."""
        if self._working:
            least = min(work.left for work in self._working)
            self._after(max(0.0, least / self._speed()), self._worked)

    def _worked(self) -> None:
        self._share_out()
        done = [work for work in self._working if work.left < 1e-6]
        if done:
            self._working = [work for work in self._working if work not in done]
            self._look_again()
        for work in done:
            work.then()

    def _probe(self, pod: _Pod) -> None:
        self._work(PROBE_CPU)
        if pod.healthy:
            self._after(self._draw(NOTED), lambda: self._ready(pod))
        elif not pod.ending:
            self._after(PROBE, lambda: self._probe(pod))

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


@dataclass(frozen=True, slots=True)
class Seen:
    """What a cluster did with a batch from zero pods and back, in seconds."""

    rows: int
    slots: int
    most: int
    #: Cores of two that the node at rest left, watched as during the run; 1.7 is the mean of seven
    #: runs, of which it was not noted one by one.
    cores: float
    #: From the apply: when KEDA, and when the HPA, first changed the number of pods.
    poll: float
    sync: float
    #: From the apply; from the apply until all pods were ready; from the apply; from the last
    #: answer until there was no pod; of all pods.
    first_call: float
    ready: float
    last_answer: float
    gone: float
    pod_seconds: float

    def simulated(self, seeds: int) -> dict[str, list[float]]:
        """Return the same of so many simulated runs with its phases."""
        courses = [
            scaled(
                self.rows,
                SEEN_LATENCY,
                most=self.most,
                slots=self.slots,
                cores=self.cores,
                poll=self.poll,
                sync=self.sync,
                seed=seed,
            )
            for seed in range(seeds)
        ]
        return {
            "first_call": [c.first_call for c in courses],
            "ready": [c.ready[max(c.ready)] for c in courses],
            "last_answer": [c.last_answer for c in courses],
            "gone": [c.gone - c.last_answer for c in courses],
            "pod_seconds": [c.pod_seconds for c in courses],
        }


#: Seconds that the model took for a row.
SEEN_LATENCY = 3.0
#: What the simulation is compared with (`python -m tests.e2e.curve`): every run of these two shapes
#: on one commit and a machine with nothing else to do. No constant above comes from the second.
SEEN = (
    Seen(300, 20, 4, 1.7, 3.53, 13.57, 5.3, 18.3, 26.4, 28.7, 176),
    Seen(300, 20, 4, 1.7, 2.11, 12.22, 3.7, 15.1, 24.8, 29.4, 176),
    Seen(300, 20, 4, 1.7, 1.7, 1.86, 5.8, 6.4, 18.3, 30.4, 186),
    Seen(300, 20, 4, 1.81, 2.91, 17.94, 4.7, 20.7, 31.0, 28.8, 182),
    Seen(300, 20, 4, 1.83, 2.76, 7.87, 4.5, 10.8, 23.3, 31.6, 191),
    Seen(300, 20, 4, 1.8, 4.68, 14.87, 6.7, 19.6, 27.7, 29.4, 178),
    Seen(300, 20, 4, 1.79, 4.33, 14.59, 6.3, 17.8, 27.5, 29.5, 178),
    Seen(300, 20, 4, 1.79, 1.51, 1.82, 6.5, 6.4, 19.0, 30.3, 188),
    Seen(600, 10, 8, 1.7, 5.73, 15.0, 7.6, 22.0, 46.1, 33.3, 520),
    Seen(600, 10, 8, 1.7, 4.08, 8.42, 6.1, 15.6, 41.9, 31.3, 515),
    Seen(600, 10, 8, 1.7, 5.62, 10.07, 7.4, 17.2, 41.4, 33.7, 514),
    Seen(600, 10, 8, 1.7, 1.82, 11.37, 3.6, 18.5, 42.6, 33.4, 521),
    Seen(600, 10, 8, 1.79, 3.51, 12.94, 5.5, 20.0, 44.8, 33.2, 521),
    Seen(600, 10, 8, 1.8, 4.13, 18.65, 6.1, 27.3, 50.3, 33.0, 528),
    Seen(600, 10, 8, 1.78, 6.03, 15.62, 7.9, 22.9, 47.2, 33.5, 523),
    Seen(600, 10, 8, 1.76, 4.72, 19.38, 6.7, 26.5, 50.3, 33.5, 524),
    Seen(600, 10, 8, 1.83, 1.52, 16.3, 3.3, 23.5, 46.9, 33.1, 519),
)


def measure(_rounds: int = 1) -> Iterator[Figure]:
    """Yield the curves that were seen, then makespan and pod-hours of large batches."""
    for _, runs in itertools.groupby(SEEN, lambda seen: seen.rows):
        yield _curve(list(runs))
    for rows in (100_000, 1_000_000):
        for most in (10, 100):
            yield from _large(rows, most)


def _curve(runs: list[Seen]) -> Figure:
    simulated = [{k: median(v) for k, v in seen.simulated(SEEDS).items()} for seen in runs]
    ours = [run["last_answer"] for run in simulated]
    theirs = [seen.last_answer for seen in runs]
    ratio, first = median(ours) / median(theirs), runs[0]
    parts = {f"simulated_{part}": [run[part] for run in simulated] for part in simulated[0]}
    parts |= {f"seen_{part}": [getattr(seen, part) for seen in runs] for part in simulated[0]}
    return Figure(
        f"simulated_curve_{first.rows}",
        f"simulated: apply to last answer, {first.rows} rows of {SEEN_LATENCY:g} s, "
        f"{first.slots} slots, at most {first.most} pods",
        median(ours),
        "s",
        "0.9 to 1.1 ×",
        abs(ratio - 1) <= 0.1,
        "seen on a cluster",
        median(theirs),
        ratio,
        parts,
    )


def _large(rows: int, most: int) -> Iterator[Figure]:
    courses = [scaled(rows, 8.0, most=most, seed=seed) for seed in range(LARGE_SEEDS)]
    plain = fixed(rows, 8.0, pods=most)
    yield compared(
        f"simulated_makespan_{rows}_{most}",
        f"simulated: {rows:,} rows of 8 s, at most {most} pods",
        [course.last_answer / 60 for course in courses],
        [plain / 60],
        unit="min",
        beside=f"{most} pods that are always there",
        at_most=1.1,
        note="what is over is the way up: KEDA's look, a pod's start, the HPA's looks",
    )
    yield compared(
        f"simulated_pod_hours_{rows}_{most}",
        f"simulated: pods for {rows:,} rows of 8 s a day, at most {most}",
        [course.pod_seconds / 3600 for course in courses],
        [most * 24.0],
        unit="pod-hours",
        beside=f"{most} pods that are always there",
        at_most=1,
        note=f"the rows alone fill {rows * 8 / SLOTS / 3600:.2f} pod-hours; the fixed fleet has "
        f"{most * plain / 3600:.2f} while it works",
    )


def main() -> None:
    """Print simulated and seen curves side by side, and the figures."""
    for seen in SEEN:
        print(f"{seen.rows} rows, {seen.most} pods, {seen.cores} cores: simulated, seen")
        for part, values in seen.simulated(SEEDS).items():
            low, middle, high = min(values), median(values), max(values)
            print(f"  {part:12} {low:5.1f} {middle:5.1f} {high:5.1f}   {getattr(seen, part):5.1f}")
    for figure in measure():
        print(
            f"{figure.title}: {figure.value:.2f} {figure.unit}; "
            f"{figure.beside}: {figure.baseline:.2f}. {figure.note}"
        )


if __name__ == "__main__":
    main()
