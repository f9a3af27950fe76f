"""Budgets, samples and rows that are answered once: in the ledger, and with real workers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import openpyxl
import pytest
from alembic import command
from alembic.config import Config
from click.testing import CliRunner
from sqlalchemy import Engine, select, text, update

from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records, schema
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries.budget import FIRST_ROWS
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.queries.rows import recorded_rows
from rowfleet.ledger.records import Outcome, Spent
from rowfleet.ledger.transitions import claiming, feeding, finishing, recording, settling, stopping
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from submitter.cli import main
from submitter.progress import display
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses
from tests.support.sheets import invoices, results
from tests.support.workers import Start

Said = tuple[int, str, str]
Call = Callable[..., Said]


def claim(engine: Engine, numbers: Sequence[int], holder: str = "h") -> set[int]:
    with engine.begin() as connection:
        got = claiming.claim(
            connection, [("b", n) for n in numbers], holder=holder, worker="w", lease=60
        )
    return {number for _, number in got}


def done(engine: Engine, *numbers: int, cost: float | None = 0.01, holder: str = "h") -> None:
    with engine.begin() as connection:
        outcomes = [
            Outcome(
                ("b", n), 1, "done", output={"answer": f"a{n}"}, spent=Spent(1, 9, 0, 9, 0, cost)
            )
            for n in numbers
        ]
        settled = settling.settle(connection, outcomes, holder=holder)
    assert len(settled) == len(numbers)


def feed(engine: Engine, limit: int = 1000) -> list[int]:
    with engine.begin() as connection:
        return feeding.feed(connection, "b", limit)


def progress(engine: Engine) -> records.Progress:
    with engine.connect() as connection:
        return progress_of(connection, "b")


@pytest.fixture
def step(engine: Engine, settings: Settings) -> Callable[[], None]:
    """Do what a worker or a waiting submitter does every few seconds for the ledger."""
    feeder = Feeder(engine, Queue(settings), window=1000, redelivery=75)
    return lambda: feeder.repair(only="b", thorough=False) and None


# --- budgets


def test_claims_of_several_processes_stay_within_the_budget(engine: Engine) -> None:
    make_batch(engine, 100, max_cost=0.5)
    assert feed(engine) == list(range(FIRST_ROWS))
    claim(engine, range(FIRST_ROWS))
    done(engine, *range(FIRST_ROWS))  # a cent each: 40 more are paid for
    assert len(feed(engine)) == 20  # with each that has ended one more may run
    with engine.begin() as connection:  # as a feeder would that knew of no budget
        connection.execute(update(Row).where(Row.status == "pending").values(status="queued"))

    def grab(holder: int) -> set[int]:
        return claim(engine, range(10, 100), holder=f"h{holder}")

    with ThreadPoolExecutor(4) as threads:
        claimed = list(threads.map(grab, range(4)))
    assert sum(map(len, claimed)) == 20
    assert statuses(engine).count("pending") == 70  # what was refused waits in the ledger
    assert statuses(engine).count("running") == 20


def test_a_spent_budget_ends_the_batch_until_it_is_raised(
    engine: Engine, settings: Settings, step: Callable[[], None]
) -> None:
    make_batch(engine, 30, max_cost=0.101, queue=settings.queue)
    claim(engine, feed(engine))
    step()
    assert progress(engine).status == "running"  # what runs is set aside, and not spent yet
    done(engine, *range(FIRST_ROWS))
    step()
    ended = progress(engine)
    assert (ended.status, ended.done, ended.pending) == ("budget_exhausted", 10, 20)
    assert ended.reason == "$0.1000 of its budget of $0.1010 are spent"
    assert feed(engine) == []
    assert claim(engine, [12]) == set()
    with engine.begin() as connection:
        stopping.set_budget(connection, "b", None)
    assert len(feed(engine)) == 20
    assert progress(engine).max_cost_usd is None


def test_a_call_without_a_price_ends_a_batch_with_a_budget(
    engine: Engine, settings: Settings, step: Callable[[], None]
) -> None:
    make_batch(engine, 30, max_cost=5, queue=settings.queue)
    claim(engine, [0])
    done(engine, 0, cost=None)
    step()
    assert progress(engine).status == "budget_exhausted"
    assert "is not known" in str(progress(engine).reason)


def unanswered(engine: Engine, *numbers: int, attempt: int = 1, holder: str = "h") -> None:
    """Settle rows whose call ended without an answer, to be tried again."""
    with engine.begin() as connection:
        outcomes = [
            Outcome(("b", n), attempt, "pending", error="late", spent=Spent(possibly_billed=1))
            for n in numbers
        ]
        assert len(settling.settle(connection, outcomes, holder=holder)) == len(numbers)


def test_calls_without_an_answer_count_against_the_budget_as_if_paid(
    engine: Engine, settings: Settings, step: Callable[[], None]
) -> None:
    make_batch(engine, 40, max_cost=0.205, queue=settings.queue)
    claim(engine, feed(engine))
    done(engine, *range(FIRST_ROWS))  # a cent each: ten more are paid for
    started = 0
    for attempt in range(1, 5):
        got = claim(engine, feed(engine))
        started += len(got)
        unanswered(engine, *got, attempt=attempt)
    assert started == 10  # each of which may be on the bill; without that, it went on for ever
    step()
    ended = progress(engine)
    assert (ended.status, ended.possibly_billed_calls) == ("budget_exhausted", 10)
    assert "$0.1000 are set aside for 10 calls" in str(ended.reason)
    with engine.begin() as connection:
        stopping.set_budget(connection, "b", 0.305)
    again = claim(engine, feed(engine))
    assert len(again) == 10
    with engine.connect() as connection:
        rows = connection.execute(select(Row.number, Row.possibly_billed, Row.calls))
        counted = {row.number: (row.possibly_billed, row.calls) for row in rows}
    assert counted[0] == (0, 1)
    assert counted[10] == (1, 0)


def test_a_budget_holds_while_no_call_is_answered(
    engine: Engine, settings: Settings, step: Callable[[], None]
) -> None:
    make_batch(engine, 40, max_cost=0.1, queue=settings.queue)  # gpt-5-mini: 0.85 cents a guess
    started = 0
    for attempt in range(1, 9):
        got = claim(engine, feed(engine))
        started += len(got)
        unanswered(engine, *got, attempt=attempt)
    assert FIRST_ROWS <= started <= 2 * FIRST_ROWS
    step()
    assert progress(engine).status == "budget_exhausted"


def test_workers_count_calls_that_may_be_billed_and_progress_says_so(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    once = {"attempts": 1}  # then it is answered
    standin.configure(
        faults=[
            {"kind": "hang", "rows": [0], **once},
            {"kind": "reset", "rows": [1], **once},
            {"kind": "verbatim", "status": 504, "rows": [2], **once},
            {"kind": "verbatim", "status": 503, "rows": [3], **once},
        ]
    )
    make_batch(ledger, 6, queue=fleet.queue)
    feeder = Feeder(ledger, Queue(fleet), window=1000, redelivery=75)
    feeder.feed()
    start(fleet.model_copy(update={"retry_delay": 0.0, "soft_time_limit": 3.0}))
    eventually(lambda: statuses(ledger) == ["done"] * 6, 90)
    with ledger.connect() as connection:
        counted = connection.execute(
            select(Row.possibly_billed, Row.calls).order_by(Row.number)
        ).all()
    assert [tuple(row) for row in counted] == [(1, 1), (1, 1), (1, 1), (0, 1), (0, 1), (0, 1)]
    assert progress(ledger).possibly_billed_calls == 3
    assert fleet.database_url
    monkeypatch.setenv("DATABASE_URL", fleet.database_url.get_secret_value())
    said = CliRunner().invoke(main.cli, ["progress", "b", "--json"], standalone_mode=False)
    assert json.loads(said.output)["possibly_billed_calls"] == 3
    assert "3 calls without an answer, possibly billed" in display.line(progress(ledger))


# --- samples


def test_only_the_sample_runs_until_the_rest_may(
    engine: Engine, settings: Settings, step: Callable[[], None]
) -> None:
    make_batch(engine, 30, sample=[3, 7, 20], queue=settings.queue)
    assert feed(engine) == [3, 7, 20]
    claim(engine, [3, 7, 20])
    done(engine, 3, 7)
    step()
    assert progress(engine).status == "running"
    done(engine, 20)
    step()
    assert progress(engine).status == "sampled"
    assert feed(engine) == []
    with engine.begin() as connection:
        stopping.end_sample(connection, "b")
    assert len(feed(engine)) == 27
    assert progress(engine).status == "running"


# --- rows that are sent the same

SENT = ["x", "y", "x", "x", "z", "y"]


@pytest.fixture
def same(engine: Engine, settings: Settings) -> None:
    make_batch(engine, 6, sent=SENT, queue=settings.queue)


@pytest.mark.usefixtures("same")
def test_rows_that_are_sent_the_same_are_asked_about_once(
    engine: Engine, step: Callable[[], None]
) -> None:
    assert feed(engine) == [0, 1, 4]
    claim(engine, [0, 1, 4])
    done(engine, 0)
    assert statuses(engine) == ["done", "running", "done", "done", "running", "pending"]
    done(engine, 1, 4)
    step()
    ended = progress(engine)
    assert (ended.status, ended.done, ended.cost_usd) == ("finished", 6, 0.03)
    with engine.connect() as connection:
        rows = list(recorded_rows(connection, "b"))
    assert [row.same_as for row in rows] == [None, None, 0, 0, None, 1]
    assert [row.output for row in rows][2] == {"answer": "a0"}


@pytest.mark.usefixtures("same")
def test_rows_that_fail_together_are_tried_again_together(
    engine: Engine, step: Callable[[], None]
) -> None:
    claim(engine, feed(engine))
    with engine.begin() as connection:
        bad = [Outcome(("b", n), 1, "failed", error="no") for n in (0, 1, 4)]
        settling.settle(connection, bad, holder="h")
    step()
    assert (progress(engine).failed, progress(engine).status) == (6, "finished")
    with engine.begin() as connection:
        assert stopping.retry_failed(connection, "b", [3], by="me") == [0, 2, 3]
    assert statuses(engine) == ["pending", "failed", "pending", "pending", "failed", "failed"]
    assert feed(engine) == [0]
    assert progress(engine).failed == 3


@pytest.mark.usefixtures("same")
def test_rows_recorded_after_the_first_had_ended_get_its_answer_at_the_end(
    engine: Engine, step: Callable[[], None]
) -> None:
    claim(engine, feed(engine))
    done(engine, 0, 1, 4)
    with engine.begin() as connection:
        more = [(n, [f"row {n}"], None) for n in (6, 7)]
        recording.record_rows(connection, "b", more, {6: "x", 7: "x"})
    assert feed(engine) == []
    step()
    assert (progress(engine).done, progress(engine).status) == (8, "finished")


@pytest.mark.usefixtures("same")
def test_rows_that_wait_for_an_answer_are_cancelled_with_the_rest(engine: Engine) -> None:
    claim(engine, feed(engine, 1))
    with engine.begin() as connection:
        assert stopping.cancel(connection, "b", by="me")
    assert progress(engine).cancelled == 5
    done(engine, 0)
    assert (progress(engine).done, progress(engine).cancelled) == (1, 5)


def test_recording_the_same_rows_twice_makes_none_follow_itself(engine: Engine) -> None:
    make_batch(engine, 6, sent=SENT)
    with engine.begin() as connection:
        rows = [(n, [f"row {n}"], None) for n in range(6)]
        assert recording.record_rows(connection, "b", rows, dict(enumerate(SENT))) == 0
        followed = connection.execute(select(Row.same_as).order_by(Row.number)).scalars().all()
    assert list(followed) == [None, None, 0, 0, None, 1]


def test_a_row_of_the_sample_that_follows_gives_its_place_to_the_first(engine: Engine) -> None:
    make_batch(engine, 6, sent=SENT, sample=[3, 4])
    with engine.connect() as connection:
        assert connection.execute(select(Batch.sample)).scalar_one() == [0, 4]


# --- the schema


def test_an_older_ledger_keeps_its_rows_when_it_is_migrated(database_url: str) -> None:
    engine = open_ledger(database_url)
    config = Config()
    config.set_main_option("script_location", "rowfleet.ledger:migrations")

    def migrate(to: Callable[..., None], revision: str) -> None:
        with (
            engine.connect() as connection,
            schema.foreign_keys_off(connection),
            connection.begin(),
        ):
            config.attributes["connection"] = connection
            to(config, revision)

    schema.migrate(engine)
    make_batch(engine, 3)
    migrate(command.downgrade, "0001")
    assert statuses(engine) == ["pending"] * 3
    schema.migrate(engine)
    assert statuses(engine) == ["pending"] * 3
    with engine.begin() as connection:  # what is checked was changed, and is still checked
        connection.execute(update(Batch).values(status="sampled"))
        assert connection.execute(text("SELECT count(*) FROM batches")).scalar_one() == 1
    engine.dispose()


# --- with real workers


@pytest.fixture
def call(call: Call, monkeypatch: pytest.MonkeyPatch, fleet: Settings) -> Call:
    """Run `rowfleet` in this process for the fleet; return exit code, output, errors."""
    assert fleet.redis_url
    assert fleet.database_url
    monkeypatch.setenv("REDIS_URL", fleet.redis_url.get_secret_value())
    monkeypatch.setenv("DATABASE_URL", fleet.database_url.get_secret_value())
    monkeypatch.setenv("ROWFLEET_QUEUE", fleet.queue)
    monkeypatch.setenv("COLUMNS", "200")
    return call


@pytest.fixture
def worker(fleet: Settings, start: Start) -> None:
    start(fleet)


ASKED = ("--analyzer", "openai", "--batch-id", "b")


@pytest.mark.usefixtures("worker")
def test_a_sample_is_shown_with_the_bill_and_the_rest_goes_on_later(
    call: Call, tmp_path: Path, standin: Standin
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 40)
    submit = ("submit", "--excel", sheet, *ASKED)
    code, out, _ = call(*submit, "--sample", 5)
    assert code == 0
    assert "35 rows wait; they will cost about $" in out
    assert len(re.findall(r"^row \d+: done, \$0\.\d+ · AI_Refund_Eligible ", out, re.M)) == 5
    asked = set(standin.summary()["rows"])
    code, out, _ = call(*submit, "--sample", 5, "--json")  # as a Job that is applied twice
    said = json.loads(out)
    assert (code, said["status"], said["rest"]["rows"]) == (0, "sampled", 35)
    assert {row["row"] - 2 for row in said["sample"]} == asked  # as the spreadsheet numbers them
    code, _, err = call(*submit, "--sample", 6)
    assert (code, "--sample 6: the sample of batch b has 5 rows" in err) == (2, True)
    code, out, _ = call(*submit, "--wait", "--json")
    assert (code, json.loads(out)["done"]) == (0, 40)
    assert set(standin.summary()["rows"].values()) == {1}  # nothing was paid twice


@pytest.mark.usefixtures("worker")
def test_the_budget_of_a_sample_holds_for_the_rest(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 20)
    code, _, _ = call("submit", "--excel", sheet, *ASKED, "--sample", 3, "--max-cost", "0.5")
    assert code == 0
    code, out, _ = call("resume", "b", "--json")
    assert (code, json.loads(out)["max_cost_usd"]) == (0, 0.5)


@pytest.mark.parametrize("amount", ["inf", "nan", "1e12", "1e-9", "0", "-1", "five"])
def test_a_budget_is_an_amount_of_money(call: Call, tmp_path: Path, amount: str) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    code, _, err = call("submit", "--excel", sheet, *ASKED, f"--max-cost={amount}")
    assert code == 2
    assert f"'--max-cost': '{amount}' is not an amount in dollars" in err
    assert call("progress", "b")[0] == 2  # nothing was submitted


def test_a_batch_whose_cost_is_not_known_goes_on_without_a_budget_alone(
    call: Call, ledger: Engine
) -> None:
    make_batch(ledger, 30, max_cost=5)
    claim(ledger, [0])
    done(ledger, 0, cost=None)
    with ledger.begin() as connection:
        assert finishing.exhaust(connection, "b", by="k")
    without_counts = replace(progress(ledger), prompt_tokens=0, completion_tokens=0)
    assert "cost unknown" in display.line(without_counts)
    without = "rowfleet resume b\n"
    code, _, err = call("resume", "b", "--max-cost", "100")
    assert (code, err.endswith(f"no budget can be kept; without one: {without}")) == (2, True)
    assert call("retry", "b")[2].endswith(f"first: {without}")
    assert call("resume", "b")[0] == 0
    assert progress(ledger).status == "running"


@pytest.mark.usefixtures("worker")
def test_a_budget_stops_the_batch_and_resume_lets_it_go_on(
    call: Call, tmp_path: Path, standin: Standin, eventually: Callable[..., None], ledger: Engine
) -> None:
    standin.configure(usage={"prompt_tokens": 4_000, "completion_tokens": 0})  # a tenth of a cent
    sheet = invoices(tmp_path / "refunds.xlsx", 40)
    submit = ("submit", "--excel", sheet, *ASKED, "--wait", "--max-cost", "0.0205", "--json")
    code, out, _ = call(*submit)
    said = json.loads(out)
    assert (code, said["status"], said["done"]) == (1, "budget_exhausted", 20)
    assert said["cost_usd"] == 0.02
    assert call(*submit)[0] == 1  # the same again spends nothing
    assert standin.summary()["calls"] == 20
    code, _, err = call("resume", "b", "--max-cost", "0.01")
    assert code == 2
    assert "$0.0200 are spent already" in err
    code, _, err = call("retry", "b")
    assert code == 2
    assert err.endswith("first: rowfleet resume b --max-cost 0.041\n")
    assert call(*submit[:-1])[2].endswith("to go on: rowfleet resume b --max-cost 0.041\n")
    assert call("resume", "b")[0] == 0
    eventually(lambda: progress(ledger).status == "finished", 60)
    assert set(standin.summary()["rows"].values()) == {1}
    code, _, err = call("resume", "b")
    assert (code, "has ended already: it is finished" in err) == (2, True)


@pytest.mark.usefixtures("worker")
def test_the_finished_sheet_says_which_rows_were_answered_together(
    call: Call, tmp_path: Path, standin: Standin
) -> None:
    sheet = tmp_path / "twice.xlsx"
    book = openpyxl.load_workbook(invoices(sheet, 4))
    rows = book.worksheets[0]
    for column in range(1, rows.max_column + 1):
        rows.cell(5, column).value = rows.cell(2, column).value  # the last is the first
    book.save(sheet)
    out = tmp_path / "out.xlsx"
    code, _, _ = call("submit", "--excel", sheet, *ASKED, "--dedupe", "--wait", "--export", out)
    assert code == 0
    assert standin.summary()["calls"] == 3
    finished = results(out)
    assert [row["AI_Same_As_Row"] for row in finished] == [None, None, None, 2]
    assert finished[3]["AI_Basis"] == finished[0]["AI_Basis"]
    assert [row["AI_Status"] for row in finished] == ["done"] * 4
    again = call("submit", "--excel", sheet, *ASKED)
    assert again[0] == 0


def test_a_budget_needs_a_price(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    submit = ("submit", "--excel", sheet, *ASKED, "--max-cost", "1")
    code, _, err = call(*submit, "--model", "mine")
    assert code == 2
    assert "--max-cost: the price of the model 'mine' is not known" in err
    monkeypatch.setenv("ROWFLEET_PRICES", '{"mine": {"input": 1, "output": 2}}')
    assert call(*submit, "--model", "mine")[0] == 0
    assert json.loads(call("progress", "b", "--json")[1])["max_cost_usd"] == 1
    code, _, err = call("submit", "--excel", sheet, *ASKED, "--model", "mine", "--dedupe")
    assert (code, "was recorded without it" in err) == (2, True)
    rules = call("submit", "--excel", sheet, "--analyzer", "rules", "--dedupe")
    assert (rules[0], "would find no duplicates" in rules[2]) == (2, True)
