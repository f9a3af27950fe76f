"""A hostile API and a hostile queue: they cost no row but those they answer."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from tests.chaos.fleet import Fleet
from tests.chaos.verdict import conclude
from tests.support.garbage import GARBAGE


def completion(**message: Any) -> str:
    """Return a chat completion's text; json.dumps writes NaN and halves of surrogate pairs."""
    message = {"role": "assistant", "content": None, **message}
    usage = {"prompt_tokens": 10, "completion_tokens": 5}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return json.dumps({"choices": choices, "usage": usage})


#: The reply to a row, always or once, and a part of the reason that it fails with, if it does.
POISONS: list[tuple[dict[str, Any], str | None]] = [
    ({"text": completion(content='{"estimated_refund": NaN}')}, "not valid, twice"),
    ({"text": completion(content="[" * 20_000)}, "not valid, twice"),
    ({"text": "[" * 20_000}, "could not be read"),
    ({"text": completion(refusal="no \ud83d\0")}, "the model refused"),
    ({"status": 400, "text": '{"error": {"message": "cut \\ud83d", "code": 5}}'}, "400"),
    ({"status": 503, "text": "[1e999]", "headers": {"Retry-After": "nan"}, "attempts": 1}, None),
    ({"text": completion(content="{}")[:-30] + "1e999}}", "attempts": 1}, None),
]


@pytest.mark.chaos
def test_a_poisonous_reply_in_every_tenth_row(fleet: Fleet) -> None:
    rows = 140
    poisoned = list(range(fleet.rng.randrange(10), rows, 10))
    faults, failed = [], {}
    fleet.environment["ROWFLEET_MAX_RETRIES"] = "1"
    sheet = fleet.sheet(rows)
    for at, row in enumerate(poisoned):
        reply, reason = POISONS[at % len(POISONS)]
        faults.append({"kind": "verbatim", "rows": [row], **reply})
        if reason is not None:
            failed[sheet.batch_id, row] = reason
        if reason == "not valid, twice":
            fleet.excused[sheet.batch_id, row] += 1  # it is asked once more, in the same attempt
    fleet.standin.configure(latency=[0.05, 0.3], faults=faults)
    fleet.start_worker()
    fleet.start_worker()
    with fleet.harm(len(poisoned)):
        fleet.submit(sheet)
    conclude(fleet, failed=failed)


@pytest.mark.chaos
def test_garbage_on_the_queue(fleet: Fleet) -> None:
    """On both lists and among the notes of what is delivered; and a worker is killed amid it."""
    workers = [fleet.start_worker(), fleet.start_worker()]
    fleet.submitted(240)
    queue = fleet.environment["ROWFLEET_QUEUE"]
    broker: Any = redis.Redis.from_url(fleet.environment["REDIS_URL"])
    pushed = 0
    for step in range(4):
        fleet.at_some_moment(0.1 + 0.15 * step, 0.2 + 0.15 * step)
        with fleet.harm():
            for name in (queue, f"{queue}.urgent"):
                some = fleet.rng.sample(GARBAGE, 8)
                broker.lpush(name, *some[:4])
                broker.rpush(name, *some[4:])
            notes = {f"{step}-{at}": fleet.rng.choice(GARBAGE) for at in range(4)}
            broker.hset(f"{queue}.unacked", mapping=notes)
            broker.zadd(f"{queue}.unacked_index", dict.fromkeys(notes, 1.0))
            pushed += 20
            if step == 2:
                fleet.kill(workers[0])
                fleet.start_worker()
    conclude(fleet)
    # A message that the killed worker had just fetched is in no list; it names no row.
    fleet.until(lambda: int(broker.get(f"{queue}.dead_letters_count") or 0) >= pushed - 1, 40)
