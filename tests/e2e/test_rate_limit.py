"""A fleet that the API's rate limit lets do no more than a few calls has pods for those alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import jobs
from tests.e2e.cluster import Cluster, until
from tests.e2e.conftest import CHART, RELEASE, WORKERS
from tests.e2e.standin import Standin

#: 60 calls of 8 s a minute are 8 in flight; with the margin 9, in pods of two slots.
REQUESTS, LATENCY, SLOTS, MOST = 60, 8, 2, 10
ROWS = 150
#: Another than other tests ask: what the fleet has learnt of a model's limit, it keeps for a day.
MODEL = "gpt-5-nano"


@pytest.fixture
def limited(
    volume: Cluster, no_workers: Cluster, standin: Standin, values: dict[str, Any]
) -> Iterator[Cluster]:
    """The release with small pods, and an API that enforces a small limit."""
    small = {
        **values,
        "openai": {**values["openai"], "requestsPerMinute": REQUESTS},
        "worker": {**values["worker"], "slots": SLOTS},
        "autoscaling": {"maxReplicas": MOST},
    }
    volume.helm("upgrade", RELEASE, CHART, "--timeout", "300s", values=small)
    standin.configure(requests_per_minute=REQUESTS, burst_seconds=5, latency=LATENCY)
    try:
        yield volume
    finally:
        standin.configure(requests_per_minute=None, latency=3)
        volume.helm("upgrade", RELEASE, CHART, "--timeout", "300s", values=values)


def test_no_pods_are_started_that_could_only_wait(
    limited: Cluster, standin: Standin, images: dict[str, str], tmp_path: Path
) -> None:
    jobs.put_sheet(limited, tmp_path, "limited", ROWS)
    standin.clear()
    with limited.watching(WORKERS) as watch:
        limited.apply(jobs.job("limited", images["submitter"], "--model", MODEL))
        outcome = jobs.ended(limited, "limited", 600)
        until(lambda: not limited.get("pods", selector=WORKERS), 180)
    assert outcome[0] == "Complete", (outcome, jobs.log(limited, "limited"))
    calls = standin.calls()
    answered = [call for call in calls if call.outcome == "ok"]
    began = calls[0].time
    took = answered[-1].time - began
    print(
        f"\n{len(answered) * 60 / took:.0f} requests a minute, {len(calls) - len(answered)} refused"
    )
    print("second, pods ready: " + ", ".join(f"{at - began:.0f} {n}" for at, n in watch.ready))
    assert len(answered) == ROWS
    assert len(calls) - len(answered) <= 0.02 * len(calls)
    # The rows are enough for 75 pods, the limit for 4 to 5. It may be one more until calls have
    # shown how long they take, and for the minute in which an autoscaler holds on to what it has.
    assert max(ready for _, ready in watch.ready) <= 6
    assert _pods_at(watch.ready, began + took / 2) in (4, 5)
    assert len(answered) / took >= 0.9 * REQUESTS / 60  # and those are enough for all of it
    assert set(watch.exits.values()) == {0}, watch.exits


def _pods_at(ready: list[tuple[float, int]], moment: float) -> int:
    """Return how many pods were ready at that unix time."""
    return next((count for at, count in reversed(ready) if at <= moment), 0)
