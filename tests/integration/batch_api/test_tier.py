"""`--tier batch`: rows through the Batch API, and what becomes of them whatever happens."""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import openai
import pytest
from sqlalchemy import Engine, select, update

from rowfleet import prices
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import RemoteBatch, Row
from rowfleet.ledger.records import Progress
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import (
    batch_api_parts,
    claiming,
    recording,
    settling,
    stopping,
)
from rowfleet.queue.client import Queue
from rowfleet.recipes.recipe import Recipe
from rowfleet.retry import RetryPolicy
from rowfleet.settings import Settings
from submitter.batch_api import answers, followed, session
from submitter.batch_api.client import BatchAPI, Remote
from submitter.batch_api.followed import Limits
from submitter.batch_api.follower import Follower
from tests.standin import Standin
from tests.support.ledger import ECHO, make_batch, statuses

Run = Callable[..., subprocess.CompletedProcess[str]]
Eventually = Callable[..., None]


@pytest.fixture(autouse=True)
def _short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a dead follower leaves is taken over soon."""
    monkeypatch.setattr(followed, "LEAST_LEASE", 0.5)
    monkeypatch.setattr(session, "SHOW_INTERVAL", 0.1)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Engine]:
    """A ledger on SQLite, for what is the API's side of things."""
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", connections=4)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def files_left(standin: Standin) -> Callable[[], list[str]]:
    """Names of the files that the test has left with the API."""
    before = {file["id"] for file in standin.files()["kept"]}
    return lambda: [f["filename"] for f in standin.files()["kept"] if f["id"] not in before]


def follower(
    engine: Engine, standin: Standin, *, api: type[BatchAPI] = BatchAPI, **limits: Any
) -> Follower:
    defaults: dict[str, Any] = {
        "file_rows": 10,
        "file_bytes": 200_000_000,
        "poll": 0.05,
        "retries": RetryPolicy(3, 0),
    }
    return Follower(
        engine,
        api("sk-test", standin.base_url, model="gpt-5-mini"),
        "b",
        Limits(**{**defaults, **limits}),
    )


def through(engine: Engine, standin: Standin, **limits: Any) -> Progress:
    """Bring the batch `b` to its end."""
    return session.follow(
        engine, follower(engine, standin, **limits), wait=True, show=lambda _progress: None
    )


def rows(engine: Engine) -> dict[int, Any]:
    with engine.connect() as connection:
        found = connection.execute(
            select(Row.number, Row.status, Row.error, Row.attempts, Row.retries, Row.output)
        )
        return {row.number: row for row in found}


def calls(standin: Standin) -> Counter[int]:
    """Number of calls for a row → rows with so many."""
    return Counter(standin.summary()["keys"].values())


@pytest.mark.parametrize("api", ["chat_completions", "responses"])
def test_every_row_comes_back_from_files_of_limited_size(
    engine: Engine, standin: Standin, made: Callable[[], list[dict[str, Any]]], api: str
) -> None:
    recipe = Recipe.model_validate({**ECHO.model_dump(mode="json"), "api": api})
    make_batch(engine, 25, recipe=recipe, tier="batch")
    end = through(engine, standin)
    assert (end.status, end.done, end.running) == ("finished", 25, 0)
    assert [b["request_counts"]["total"] for b in made()] == [10, 10, 5]
    assert calls(standin) == {1: 25}
    for row in rows(engine).values():
        assert ECHO.problem_with(row.output) is None
    assert end.prompt_tokens == standin.summary()["prompt_tokens"]
    at_list_price = prices.dollars(
        "gpt-5-mini", prompt_tokens=end.prompt_tokens, completion_tokens=end.completion_tokens
    )
    assert end.cost_usd == pytest.approx(at_list_price / 2, rel=1e-3)


def test_a_file_is_no_larger_than_it_may_be(
    ledger: Engine, standin: Standin, made: Callable[[], list[dict[str, Any]]]
) -> None:
    standin.configure(batch_bytes=4_000)
    make_batch(ledger, 20, tier="batch")
    assert through(ledger, standin, file_rows=100, file_bytes=4_000).done == 20
    sizes = [b["request_counts"]["total"] for b in made()]
    assert sum(sizes) == 20
    assert len(sizes) > 1
    assert {row.attempts for row in rows(ledger).values()} == {1}


