"""`--tier batch` under the API's limit for waiting tokens, and the files that it leaves there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import Engine, select

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import RemoteBatch, Row
from rowfleet.ledger.records import Progress
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import in_chunks, stopping
from rowfleet.retry import RetryPolicy
from submitter.batch_api import followed, session
from submitter.batch_api.client import BatchAPI
from submitter.batch_api.followed import Limits
from submitter.batch_api.follower import Follower
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followed, "LEAST_LEASE", 0.5)
    monkeypatch.setattr(session, "SHOW_INTERVAL", 0.1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", connections=4)
    migrate(engine)
    yield engine
    engine.dispose()


def through(
    engine: Engine, standin: Standin, *, file_rows: int = 10, wait: bool = True, say: Any = None
) -> Progress:
    """Follow the batch `b` to its end, or as far as may be."""
    api = BatchAPI("sk-test", standin.base_url, model="gpt-5-mini")
    limits = Limits(file_rows, 200_000_000, 0.05, RetryPolicy(3, 0))
    follower = Follower(engine, api, "b", limits, say=say or (lambda _sentence: None))
    return session.follow(engine, follower, wait=wait, show=lambda _progress: None)


def answered(standin: Standin) -> list[int]:
    """Return the sizes of the batches that were not refused, in order."""
    made = [b for b in standin.batches() if b["status"] != "failed"]
    return [b["request_counts"]["total"] for b in made]


def test_no_file_is_sent_twice_for_want_of_room(engine: Engine, standin: Standin) -> None:
    standin.configure(batch_seconds=3600, batch_waiting=20)
    make_batch(engine, 80, tier="batch")
    while not any(b["status"] == "failed" for b in standin.batches()):
        through(engine, standin, wait=False)
    standin.configure(batch_seconds=0.3)
    end = through(engine, standin)
    assert (end.status, end.done) == ("finished", 80)
    files, made = standin.files(), standin.batches()
    assert files["uploads"] == 8
    assert answered(standin) == [10] * 8  # none is smaller for want of room
    assert len(made) <= 8 + 8 + 3  # refused at the start, and once for each part that ends
    assert files["kept"] == []
    with engine.connect() as connection:
        assert set(connection.execute(select(Row.attempts)).scalars()) == {1}
        assert set(connection.execute(select(Row.retries)).scalars()) == {0}
    assert Counter(standin.summary()["keys"].values()) == {1: 80}


def test_only_a_part_that_is_too_large_by_itself_is_split(ledger: Engine, standin: Standin) -> None:
    def say(sentence: str) -> None:
        if "completed" in sentence:  # from now on there is room for all
            standin.configure(batch_waiting=None)

    standin.configure(batch_waiting=10)
    make_batch(ledger, 32, tier="batch")  # neither part fits: the first to complete is a half
    end = through(ledger, standin, file_rows=16, say=say)
    assert (end.status, end.done) == ("finished", 32)
    assert sorted(answered(standin)) == [8, 8, 16]
    refusals = len(standin.batches()) - 3
    assert standin.files()["uploads"] <= 3 + refusals
    assert standin.files()["kept"] == []


def line(number: int) -> str:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    return json.dumps({"custom_id": f"other-{number}", **request})


def test_a_part_that_waits_for_another_sheet_s_is_not_split(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(batch_seconds=3600, batch_waiting=12)
    make_batch(ledger, 10, tier="batch")
    with openai.OpenAI(api_key="sk", base_url=standin.base_url) as client:
        content = "\n".join(map(line, range(10))).encode()
        file = client.files.create(file=("other.jsonl", content), purpose="batch")
        other = client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )
        waits = {"status": "", "parts": 0}
        while waits["status"] != "no room":
            assert through(ledger, standin, wait=False).running == 10
            with ledger.connect() as connection:
                found = connection.execute(select(RemoteBatch.remote_status)).scalars().all()
            waits = {"status": found[0], "parts": len(found)}
        assert waits["parts"] == 1
        client.batches.cancel(other.id)
        standin.configure(batch_seconds=0)
    end = through(ledger, standin)
    assert (end.status, end.done) == ("finished", 10)
    assert answered(standin) == [10, 10]  # the other's, and ours whole
    assert standin.files()["uploads"] == 2
    assert [f["filename"] for f in standin.files()["kept"] if f["purpose"] == "batch"] == [
        "other.jsonl"
    ]


def test_a_submitter_killed_while_parts_wait_goes_on_with_their_files(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(batch_seconds=3600, batch_waiting=10)
    make_batch(ledger, 30, tier="batch")
    for _ in range(5):
        assert through(ledger, standin, wait=False).total == 30
    assert standin.files()["uploads"] <= 3
    standin.configure(batch_waiting=None, batch_seconds=0)
    end = through(ledger, standin)
    assert (end.status, end.done) == ("finished", 30)
    assert standin.files()["uploads"] == 3
    assert standin.files()["kept"] == []
    assert max(standin.summary()["keys"].values()) == 1


class Killed(BaseException):
    """The process is gone: nothing that cleans up after errors sees it."""


def test_a_submitter_killed_when_a_part_gets_room_pays_for_nothing_twice(
    ledger: Engine, standin: Standin
) -> None:
    class Doomed(BatchAPI):
        def create(self, *args: Any, **options: Any) -> Any:
            super().create(*args, **options)
            raise Killed

    standin.configure(batch_seconds=3600, batch_waiting=10)
    make_batch(ledger, 30, tier="batch")
    while not any(b["status"] == "failed" for b in standin.batches()):
        through(ledger, standin, wait=False)
    standin.configure(batch_seconds=0)
    api = Doomed("sk-test", standin.base_url, model="gpt-5-mini")
    doomed = Follower(ledger, api, "b", Limits(10, 200_000_000, 0.05, RetryPolicy(3, 0)))
    assert doomed.batch.hold()
    with pytest.raises(Killed):
        doomed.run(wait=True)
    standin.configure(batch_seconds=0)
    assert through(ledger, standin).done == 30
    assert Counter(standin.summary()["keys"].values()) == {1: 30}
    assert standin.files()["uploads"] == 3
    assert standin.files()["kept"] == []


def test_files_of_a_cancelled_batch_are_deleted(ledger: Engine, standin: Standin) -> None:
    standin.configure(batch_seconds=3600, batch_waiting=10)
    make_batch(ledger, 30, tier="batch")
    through(ledger, standin, wait=False)
    assert standin.files()["kept"] != []
    with ledger.begin() as connection:
        assert stopping.cancel(connection, "b", by="us")
    in_chunks.sweep(ledger, "b", by="us")
    end = through(ledger, standin)
    assert end.status == "cancelled"
    assert set(statuses(ledger)) <= {"cancelled", "done"}
    assert standin.files()["kept"] == []


def test_files_that_can_t_be_deleted_stop_nothing_and_are_deleted_later(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(outages={"delete": ["server_error"] * 100})
    make_batch(ledger, 30, tier="batch")
    end = through(ledger, standin)
    assert (end.status, end.done) == ("finished", 30)
    assert len(standin.files()["kept"]) == 6  # three of requests, three of answers
    standin.configure(outages={})
    assert through(ledger, standin).status == "finished"
    assert standin.files()["kept"] == []
    with ledger.connect() as connection:
        assert all(connection.execute(select(RemoteBatch.finished_at)).scalars())


def test_a_remote_batch_that_fails_by_itself_is_tried_again(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(outages={"validate": ["server_error"]})
    make_batch(ledger, 10, tier="batch")
    assert through(ledger, standin).done == 10
    with ledger.connect() as connection:
        assert set(connection.execute(select(Row.retries)).scalars()) == {1}
    assert standin.files()["kept"] == []


def test_a_remote_batch_that_is_refused_stops_the_batch(ledger: Engine, standin: Standin) -> None:
    standin.configure(outages={"validate": ["billing_hard_limit_reached"]})
    make_batch(ledger, 10, tier="batch")
    end = through(ledger, standin)
    assert (end.status, end.pending) == ("stopped", 10)
    assert "billing_hard_limit_reached" in str(end.reason)
    assert standin.files()["kept"] == []


@pytest.mark.parametrize("step", ["upload", "create", "retrieve"])
def test_a_gateway_that_forbids_the_batch_api_stops_the_batch(
    ledger: Engine, standin: Standin, step: str
) -> None:
    standin.configure(outages={step: ["forbidden"]})
    make_batch(ledger, 10, tier="batch")
    end = through(ledger, standin)
    assert end.status == "stopped"
    assert "forbids the request (403)" in str(end.reason)


def test_a_file_of_which_no_row_is_answered_stops_the_batch_early(
    ledger: Engine, standin: Standin
) -> None:
    text = json.dumps({"error": {"message": "no such format"}})
    standin.configure(faults=[{"kind": "verbatim", "status": 400, "text": text}])
    make_batch(ledger, 100, tier="batch")
    end = through(ledger, standin, file_rows=100)
    assert end.status == "stopped"
    assert 0 < end.failed < 20
    assert "none was answered" in str(end.reason)
