"""What a simulated fleet that KEDA scales does with a batch, beside a fixed one.

    python -m benchmarks.cases.autoscaler

`benchmarks/autoscaling/` holds the simulation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks.autoscaling.simulation import fixed, scaled
from benchmarks.autoscaling.times import SLOTS
from benchmarks.harness.figures import Figure, compared

#: Times that a batch is simulated, each with other phases: small ones, large ones.
SEEDS, LARGE_SEEDS = 200, 20


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
#: on one commit and a machine with nothing else to do. No time of benchmarks/autoscaling/times.py
#: comes from the second shape.
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
