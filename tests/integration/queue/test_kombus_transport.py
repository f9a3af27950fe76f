"""With ROWFLEET_TRANSPORT=kombu a worker does the same on kombu's own transport, only slower."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable

import pytest
import redis
from sqlalchemy import Engine

from rowfleet.settings import Settings
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses
from tests.support.workers import Start, all_done, feed
from worker.transport import _TAKE

#: The name of the transport's script in Redis.
SCRIPT = hashlib.sha1(_TAKE.encode(), usedforsecurity=False).hexdigest()


def takes_by_script(broker: redis.Redis) -> bool:
    """Tell whether the worker's own transport has run on this broker since it was wiped."""
    return broker.script_exists(SCRIPT) == [True]


@pytest.fixture
def broker(redis_url: str) -> redis.Redis:
    client = redis.Redis.from_url(redis_url)
    client.script_flush()
    return client


@pytest.mark.parametrize("transport", ["kombu", "rowfleet"])
def test_every_row_ends_with_one_call_for_each_try(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    broker: redis.Redis,
    eventually: Callable[..., None],
    transport: str,
) -> None:
    standin.configure(
        latency=0.05,
        faults=[
            {"kind": "refusal", "rows": [3]},
            {"kind": "server_error", "rows": [5], "attempts": 1},
        ],
    )
    make_batch(ledger, 30, queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(fleet.model_copy(update={"transport": transport}))
    eventually(lambda: Counter(statuses(ledger)) == {"done": 29, "failed": 1}, 120)
    eventually(lambda: queue.depth() == (0, 0))
    assert standin.summary()["calls"] == 31
    assert takes_by_script(broker) == (transport == "rowfleet")
    worker.terminate()
    assert worker.wait(60) == 0


def test_row_outlasts_the_visibility_timeout_and_survives_sigkill_of_its_worker(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    broker: redis.Redis,
    eventually: Callable[..., None],
) -> None:
    plain = fleet.model_copy(update={"transport": "kombu"})
    standin.configure(latency=60)
    make_batch(ledger, 4, queue=fleet.queue)
    queue = feed(ledger, fleet)
    worker = start(plain)
    standin.wait_until(lambda summary: summary["calls"] == 4)
    index = f"{fleet.queue}.unacked_index"
    taken = dict(broker.zrange(index, 0, -1, withscores=True))
    assert len(taken) == 4
    # The worker goes on saying that it holds them: without that another one gets them.
    until = max(taken.values()) + fleet.visibility_timeout
    eventually(lambda: min(dict(broker.zrange(index, 0, -1, withscores=True)).values()) > until, 60)
    assert time.time() > until
    assert queue.depth() == (0, 4)
    worker.kill()
    worker.wait()
    standin.configure(latency=0.05)
    start(plain)
    eventually(lambda: all_done(ledger), 120)
    assert standin.summary()["calls"] == 8
    eventually(lambda: queue.depth() == (0, 0))
