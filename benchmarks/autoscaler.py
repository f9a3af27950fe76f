"""A fleet that KEDA scales, second by second, and what it does with a batch, beside a fixed one.

    python -m benchmarks.autoscaler

The rules are KEDA's and the HPA's as the chart sets them; times of a cluster are those measured on
one (docs/run-on-kubernetes.md). Rows are taken as alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from benchmarks.figures import Figure

#: The chart's values: seconds between KEDA's looks, and of its cooldown; rows for a pod.
POLL, COOLDOWN, SLOTS = 5.0, 30.0, 100
#: The HPA's: seconds between its looks; most times as many pods, and most more, in one of them.
SYNC, GROWTH, MORE = 15.0, 11, 20
#: When there are fewer to be: seconds for which the most that was wanted is kept; then in each so
#: many seconds half of them go, or so many.
STABILIZATION, STEP_DOWN, FEWER = 60.0, 30.0, 2
#: Seconds from the creation of a pod to its first call, from the apply of a Job to its first rows
#: on the queue, and from the end of a row to the next one's start in the same slot.
POD_START, SUBMIT, BETWEEN = 2.5, 2.5, 0.1
TICK = 0.1


@dataclass(slots=True)
class Course:
    """What became of a batch. Times are seconds from the apply."""

    first_call: float = 0.0
    #: When there were first so many ready pods.
    ready: dict[int, float] = field(default_factory=dict)
    last_answer: float = 0.0
    gone: float = 0.0
    pod_seconds: float = 0.0


def scaled(
    rows: int, latency: float, *, most: int, slots: int = SLOTS, phase: float = 0.0
) -> Course:
    """Run a batch on a fleet that starts from nothing.

    ``phase`` is when after the apply KEDA and the HPA first look.
    """
    course, tick = Course(), 0
    pods: list[float] = []  # when each is ready
    ends: dict[int, int] = {}  # tick → slots whose row ends then
    left, busy, active = rows, 0, 0.0
    wanted: list[tuple[float, int]] = []
    next_poll, next_sync, next_down = phase, phase, 0.0
    while True:
        now = tick * TICK
        if ended := ends.pop(tick, 0):
            busy -= ended
            if not left and not busy:
                course.last_answer = now
        ready = sum(at <= now for at in pods)
        if ready and ready not in course.ready:
            course.ready[ready] = now
        begin = min(left, ready * slots - busy) if now >= SUBMIT else 0
        if begin > 0:
            course.first_call = course.first_call or now
            left, busy = left - begin, busy + begin
            end = tick + round((latency + BETWEEN) / TICK)
            ends[end] = ends.get(end, 0) + begin
        metric = left + busy if now >= SUBMIT else 0
        if now >= next_poll:
            next_poll += POLL
            active = now if metric else active
            if metric and not pods:
                pods.append(now + POD_START)
                next_sync = now + SYNC * 0.4  # the HPA is active from then on
            elif pods and now - active > COOLDOWN + TICK / 2:
                course.gone = now
                return course
        if pods and now >= next_sync:
            next_sync += SYNC
            target = min(most, max(1, math.ceil(metric / slots)))
            wanted = [(at, n) for at, n in wanted if at > now - STABILIZATION] + [(now, target)]
            highest = max(n for _, n in wanted)
            if target > len(pods):
                count = min(target, max(len(pods) * GROWTH, len(pods) + MORE))
                pods += [now + POD_START] * (count - len(pods))
            elif highest < len(pods) and now >= next_down:
                next_down = now + STEP_DOWN
                # Idle ones go first; one that runs rows goes on until they have ended.
                del pods[max(highest, min(len(pods) // 2, len(pods) - FEWER), 1) :]
        course.pod_seconds += TICK * max(len(pods), math.ceil(busy / slots))
        tick += 1


def fixed(rows: int, latency: float, *, pods: int) -> float:
    """Return the seconds that a fleet of ``pods`` which is there already takes."""
    return SUBMIT + math.ceil(rows / (pods * SLOTS)) * (latency + BETWEEN)


def measure(_rounds: int = 1) -> Iterator[Figure]:
    """Yield makespan and pod-hours of 100,000 and of 1,000,000 rows of 8 s."""
    for rows in (100_000, 1_000_000):
        for most in (10, 100):
            course = scaled(rows, 8.0, most=most)
            plain = fixed(rows, 8.0, pods=most)
            yield Figure(
                f"simulated_{rows}_{most}",
                f"simulated: {rows:,} rows of 8 s, at most {most} pods",
                course.last_answer / 60,
                "min",
                "≤ 1.1 ×",
                course.last_answer <= 1.1 * plain,
                f"{most} pods that are always there",
                plain / 60,
                course.last_answer / plain,
                note=f"{course.pod_seconds / 3600:.2f} pod-hours; the fixed fleet has "
                f"{most * 24:,} a day",
            )


def main() -> None:
    """Print the curve that a cluster was measured for, and the figures."""
    courses = [scaled(300, 3.0, most=4, slots=20, phase=phase / 2) for phase in range(10)]
    for what, seconds, seen in (
        ("first call after the apply", [c.first_call for c in courses], 7.0),
        ("four pods ready after the apply", [c.ready[4] for c in courses], 12.7),
        ("no pod after the last answer", [c.gone - c.last_answer for c in courses], 31.4),
    ):
        print(
            f"{what}: {min(seconds):.1f} to {max(seconds):.1f} s, median {median(seconds):.1f}; "
            f"seen on a cluster: {seen} s"
        )
    for figure in measure():
        print(f"{figure.title}: {figure.value:.1f} min, fixed {figure.baseline:.1f}; {figure.note}")


if __name__ == "__main__":
    main()