def test_errors_and_what_expired_come_back_to_their_rows(
    engine: Engine, standin: Standin, made: Callable[[], list[dict[str, Any]]]
) -> None:
    standin.configure(
        faults=[
            {"kind": "server_error", "rows": [3], "attempts": 1},
            {"kind": "refusal", "rows": [4]},
            {"kind": "invalid_json", "rows": [5], "attempts": 1},
            {"kind": "wrong_type", "rows": [6]},
            {"kind": "hang", "rows": [7], "attempts": 1},
            {"kind": "rate_limit", "rows": [8]},
            {"kind": "hang", "rows": [9]},
        ]
    )
    make_batch(engine, 10, tier="batch")
    end = through(engine, standin, retries=RetryPolicy(2, 0))
    assert (end.status, end.done, end.failed) == ("finished", 6, 4)
    found = rows(engine)
    assert [n for n, row in found.items() if row.status == "failed"] == [4, 6, 8, 9]
    assert "refused" in found[4].error
    assert found[6].error.startswith("the answer was not valid, twice")
    assert "429" in found[8].error
    assert "tried 3 times" in found[8].error
    assert "expired" in found[9].error
    assert [found[n].attempts for n in range(10)] == [1, 1, 1, 2, 1, 2, 2, 2, 3, 3]
    assert all(found[n].error is None for n in (3, 5, 7))
    assert [b["status"] for b in made()] == ["expired", "expired", "expired"]
    assert calls(standin) == {1: 4, 2: 4, 3: 2}


