"""Whatever the API replies to one row, the rows beside it end as they would without it."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from celery.exceptions import Retry
from hypothesis import HealthCheck, example, given
from hypothesis import settings as fuzz
from hypothesis import strategies as st
from multidict import CIMultiDict
from sqlalchemy import Engine, func, select

from rowfleet.analysis import Answer, Question
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.openai_api.doubts import Doubts
from rowfleet.openai_api.headers import LONGEST_PAUSE
from rowfleet.recipes.recipe import Recipe
from rowfleet.retry import JITTER, RetryPolicy
from tests.support.ledger import ECHO, make_batch
from tests.support.no_texts import no_texts
from worker.analyzers.openai.analyzer import OpenAIAnalyzer
from worker.analyzers.openai.endpoint import Reply
from worker.analyzers.openai.limiter import Limiter
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row

LIMITS = Limits(RetryPolicy(3, 1), soft_time_limit=20)

#: Rows of a batch, and which of them gets the reply.
ROWS, VICTIM = 5, 2

ANSWER = {"answer": "x", "score": 1}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "input_tokens": 5, "output_tokens": 7}


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    choices = [{"index": 0, "finish_reason": "stop", "message": message}]
    return {"choices": choices, "usage": dict(USAGE), "service_tier": "default"}


def response(text: str) -> dict[str, Any]:
    item = {"type": "message", "content": [{"type": "output_text", "text": text}]}
    return {"status": "completed", "output": [item], "usage": dict(USAGE)}


MAKE: dict[str, Callable[[str], dict[str, Any]]] = {
    "chat_completions": completion,
    "responses": response,
}
#: A schema that lets any number and any text by: what else is wrong, no validator finds.
OUTPUT = {
    "type": "object",
    "properties": {"answer": {"type": "string"}, "score": {"type": "number"}},
}
RECIPES = {
    api: Recipe.model_validate({**ECHO.model_dump(mode="json"), "api": api, "output": OUTPUT})
    for api in MAKE
}


class Endpoint:
    """Replies what it is told to, as bytes: all that comes of a reply is behind it."""

    def __init__(self) -> None:
        self.reply: Reply | None = None

    async def post(self, path: str, body: bytes, seconds: float) -> Reply:
        if self.reply is not None:
            return self.reply
        api = "responses" if path.endswith("responses") else "chat_completions"
        return Reply(200, {}, json.dumps(MAKE[api](json.dumps(ANSWER))).encode())


class Analyzer(OpenAIAnalyzer):
    """The real one, with that endpoint."""

    def __init__(self) -> None:
        super().__init__("sk", "http://127.0.0.1:1/v1")
        self.endpoint = Endpoint()
        self._started()
        self._endpoint = self.endpoint


class Rig:
    """One process' books over a ledger, an analyzer for all rows but one, and one for that."""

    _ids = itertools.count()

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
        self.good, self.bad = Analyzer(), Analyzer()

    def run(self, reply: Reply, api: str) -> str:
        """Run a batch of which one row gets ``reply``, all at once. Return the batch's id."""
        batch_id = make_batch(
            self.engine, ROWS, batch_id=f"b{next(self._ids)}", recipe=RECIPES[api]
        )
        self.bad.endpoint.reply = reply
        self.bad._limiter = Limiter()  # a 429 pauses all that share one, as it should
        together = threading.Barrier(ROWS)
        doubts = Doubts()

        class Meeting:
            name = "openai"

            def __init__(self, analyzer: Analyzer) -> None:
                self._analyzer = analyzer

            def answer(self, question: Question) -> Answer:
                together.wait(30)  # all are claimed: nothing that is said now keeps one from that
                try:
                    return self._analyzer.answer(question)
                finally:
                    together.wait(30)  # and all are settled together

        def one(number: int) -> None:
            meeting = Meeting(self.bad if number == VICTIM else self.good)
            with suppress(RowFailed, Retry):  # for Celery; the ledger says what became of it
                run_row(
                    batch_id,
                    number,
                    books=self.books,
                    analyzer=lambda _: meeting,
                    limits=LIMITS,
                    doubts=doubts,
                    texts=no_texts,
                )

        with ThreadPoolExecutor(ROWS) as threads:
            list(threads.map(one, range(ROWS)))
        return batch_id


@pytest.fixture
def rig(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setattr(
        "worker.analyzers.openai.analyzer.LONGEST_WAIT", 0.05
    )  # a 429 is not waited for
    return Rig(engine)


NUMBERS = st.sampled_from(
    [
        "1e300",
        "nan",
        "inf",
        "-inf",
        "-1",
        "0",
        "1",
        "0.5",
        "9" * 400,
        "1e-300",
        "5m",
        "1e999s",
        "1_0",
    ]
) | st.floats().map(str)
VALUES = (
    NUMBERS
    | st.text(st.characters(min_codepoint=32, max_codepoint=0xDCFF), max_size=12)
    | st.sampled_from(
        [
            "Fri, 31 Dec 9999 23:59:59 GMT",
            "Thu, 01 Jan 1970 00:00:00 GMT",
            "Mon, 1 Foo 2020 x +9999999",
        ]
    )
)
NAMES = st.sampled_from(
    [
        "Retry-After",
        "retry-after-ms",
        "Content-Type",
        *(
            f"x-ratelimit-{fact}-{what}"
            for fact in ("limit", "remaining", "reset")
            for what in ("requests", "tokens")
        ),
    ]
)
STATUSES = st.sampled_from(
    [
        200,
        200,
        200,
        200,
        201,
        204,
        400,
        401,
        402,
        403,
        404,
        408,
        409,
        413,
        422,
        425,
        429,
        429,
        500,
        503,
    ]
) | st.integers(200, 599)
TEXT = st.text(st.characters(exclude_categories=()), max_size=12)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**19, -1, 2**63, 10**400, 1 << 31, float("nan"), float("inf"), 1e308])
    | st.floats()
    | TEXT
    | st.sampled_from(["a\0b", "\ud83d", "x" * 5_000, "stop", "length", "content_filter", "failed"])
)
ODD = st.recursive(
    SCALARS,
    lambda odd: st.lists(odd, max_size=3) | st.dictionaries(TEXT, odd, max_size=3),
    max_leaves=5,
)


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to each part of a JSON value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        yield (*path, name)
        if isinstance(part, (dict, list)):
            yield from paths(part, (*path, name))


