"""One row that the ledger or a worker can't take: it ends by itself, and no other ends with it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from billiard.exceptions import SoftTimeLimitExceeded
from celery.exceptions import Retry
from sqlalchemy import Engine, event, func, select, text, update

from rowfleet import retry
from rowfleet.analysis import Answer, Question, Transient, Usage
from rowfleet.ledger.clock import in_seconds
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row, Tally
from rowfleet.ledger.queries import batch_records, progress
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, settling
from rowfleet.openai_api.doubts import Doubts
from rowfleet.retry import RetryPolicy
from tests.support.ledger import ECHO, make_batch, statuses
from tests.support.no_texts import no_texts
from worker.assignment import Assignment, Refused, ResultRefused
from worker.bookkeeper import Bookkeeper
from worker.row import Limits, RowFailed, run_row

LIMITS = Limits(RetryPolicy(3, 1), soft_time_limit=60)

#: Outcomes that the ledger refuses, each for a reason of its own.
POISONS: dict[str, dict[str, Any]] = {
    "NaN in an answer": {"output": {"score": float("nan")}},
    "what is no JSON": {"output": {"score": object()}},
    "tokens over bigint": {"output": {}, "spent": Spent(1, 10**19, 0, 1, 0, 0.5)},
    "calls over int": {"output": {}, "spent": Spent(10**12, 1, 0, 1, 0, 0.5)},
    "a cost beyond its column": {"output": {}, "spent": Spent(1, 1, 0, 1, 0, 1e300)},
    "a delay of no interval": {"delay": 1e300},
}


def reason(engine: Engine, number: int) -> str:
    with engine.connect() as connection:
        return str(connection.execute(select(Row.error).where(Row.number == number)).scalar_one())


def tallied(engine: Engine) -> tuple[int, ...]:
    """Return what the tallies say: rows done and failed, calls."""
    sums = [func.coalesce(func.sum(c), 0) for c in (Tally.done, Tally.failed, Tally.calls)]
    with engine.connect() as connection:
        return tuple(map(int, connection.execute(select(*sums)).one()))


@contextmanager
def held(engine: Engine) -> Iterator[None]:
    """Keep the bookkeeper's next commit waiting, so that what is asked for now goes together."""
    go_on = threading.Event()

    def wait(*_: object) -> None:
        if threading.current_thread().name == "bookkeeper":
            assert go_on.wait(30)

    event.listen(engine, "commit", wait)
    yield
    go_on.set()
    event.remove(engine, "commit", wait)


def claimed(books: Bookkeeper, rows: int) -> list[Assignment]:
    with ThreadPoolExecutor(rows) as threads:
        given = list(threads.map(lambda n: books.claim(("b", n)), range(rows)))
    assert all(isinstance(one, Assignment) for one in given)
    return [one for one in given if isinstance(one, Assignment)]


def together(
    engine: Engine, rows: int, ask: Callable[[int], object], first: Callable[[], object]
) -> list[object]:
    """Let all ``rows`` ask in one group: while ``first`` holds the transaction before."""

    def asked(number: int) -> object:
        try:
            return ask(number)
        except Exception as error:
            return type(error)

    with ThreadPoolExecutor(rows + 1) as threads:
        with held(engine):
            before = threads.submit(first)
            threading.Event().wait(0.2)
            answers = [threads.submit(asked, number) for number in range(rows)]
            threading.Event().wait(0.2)
        before.result(30)
        return [answer.result(60) for answer in answers]


@pytest.mark.parametrize("poison", POISONS)
def test_a_refused_result_fails_its_row_and_saves_all_that_came_with_it(
    engine: Engine, poison: str
) -> None:
    """Both databases don't refuse the same: what SQLite takes, it keeps."""
    make_batch(engine, 20)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    given = claimed(books, 20)

    def settle(number: int) -> bool:
        terms = {"status": "done", "output": {"answer": "x", "score": 1}, "spent": Spent(1, 5)}
        if number == 7:
            terms = {"status": "pending" if "delay" in POISONS[poison] else "done"}
            terms |= {"spent": Spent(1, 5)} | POISONS[poison]
        return books.settle(Outcome(("b", number), given[number].row.attempts, **terms))

    answers = together(engine, 20, settle, lambda: books.claim(("b", 99)))
    others = [s for number, s in enumerate(statuses(engine)) if number != 7]
    assert others == ["done"] * 19
    assert books.running() == 0
    done, failed, calls = tallied(engine)
    if answers[7] is not True:
        assert answers[7] is ResultRefused
        assert statuses(engine)[7] == "failed"
        assert reason(engine, 7).startswith("the ledger did not take its result (")
        assert (done, failed) == (19, 1)
    else:
        assert engine.dialect.name == "sqlite"
    if POISONS[poison].get("spent", Spent(1)).calls == 1:
        assert calls == 20  # all are paid for


