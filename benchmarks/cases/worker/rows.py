"""What a row costs one worker process: CPU, and rows a second where calls take 0.2 s."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import services
from benchmarks.harness.figures import Figure, compared, interleaved
from benchmarks.harness.fleet import WARM_UP, Fleet, fleet, span

SLOTS, LATENCY, ROWS = 100, 0.2, 4_000


def measure(rounds: int) -> Iterator[Figure]:
    """Yield CPU a row and rows a second, each beside a bare script's."""
    cpu: dict[str, list[float]] = {"ours": [], "bare": []}
    with fleet(LATENCY) as made:

        def ours() -> float:
            made.start("-c", str(SLOTS))
            made.warmed_up()
            before = made.workers[0].cpu()
            made.wait(made.batch(ROWS))
            cpu["ours"].append((made.workers[0].cpu() - before) / ROWS * 1000)
            made.stop()
            return ROWS / span(made.standin.calls())

        def bare() -> float:
            ran = bare_calls(made)
            cpu["bare"].append(ran["cpu_seconds"] / ROWS * 1000)
            return ROWS / ran["seconds"]

        fast, plain = interleaved(rounds, ours, bare, warm_up=False)
    yield compared(
        "row_cpu",
        "CPU a row, worker with all its threads",
        cpu["ours"],
        cpu["bare"],
        unit="ms",
        beside="a bare script with the SDK and threads",
        at_most=1.5,
    )
    yield compared(
        "row_rate",
        f"rows a second, one process, {LATENCY} s calls, {SLOTS} slots",
        fast,
        plain,
        unit="rows/s",
        beside="a bare script with the SDK and threads",
        at_least=0.8,
    )


def bare_calls(made: Fleet, threads: int = SLOTS, rows: int = ROWS) -> dict[str, float]:
    """Run the bare script against the fleet's API; return what it measured of itself."""
    made.standin.clear()
    words = ["-m", "benchmarks.baselines.bare_calls", str(threads), str(WARM_UP), str(rows)]
    env = services.environment(made.environment())
    run = subprocess.run([sys.executable, *words], env=env, stdout=subprocess.PIPE, check=True)
    measured: dict[str, float] = json.loads(run.stdout)
    return measured