@st.composite
def bodies(draw: st.DrawFn, api: str) -> bytes:
    """A reply's body: an answer with odd parts, an error, deep nesting, or any bytes."""
    kind = draw(st.integers(0, 9))
    if kind == 0:
        return draw(st.binary(max_size=100))
    if kind == 1:
        return draw(st.sampled_from([b"[", b'{"a":', b'{"choices":['])) * draw(
            st.sampled_from([50, 100, 1_000, 20_000])
        )
    if kind == 2:
        error = {"message": draw(ODD), "code": draw(ODD), "type": draw(ODD), "param": draw(ODD)}
        body: Any = {"error": draw(st.sampled_from([error, None]) | ODD)}
    else:
        answer = {**ANSWER, **draw(st.dictionaries(st.sampled_from(list(ANSWER)), ODD, max_size=2))}
        text = json.dumps(answer) if kind < 8 else draw(TEXT | st.just("[" * 5_000))
        body = MAKE[api](text)
        for path in draw(st.lists(st.sampled_from(list(paths(body))), max_size=2)):
            part = body
            try:
                for name in path[:-1]:
                    part = part[name]
                part[path[-1]] = draw(ODD)
            except (TypeError, LookupError):  # an earlier change has taken it away
                continue
    return json.dumps(body, ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")


@st.composite
def replies(draw: st.DrawFn) -> tuple[Reply, str]:
    api = draw(st.sampled_from(list(MAKE)))
    headers = CIMultiDict(draw(st.dictionaries(NAMES, VALUES, max_size=4)))
    return Reply(draw(STATUSES), headers, draw(bodies(api))), api


def said(content: str, status: int = 200, **headers: str) -> tuple[Reply, str]:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Reply(status, named, content.encode()), "chat_completions"


@fuzz(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(replies())
@example(said(json.dumps(completion('{"answer": "x", "score": NaN}'))))
@example(said(json.dumps(completion('{"answer": "x", "score": 1e999}'))))
@example(said(json.dumps(completion('{"answer": "a\\u0000\\ud83d", "score": 1}'))))
@example(said(json.dumps(completion("[" * 20_000))))
@example(said("[" * 20_000))
@example(said('{"error": {"message": "cut \\ud83d", "code": "bad"}}', 400))
@example(said("{}", 503, retry_after="1e300"))
@example(said("{}", 429, retry_after="nan"))
@example(said(json.dumps(completion(json.dumps(ANSWER)) | {"usage": {"prompt_tokens": 10**19}})))
@example(said(json.dumps(completion(json.dumps(ANSWER)) | {"usage": {"prompt_tokens": -(10**6)}})))
@example(said("{}", x_ratelimit_limit_tokens="1e-300", x_ratelimit_reset_tokens="9e999s"))
def test_no_reply_to_one_row_changes_the_end_of_another(
    rig: Rig, replied: tuple[Reply, str]
) -> None:
    batch_id = rig.run(*replied)
    assert rig.books.running() == 0
    assert not rig.books.is_stuck()
    with rig.engine.connect() as connection:
        rows = connection.execute(
            select(
                Row.status,
                Row.output,
                Row.calls,
                Row.lease_until,
                Row.due_at < in_seconds((1 + JITTER) * LONGEST_PAUSE + 60),
                Row.prompt_tokens,
            )
            .where(Row.batch_id == batch_id)
            .order_by(Row.number)
        ).all()
        sums = [Tally.done, Tally.calls, Tally.prompt_tokens, Tally.completion_tokens]
        done, calls, prompt, completed = connection.execute(
            select(*(func.sum(column) for column in sums)).where(Tally.batch_id == batch_id)
        ).one()
        batch = connection.execute(select(Batch.status).where(Batch.id == batch_id)).scalar_one()
    victim = rows[VICTIM]
    others = [row for number, row in enumerate(rows) if number != VICTIM]
    for status, output, paid, *_ in others:
        assert (status, output, paid) == ("done", ANSWER, 1)
    assert done == len(others) + (victim[0] == "done")
    assert calls == len(others) + victim[2]
    assert prompt == 5 * len(others) + victim[5]
    assert completed >= 7 * len(others)
    assert victim[0] in ("done", "failed", "pending")
    assert victim[3] is None  # no lease
    if victim[0] == "pending":  # it is tried again, not later than a bound; or its batch stands
        assert victim[4] in (True, None)
        assert victim[4] or batch == "stopped"
