"""A batch of which too many of the last rows fail or need review stops: once, whoever counts."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import Engine, select, update

from rowfleet.answers.reasons import Reason
from rowfleet.ledger.models import Batch, Tally
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.statuses import RowReview
from rowfleet.ledger.transitions import breaker, claiming, feeding, recording, settling, stopping
from rowfleet.ledger.transitions.breaker import LAST_ROWS
from tests.support.ledger import make_batch

ROOT = Path(__file__).parents[4]

#: A process that takes rows of the batch `b` one by one until it is stopped: some of ten fail.
WORKER = """
import sys
from rowfleet.ledger.engine import open_ledger, writing
from rowfleet.ledger.records import Outcome
from rowfleet.ledger.transitions import claiming, settling

engine = open_ledger(sys.argv[1], connections=1)
print("ready", flush=True)
sys.stdin.readline()
for number in map(int, sys.argv[2].split(",")):
    key = ("b", number)
    with writing(engine) as connection:
        claimed = claiming.claim(connection, [key], holder=sys.argv[3], worker="w", lease=60)
    if not claimed:
        continue
    bad = number // 6 % 10 < int(sys.argv[4])
    end = {"status": "failed", "error": "refused: x"} if bad else {"status": "done", "output": {}}
    with writing(engine) as connection:
        settling.settle(connection, [Outcome(key, 1, **end)], holder=sys.argv[3])
print("over", flush=True)
"""


def take(engine: Engine, numbers: Sequence[int]) -> None:
    with engine.begin() as connection:
        feeding.feed(connection, "b", 10_000)
        keys = [("b", number) for number in numbers]
        assert len(claiming.claim(connection, keys, holder="h", worker="w", lease=60)) == len(keys)


def end(engine: Engine, numbers: Sequence[int], kind: str) -> None:
    """Let rows end: `done`, `failed`, or `review`."""
    take(engine, numbers)
    with engine.begin() as connection:
        settling.settle(connection, [_outcome(number, kind) for number in numbers], holder="h")


def _outcome(number: int, kind: str) -> Outcome:
    key = ("b", number)
    if kind == "failed":
        return Outcome(key, 1, "failed", error=f"the model refused: cell {number}")
    if kind == "review":
        why = (Reason("cited", f"cell {number}"), Reason("sum", "x"))
        return Outcome(key, 1, "done", output={}, review=RowReview.NEEDS_REVIEW, reasons=why)
    return Outcome(key, 1, "done", output={})


def status(engine: Engine) -> tuple[str, str | None]:
    with engine.connect() as connection:
        found = connection.execute(select(Batch.status, Batch.reason)).one()
    return found.status, found.reason


def age(engine: Engine, minutes: int) -> None:
    """Let all that was tallied be so many minutes older."""
    with engine.begin() as connection:
        connection.execute(update(Tally).values(minute=Tally.minute - minutes))
        connection.execute(update(Batch).values(failures_from=Batch.failures_from - minutes))


def test_a_batch_stops_with_the_commonest_reasons(engine: Engine) -> None:
    make_batch(engine, rows=200, max_failures=0.2)
    end(engine, range(48), "done")
    end(engine, range(48, 58), "failed")
    assert status(engine) == ("running", None)  # 10 of 58
    end(engine, [58, 59], "review")
    assert status(engine) == ("running", None)  # 12 of 60: not more than 20%
    end(engine, [60], "failed")
    assert status(engine) == (
        "stopped",
        "13 of the last 61 rows failed or need review, more than 20%: 11 × the model refused; "
        "2 × needs review for cited; 2 × needs review for sum",
    )


def test_few_rows_say_too_little(engine: Engine) -> None:
    make_batch(engine, rows=200, max_failures=0.2)
    end(engine, range(LAST_ROWS - 1), "failed")
    assert status(engine)[0] == "running"
    end(engine, [LAST_ROWS], "failed")
    assert status(engine)[0] == "stopped"


def test_without_a_share_nothing_stops(engine: Engine) -> None:
    make_batch(engine, rows=200)
    end(engine, range(200), "failed")
    assert status(engine)[0] == "running"


def test_a_share_of_all_rows_stops_nothing(engine: Engine) -> None:
    make_batch(engine, rows=200, max_failures=1)
    end(engine, range(200), "failed")
    assert status(engine)[0] == "running"


def test_only_the_last_rows_count(engine: Engine) -> None:
    make_batch(engine, rows=500, max_failures=0.5)
    end(engine, range(300), "done")
    age(engine, 1)
    end(engine, range(300, 300 + LAST_ROWS), "failed")
    assert status(engine)[0] == "stopped"


def test_rows_before_a_person_let_the_batch_go_on_do_not_count(engine: Engine) -> None:
    make_batch(engine, rows=500, max_failures=0.5)
    end(engine, range(LAST_ROWS), "failed")
    with engine.begin() as connection:
        assert stopping.reopen(connection, "b")
        recording.finish_loading(connection, "b")
    end(engine, range(100, 110), "failed")
    assert status(engine)[0] == "running"
    age(engine, 1)
    end(engine, range(200, 200 + LAST_ROWS - 11), "failed")
    assert status(engine)[0] == "running"
    end(engine, range(300, 311), "failed")
    assert status(engine)[0] == "stopped"


def test_rows_that_people_have_decided_on_count_no_more(engine: Engine) -> None:
    make_batch(engine, rows=500, max_failures=0.5)
    end(engine, range(25), "done")
    end(engine, range(25, 50), "review")
    with engine.begin() as connection:
        connection.execute(update(Tally).values(needs_review=Tally.needs_review - 10))
    end(engine, range(50, 60), "review")
    assert status(engine)[0] == "running"  # 25 of 60


def test_the_last_rows_are_found_without_reading_rows(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(breaker, "_trip", lambda *_: asked.append(1))
    make_batch(engine, rows=10, max_failures=0.5)
    end(engine, range(5), "done")
    assert asked == []
    end(engine, [5], "failed")
    assert asked == [1]


def start(
    database_url: str, numbers: Sequence[int], holder: str, bad: int
) -> subprocess.Popen[str]:
    words = [database_url, ",".join(map(str, numbers)), holder, str(bad)]
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("bad", "ends"), [(5, "stopped"), (1, "running")])
def test_many_processes_count_together_and_stop_the_batch_once(
    engine: Engine, database_url: str, bad: int, ends: str
) -> None:
    processes, rows = 6, 240
    make_batch(engine, rows=rows, max_failures=0.3)
    with engine.begin() as connection:
        feeding.feed(connection, "b", rows)
    started = [
        start(database_url, range(first, rows, processes), f"h{first}", bad)
        for first in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    deadline = time.monotonic() + 120
    for process in started:
        assert process.wait(max(1, deadline - time.monotonic())) == 0
        assert process.stdout is not None
        process.stdout.close()
    found, reason = status(engine)
    with engine.connect() as connection:
        progress = progress_of(connection, "b")
    assert found == ends
    if ends == "stopped":
        # The workers drop the rows of a stopped batch: few end after the first that can stop it.
        assert LAST_ROWS <= progress.ended < LAST_ROWS + 4 * processes
        assert reason is not None
        assert reason.endswith("× refused")
    else:
        assert (progress.ended, progress.failed) == (rows, rows // 10)