def test_what_one_answer_cost_is_kept_when_it_was_not_valid(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(faults=[{"kind": "wrong_type"}])
    make_batch(ledger, 2, tier="batch")
    end = through(ledger, standin)
    assert end.failed == 2
    assert end.prompt_tokens == standin.summary()["prompt_tokens"] > 0


def test_files_that_an_older_version_left_are_deleted(
    ledger: Engine,
    standin: Standin,
    files_left: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_batch(ledger, 12, tier="batch")
    with monkeypatch.context() as patch:
        patch.setattr(BatchAPI, "delete", lambda _api, _file_id: None)  # it deleted none
        assert through(ledger, standin).done == 12
    with ledger.begin() as connection:  # and a part that had ended kept the state of its batch
        connection.execute(update(RemoteBatch).values(remote_status="completed"))
    assert len(files_left()) == 4
    end = through(ledger, standin)
    assert (end.status, end.done, standin.summary()["calls"]) == ("finished", 12, 12)
    assert files_left() == []
    with ledger.connect() as connection:
        ended = connection.scalars(select(RemoteBatch.finished_at)).all()
    assert len(ended) == 2
    assert None not in ended


def test_an_answer_that_does_not_say_what_it_used_has_an_unknown_cost(
    ledger: Engine, standin: Standin
) -> None:
    standin.configure(usage={"prompt_tokens": 0})
    make_batch(ledger, 2, tier="batch")
    end = through(ledger, standin)
    assert (end.done, end.cost_usd) == (2, None)
    with ledger.connect() as connection:
        assert set(connection.scalars(select(Row.cost_usd))) == {None}


STEPS = ["upload", "create", "retrieve", "download", "delete"]


class Killed(BaseException):
    """The process is gone: nothing that cleans up after errors sees it."""


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_submitter_killed_anywhere_pays_for_nothing_twice(
    ledger: Engine,
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    files_left: Callable[[], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    after: bool,
) -> None:
    def dying(self: BatchAPI, *args: Any, **options: Any) -> Any:
        if after:
            getattr(BatchAPI, step)(self, *args, **options)
        raise Killed

    monkeypatch.setattr(answers, "SETTLE_GROUP", 4)
    make_batch(ledger, 15, tier="batch")
    doomed = follower(ledger, standin, api=type("Doomed", (BatchAPI,), {step: dying}))
    for _ in range(2):
        assert doomed.batch.hold()
        with pytest.raises(Killed):
            doomed.run(wait=True)
    end = through(ledger, standin)
    assert (end.status, end.done) == ("finished", 15)
    assert [b["request_counts"]["total"] for b in made()] == [10, 5]
    assert calls(standin) == {1: 15}
    assert {row.attempts for row in rows(ledger).values()} == {1}
    assert files_left() == []


def test_a_submitter_killed_while_it_settles_goes_on(
    engine: Engine, standin: Standin, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, groups = settling.settle, iter(range(100))

    def settle(*args: Any, **options: Any) -> Any:
        if next(groups) == 1:
            raise Killed
        return real(*args, **options)

    monkeypatch.setattr(answers, "SETTLE_GROUP", 4)
    make_batch(engine, 10, tier="batch")
    with monkeypatch.context() as patch:
        patch.setattr(settling, "settle", settle)
        doomed = follower(engine, standin)
        assert doomed.batch.hold()
        with pytest.raises(Killed):
            doomed.run(wait=True)
    assert statuses(engine).count("done") == 4
    end = through(engine, standin)
    assert (end.done, calls(standin)) == (10, {1: 10})
    assert end.prompt_tokens == standin.summary()["prompt_tokens"]


@pytest.mark.parametrize("step", ["upload", "create", "list", "retrieve", "content", "delete"])
def test_an_api_that_stumbles_is_asked_again(
    ledger: Engine,
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    files_left: Callable[[], list[str]],
    step: str,
) -> None:
    outages = {step: ["server_error", "rate_limit", "unavailable"]}
    if step == "list":
        outages["create"] = ["drop"]
    standin.configure(outages=outages)
    make_batch(ledger, 3, tier="batch")
    assert through(ledger, standin).done == 3
    assert len(made()) == 1
    assert calls(standin) == {1: 3}
    if step != "delete":
        assert files_left() == []


@pytest.mark.parametrize("step", ["upload", "create", "retrieve", "delete"])
def test_an_answer_that_gets_lost_is_not_paid_for_again(
    ledger: Engine,
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    files_left: Callable[[], list[str]],
    step: str,
) -> None:
    standin.configure(outages={step: ["drop"]})
    make_batch(ledger, 3, tier="batch")
    assert through(ledger, standin).done == 3
    assert len(made()) == 1
    assert calls(standin) == {1: 3}
    assert files_left() == []


@pytest.mark.parametrize("kind", ["page", "empty"])
@pytest.mark.parametrize(
    "step", ["upload", "create", "list", "retrieve", "content", "delete", "list_files"]
)
def test_a_gateway_s_page_is_taken_for_no_reply(
    ledger: Engine,
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    files_left: Callable[[], list[str]],
    step: str,
    kind: str,
) -> None:
    outages = {step: [kind] * 2}
    if step == "list":  # whether the batch was made is asked for
        outages["create"] = ["drop"]
    if step == "list_files":
        outages["upload"] = ["drop"]
    standin.configure(outages=outages)
    make_batch(ledger, 3, tier="batch")
    assert through(ledger, standin).done == 3
    assert len(made()) == 1
    assert calls(standin) == {1: 3}
    assert {row.attempts for row in rows(ledger).values()} == {1} or step == "upload"
    assert files_left() == []


def test_answers_whose_file_is_not_named_are_waited_for(
    ledger: Engine, standin: Standin, made: Callable[[], list[dict[str, Any]]]
) -> None:
    unnamed = iter(range(2))

    class Slow(BatchAPI):
        """A gateway that counts the answers before it has their file."""

        def retrieve(self, remote_id: str) -> Remote:
            seen = super().retrieve(remote_id)
            if seen.completed and next(unnamed, None) is not None:
                return replace(seen, output_file_id=None)
            return seen

    make_batch(ledger, 3, tier="batch")
    assert through(ledger, standin, api=Slow).done == 3
    assert next(unnamed, None) is None
    assert len(made()) == 1
    assert calls(standin) == {1: 3}


@pytest.mark.parametrize("step", ["upload", "create"])
def test_a_used_up_quota_stops_the_batch_until_it_is_mended(
    ledger: Engine, standin: Standin, step: str
) -> None:
    standin.configure(outages={step: ["insufficient_quota"]})
    make_batch(ledger, 3, tier="batch")
    end = through(ledger, standin)
    assert (end.status, end.pending) == ("stopped", 3)
    assert "quota is used up" in str(end.reason)
    with ledger.begin() as connection:
        assert stopping.reopen(connection, "b")
        recording.finish_loading(connection, "b")
    assert through(ledger, standin).done == 3
    assert calls(standin) == {1: 3}


def test_a_wrong_key_stops_the_batch(ledger: Engine, standin: Standin) -> None:
    standin.configure(api_key="sk-right")
    make_batch(ledger, 3, tier="batch")
    end = through(ledger, standin)
    assert end.status == "stopped"
    assert "OPENAI_API_KEY was rejected" in str(end.reason)
    assert "sk-test" not in str(end.reason)


def test_a_model_that_is_not_there_stops_the_batch(ledger: Engine, standin: Standin) -> None:
    standin.configure(models=["gpt-9"])
    make_batch(ledger, 3, tier="batch")
    end = through(ledger, standin)
    assert (end.status, end.pending) == ("stopped", 3)
    assert "There is no model gpt-5-mini" in str(end.reason)


@pytest.mark.parametrize("room", [10, 4])
def test_fewer_rows_wait_at_the_api_if_it_takes_no_more(
    ledger: Engine, standin: Standin, room: int
) -> None:
    standin.configure(batch_waiting=room)
    make_batch(ledger, 25, tier="batch")
    end = through(ledger, standin)
    assert (end.status, end.done) == ("finished", 25)
    assert calls(standin) == {1: 25}
    assert {row.retries for row in rows(ledger).values()} == {0}


def test_a_remote_batch_that_another_program_cancels_stops_the_batch(
    ledger: Engine, standin: Standin, made: Callable[[], list[dict[str, Any]]]
) -> None:
    standin.configure(batch_seconds=3600)
    make_batch(ledger, 100, tier="batch")
    end = session.follow(
        ledger, follower(ledger, standin, file_rows=100), wait=False, show=lambda _progress: None
    )
    assert end.running == 100
    with openai.OpenAI(api_key="sk", base_url=standin.base_url) as client:
        client.batches.cancel(made()[0]["id"])
    standin.configure(batch_seconds=0)
    end = through(ledger, standin)
    assert (end.status, end.done + end.pending) == ("stopped", 100)
    assert "was cancelled at the API" in str(end.reason)
    assert end.done == standin.summary()["calls"]
    with ledger.begin() as connection:
        assert stopping.reopen(connection, "b")
        recording.finish_loading(connection, "b")
    assert through(ledger, standin).done == 100
    assert calls(standin) == {1: 100}


def test_one_process_at_a_time_follows_a_batch(ledger: Engine, standin: Standin) -> None:
    make_batch(ledger, 3, tier="batch")
    first, second = follower(ledger, standin), follower(ledger, standin)
    first.batch.lease = 60
    assert first.batch.hold()
    left = session.follow(ledger, second, wait=False, show=lambda _progress: None)
    assert left.pending == 3
    first.batch.release()
    assert through(ledger, standin).done == 3


def test_feeders_and_workers_leave_such_a_batch_alone(engine: Engine, settings: Settings) -> None:
    make_batch(engine, 3, queue=settings.queue, tier="batch")
    feeder = Feeder(engine, Queue(settings), window=100, redelivery=0)
    with engine.begin() as connection:
        batch_api_parts.take_rows(connection, "b", 1, claim="token", worker="batch-api")
    assert feeder.feed() == feeder.feed(only="b") == 0
    assert feeder.repair() == feeder.repair(only="b") == 0
    assert statuses(engine) == ["running", "pending", "pending"]
    with engine.begin() as connection:
        assert not claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=60)
