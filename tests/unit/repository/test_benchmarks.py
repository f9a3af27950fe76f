"""The benchmarks are not run here; but what they import must be there."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import pytest

import benchmarks
from benchmarks.__main__ import BENCHMARKS
from benchmarks.autoscaling.simulation import scaled
from benchmarks.autoscaling.times import SLOTS


def test_every_module_can_be_imported() -> None:
    names = [found.name for found in pkgutil.walk_packages(benchmarks.__path__, "benchmarks.")]
    assert {f"benchmarks.cases.{place}" for place in BENCHMARKS} <= set(names)
    # In a process of its own: some are workers, which read their settings when imported.
    settings = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "sqlite:///unused.db"}
    settings["OPENAI_API_KEY"] = "sk-unused"
    subprocess.run(
        [sys.executable, "-c", f"import {', '.join(sorted(set(names) - {'benchmarks.__main__'}))}"],
        env={**os.environ, **settings},
        check=True,
        timeout=60,
    )


#: Rows, seconds for each, most pods, slots, cores that starting pods share.
BATCHES = [
    (1, 3.0, 4, 20, 2.0),
    (300, 3.0, 4, 20, 2.0),
    (601, 3.0, 8, 10, 0.5),
    (40_000, 8.0, 30, SLOTS, float("inf")),
]


@pytest.mark.parametrize(("rows", "latency", "most", "slots", "cores"), BATCHES)
@pytest.mark.parametrize("seed", range(5))
def test_a_simulated_fleet_is_bound_by_what_its_rows_take(
    rows: int, latency: float, most: int, slots: int, cores: float, seed: int
) -> None:
    course = scaled(rows, latency, most=most, slots=slots, cores=cores, seed=seed)
    takes = max(latency, rows * latency / (slots * most))
    assert course.last_answer - course.first_call >= takes - 1e-6  # of adding up
    assert course.pod_seconds >= rows * latency / slots
    assert course.gone > course.last_answer > course.first_call > 0  # no pod is left
    assert max(course.ready) <= most
    assert list(course.ready.values()) == sorted(course.ready.values())


@pytest.mark.parametrize("seed", range(5))
def test_more_simulated_pods_are_never_slower(seed: int) -> None:
    ends = [
        scaled(20_000, 8.0, most=most, seed=seed).last_answer for most in (1, 2, 5, 10, 50, 200)
    ]
    assert ends == sorted(ends, reverse=True)


def test_the_simulation_is_repeatable() -> None:
    assert scaled(300, 3.0, most=4, slots=20, seed=7) == scaled(300, 3.0, most=4, slots=20, seed=7)