def test_a_refused_result_takes_as_few_transactions_as_halving_does(engine: Engine) -> None:
    make_batch(engine, 64)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    given = claimed(books, 64)
    commits: list[object] = []
    event.listen(engine, "rollback", commits.append)
    settled = together(
        engine,
        64,
        lambda n: books.settle(
            Outcome(
                ("b", n),
                given[n].row.attempts,
                "done",
                output={"score": float("nan") if n == 40 else 1},
            )
        ),
        lambda: books.claim(("b", 99)),
    )
    assert Counter(settled) == {True: 63, ResultRefused: 1}
    assert len(commits) <= 9  # 64, 32 … 2, 1, and those that only read


def test_a_key_that_no_row_can_have_is_refused_and_holds_up_no_row(engine: Engine) -> None:
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    batch_ids: list[Any] = [{"a": 1}, None, 5, "", "b" * 65, "b\0", "\ud800", "b\n"]
    numbers: list[Any] = ["1", None, True, -1, 1 << 31, 10**30, 1.5, [1]]
    for key in [*((b, 1) for b in batch_ids), *(("b", number) for number in numbers)]:
        assert books.claim(key) == Refused("its message names no row")
        assert run_row(
            *key, books=books, analyzer=Analyzer, limits=LIMITS, doubts=Doubts(), texts=no_texts
        )
    ended = run_row(
        "b", 0, books=books, analyzer=Analyzer, limits=LIMITS, doubts=Doubts(), texts=no_texts
    )
    assert ended == "row 2: done"
    assert statuses(engine) == ["done", "pending"]


class Analyzer:
    """Answers, or raises what it is told to."""

    name = "openai"

    def __init__(self, _name: str = "openai", raises: BaseException | None = None) -> None:
        self._raises = raises

    def answer(self, question: Question) -> Answer:
        if self._raises is not None:
            raise self._raises
        return Answer({"answer": "x", "score": 1}, Usage(1, 10, 0, 10))


@pytest.mark.parametrize(
    ("error", "raised", "status"),
    [
        (ValueError("secret cell"), RowFailed, "failed"),
        (KeyError("x"), RowFailed, "failed"),
        (RecursionError(), RowFailed, "failed"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), RowFailed, "failed"),
        (SoftTimeLimitExceeded(), Retry, "pending"),
        (MemoryError(), Retry, "pending"),
        (Transient("x", retry_after=float("nan")), RowFailed, "failed"),
        (SystemExit(0), SystemExit, "pending"),
        (KeyboardInterrupt(), KeyboardInterrupt, "pending"),
        (GeneratorExit(), GeneratorExit, "pending"),
    ],
)
def test_whatever_is_raised_becomes_the_row_s_outcome(
    engine: Engine,
    eventually: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    raised: type[BaseException],
    status: str,
) -> None:
    if engine.dialect.name == "sqlite" and "nan" in repr(vars(error)):
        raised, status = Retry, "pending"  # which takes NaN for NULL: tried again at once
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    with pytest.raises(raised) as caught:
        run_row(
            "b",
            0,
            books=books,
            analyzer=lambda _: Analyzer(raises=error),
            limits=LIMITS,
            doubts=Doubts(),
            texts=no_texts,
        )
    eventually(lambda: statuses(engine) == [status])
    eventually(lambda: books.running() == 0)  # no lease is renewed
    with engine.connect() as connection:
        billed = progress.progress_of(connection, "b").possibly_billed_calls
    assert billed == isinstance(error, (SoftTimeLimitExceeded, MemoryError))  # in the middle of it
    assert "secret" not in f"{caught.value}"
    assert "secret" not in caplog.messages
    again = books.claim(("b", 0))
    assert isinstance(again, Assignment) == (status == "pending")


def test_an_analyzer_that_can_t_be_made_fails_its_row(engine: Engine) -> None:
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)

    def broken(_name: str) -> Any:
        raise ImportError("no module")

    with pytest.raises(RowFailed, match="an unexpected ImportError"):
        run_row(
            "b", 0, books=books, analyzer=broken, limits=LIMITS, doubts=Doubts(), texts=no_texts
        )
    assert statuses(engine) == ["failed"]


def test_a_mistake_after_the_answer_fails_the_row_and_says_so(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    monkeypatch.setattr(retry, "after_failure", lambda *_, **__: {}["a secret"])
    why = "an unexpected KeyError at its end; the worker's log says where"
    with pytest.raises(RowFailed, match=why):
        run_row(
            "b",
            1,
            books=books,
            analyzer=lambda _: Analyzer(raises=ValueError()),
            limits=LIMITS,
            doubts=Doubts(),
            texts=no_texts,
        )
    assert statuses(engine) == ["pending", "failed"]
    assert reason(engine, 1) == why
    assert caplog.messages.count("row 3 of b ended unexpectedly") == 2


def test_a_row_claimed_for_a_slot_that_was_interrupted_is_given_back(
    engine: Engine, eventually: Callable[..., None]
) -> None:
    """As by a soft time limit that comes while the ledger is away."""
    make_batch(engine, 1)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    with held(engine):
        books._requests.put("claim", ("b", 0)).future.cancel()
        threading.Event().wait(0.2)
    eventually(lambda: books.running() == 0 and statuses(engine) == ["pending"])
    with pytest.raises(SoftTimeLimitExceeded), patch.object(Future, "result", interrupted):
        books.claim(("b", 0))  # which was granted a moment ago
    eventually(lambda: books.running() == 0 and statuses(engine) == ["pending"])
    with engine.connect() as connection:
        assert connection.execute(select(Row.attempts)).scalar() == 0
    assert isinstance(books.claim(("b", 0)), Assignment)


_result = Future.result


def interrupted(future: Future[Any], timeout: float | None = None) -> Any:
    """Wait as ever, and be interrupted at the first time."""
    if threading.current_thread().name == "MainThread" and not hasattr(future, "seen"):
        future.seen = True
        _result(future, timeout)
        raise SoftTimeLimitExceeded
    return _result(future, timeout)


def newer(engine: Engine, batch_id: str = "new", **changes: Any) -> None:
    """Record a batch as a later version would."""
    make_batch(engine, 3, batch_id=batch_id)
    recipe = {**ECHO.model_dump(mode="json"), **changes}
    with engine.begin() as connection:
        connection.execute(update(Batch).where(Batch.id == batch_id).values(recipe=recipe))


@pytest.mark.parametrize(
    "changes", [{"a_field_of_0_2": 1}, {"analyzer": "documents"}, {"options": {"verbosity": "low"}}]
)
def test_a_recipe_of_a_newer_version_waits_for_newer_workers_and_holds_up_no_row(
    engine: Engine, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    newer(engine, **changes)
    make_batch(engine, 5)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    keys = [("b", 0), ("new", 0), ("b", 1), ("new", 1), ("b", 2)]
    given = together(engine, 5, lambda n: books.claim(keys[n]), lambda: books.claim(("b", 99)))
    for key, answer in zip(keys, given, strict=True):
        if key[0] == "new":
            assert answer == Refused("its recipe is one for newer workers")
        else:
            assert isinstance(answer, Assignment)
    assert statuses(engine, "new") == ["pending"] * 3
    with engine.connect() as connection:
        due, attempts, retries = zip(
            *connection.execute(
                select(Row.due_at > in_seconds(50), Row.attempts, Row.retries)
                .where(Row.batch_id == "new", Row.number < 2)
            ),
            strict=True,
        )  # fmt: skip
        assert set(due) == {True}  # so that they are no load
        assert {*attempts, *retries} == {0}
        assert batch_records.get_batch(connection, "new").status == "running"
    assert sum("its rows wait for workers that do" in line for line in caplog.messages) == 1


def test_a_batch_that_no_worker_understands_is_stopped_when_an_upgrade_is_over(
    engine: Engine,
) -> None:
    newer(engine, a_field_of_0_2=1)
    newer(engine, "served", a_field_of_0_2=1)
    with engine.begin() as connection:
        connection.execute(update(Batch).values(created_at=in_seconds(-4000)))
        # A newer worker is there for the other one.
        claiming.claim(connection, [("served", 2)], holder="n", worker="n", lease=60)
        settling.settle(connection, [Outcome(("served", 2), 1, "done", output={})], holder="n")
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    for batch_id in ("new", "served"):
        books.claim((batch_id, 0))
    with engine.connect() as connection:
        stopped, served = (batch_records.get_batch(connection, b) for b in ("new", "served"))
    assert (stopped.status, served.status) == ("stopped", "running")
    assert stopped.reason is not None
    assert "no worker understands its recipe, which has a_field_of_0_2" in stopped.reason
    assert statuses(engine, "new") == ["pending"] * 3


def test_a_right_that_is_missing_is_waited_for_and_costs_no_answer(
    postgres_url: str, eventually: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    engine = open_ledger(postgres_url, connections=3)
    migrate(engine)
    make_batch(engine, 2)
    books = Bookkeeper(engine, worker="w", lease=60, time_limit=60)
    given = claimed(books, 2)
    with engine.begin() as connection:
        connection.execute(text("CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE insufficient_privilege; END $$"))  # fmt: skip
        connection.execute(
            text("CREATE TRIGGER deny BEFORE UPDATE ON rows EXECUTE FUNCTION deny()")
        )
    with ThreadPoolExecutor(2) as threads:
        results = [
            threads.submit(
                books.settle, Outcome(("b", n), given[n].row.attempts, "done", output={})
            )
            for n in range(2)
        ]
        eventually(lambda: "waiting, no row is lost" in caplog.text)
        with engine.begin() as connection:
            connection.execute(text("DROP TRIGGER deny ON rows"))
        assert all(result.result(30) for result in results)
    assert statuses(engine) == ["done", "done"]
    engine.dispose()
