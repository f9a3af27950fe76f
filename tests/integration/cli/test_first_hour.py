"""A newcomer's first hour: what the program prints to be typed next works as it is printed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import redis
from sqlalchemy import update

from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, feeding, settling
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from submitter.local.run_lock import RunLock
from submitter.local.worker import Run
from submitter.progress import presence
from submitter.progress.presence import NothingRunsItError, Presence
from tests.integration.cli.test_recipes import MINE
from tests.standin import Standin
from tests.support.commands import ROWFLEET, Call, after, run, typed
from tests.support.ledger import make_batch, statuses
from tests.support.sheets import invoices, results


def test_what_local_prints_runs_as_printed_whatever_the_directory(tmp_path: Path) -> None:
    invoices(tmp_path / "my refunds.xlsx", 3)
    env = {"XDG_STATE_HOME": "my state"}  # relative, which the library would pass over
    ran = run("local", "my refunds.xlsx", "--analyzer", "rules", cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "my state" / "rowfleet" / "ledger.db").exists()
    followed = typed(after("follow it with: ", ran.stderr), cwd=Path("/"))
    assert followed.returncode == 0, followed.stderr
    assert "3/3 rows, finished" in followed.stdout


def test_a_ledger_named_relatively_is_the_same_for_the_worker(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 3)
    env = {"DATABASE_URL": "sqlite:///mine.db"}
    ran = run("local", "refunds.xlsx", "--analyzer", "rules", cwd=tmp_path, env=env)
    assert ran.returncode == 0, ran.stderr
    followed = typed(after("follow it with: ", ran.stderr), cwd=Path("/"))
    assert followed.returncode == 0, followed.stderr


def test_after_ctrl_c_the_command_that_goes_on_is_printed(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 12)
    with Standin.lent(latency=1) as standin:
        process = subprocess.Popen(
            [ROWFLEET, "local", "refunds.xlsx", "--slots", "4"],
            cwd=tmp_path,
            env={**os.environ, **standin.environment()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # A shell's background job ignores interrupts, and so would all its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        standin.wait_until(lambda summary: summary["calls"] >= 4, 90)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        line = after("to go on: ", output)
        assert line.endswith("rowfleet local refunds.xlsx --slots 4")
        standin.configure(latency=0)
        ran = typed(line, cwd=tmp_path, env=standin.environment())
        assert ran.returncode == 0, ran.stderr
        assert "put back" not in ran.stderr
        assert standin.summary()["calls"] == 12


def test_retry_says_what_will_run_the_rows_and_watching_does_not_wait_for_nothing(
    tmp_path: Path,
) -> None:
    invoices(tmp_path / "refunds.xlsx", 6)
    with Standin.lent(faults=[{"kind": "refusal", "rows": [3]}]) as standin:
        env = standin.environment()
        first = run("local", "refunds.xlsx", cwd=tmp_path, env=env)
        assert first.returncode == 1
        failed = typed(after("1 row failed; see: ", first.stderr), cwd=Path("/"))
        assert "refused" in failed.stdout
        (batch,) = json.loads(run("batches", "--json", cwd=tmp_path).stdout)
        batch_id = batch["batch_id"]
        standin.configure(faults=[])
        again = run("retry", batch_id, cwd=tmp_path)
        assert again.returncode == 0, again.stderr
        line = after("nothing runs the batch now; run its rows with: ", again.stdout)
        watched = run("progress", batch_id, "--watch", cwd=tmp_path)
        assert watched.returncode == 1
        assert f"nothing runs batch {batch_id} now; run its rows with: {line}" in watched.stderr
        assert len(watched.stderr.splitlines()) == 1
        ran = typed(line, cwd=tmp_path, env=env)
        assert ran.returncode == 0, ran.stderr
        assert standin.summary()["rows"][3] == 2
    rows = results(tmp_path / "refunds.results.xlsx")
    assert {row["AI_Status"] for row in rows} == {"done"}


def test_watching_a_local_run_lasts_as_long_as_it_does(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 2)
    with Standin.lent(latency=presence.LOCAL_ALONE + 3) as standin:
        process = subprocess.Popen(
            [ROWFLEET, "local", "refunds.xlsx", "--batch-id", "mine"],
            cwd=tmp_path,
            env={**os.environ, **standin.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        standin.wait_until(lambda summary: summary["in_flight"] == 2, 90)
        watched = run("progress", "mine", "--watch", cwd=tmp_path)
        process.wait(60)
    assert watched.returncode == 0, watched.stderr


def test_a_fleets_batch_waits_for_an_autoscaler_but_not_for_ever(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert settings.database_url
    engine = open_ledger(settings.database_url.get_secret_value(), connections=2)
    migrate(engine)
    make_batch(engine, 2, queue=settings.queue)
    with engine.connect() as connection:
        record = batch_records.get_batch(connection, "b")
    assert not Presence(engine, settings, record).is_there()
    watcher = Presence(engine, settings, record)
    monkeypatch.setattr(presence, "FLEET_ALONE", 0.0)
    watcher.look()
    watcher.look()
    assert caplog.text.count("nothing has run batch b for") == 1
    monkeypatch.setattr(presence, "FLEET_GIVEN_UP", 0.2)
    time.sleep(0.3)
    with Queue(settings).turn("feeder", "a worker", 10):
        watcher.look()
    redis.Redis.from_url(str(settings.broker_url())).flushall()
    time.sleep(0.3)
    with pytest.raises(NothingRunsItError, match="worker of the queue"):
        watcher.look()
    unseen = Presence(engine, settings.model_copy(update={"redis_url": None}), record)
    time.sleep(0.3)
    unseen.look()  # without a broker's name, workers can't be seen
    with engine.begin() as connection:
        claiming.claim(connection, [("b", 0)], holder="h", worker="w", lease=45)
    watcher.look()
    engine.dispose()


def test_after_a_sample_the_command_that_runs_the_rest_is_printed(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 4)
    with Standin.lent() as standin:
        env = standin.environment()
        ran = run("local", "refunds.xlsx", "--sample", 1, "--slots", 2, cwd=tmp_path, env=env)
        assert ran.returncode == 0, ran.stderr
        line = after("to run them: ", ran.stdout)
        assert line.endswith("rowfleet local refunds.xlsx --slots 2")
        (batch,) = json.loads(run("batches", "--json", cwd=tmp_path).stdout)
        resumed = run("resume", batch["batch_id"], cwd=tmp_path)
        assert "nothing runs the batch now; run its rows with: " in resumed.stdout
        repaired = run("repair", batch["batch_id"], cwd=tmp_path)
        assert repaired.returncode == 2
        assert "the run that goes on with it repairs it" in repaired.stderr
        rest = typed(line, cwd=tmp_path, env=env)
        assert rest.returncode == 0, rest.stderr
        assert standin.summary()["calls"] == 4


def test_a_printed_local_runs_in_another_directory_and_takes_the_same_rows(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    (here / "refunds.csv").write_text(
        "Refunds,,,,,,\nMade by,Ann,,,,,\nVendor,Invoice No,Date,Description,Net sum,Tax,Paid\n"
        "ACME,1,2026-03-01,Ink,100,8,x\nGlobex,2,2026-03-02,Ink,250,8,y\n"
        "Initech,3,2026-03-03,Ink,300,8,x\nTotal,,,,650,24,\n",
        "utf-8",
    )
    chosen = ("--where", 'Paid == "x" || Vendor == "Total"', "--order-by", "Amount:desc")
    options = ("--map", "Net sum=Amount", *chosen, "--keep-totals", "--batch-id", "s2")
    ran = run("local", "refunds.csv", "--analyzer", "rules", *options, cwd=here)
    assert ran.returncode == 0, ran.stderr
    marker = "the run that goes on with it repairs it: "
    assert "local refunds.csv --batch-id" in after(marker, run("repair", "s2", cwd=here).stderr)
    command = after(marker, run("repair", "s2", cwd=there).stderr)
    assert f"local {here / 'refunds.csv'} --batch-id" in command
    again = typed(command, cwd=there)
    assert again.returncode == 0, again.stderr
    assert "this continues a batch submitted before" in again.stdout + again.stderr


def test_a_batch_that_nothing_runs_has_no_speed(call: Call) -> None:
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    make_batch(engine, 4, batch_id="mine", queue="local-mine")
    with engine.begin() as connection:
        claiming.claim(connection, [("mine", 0)], holder="h", worker="w", lease=45)
        done = records.Outcome(("mine", 0), 1, "done", output={})
        settling.settle(connection, [done], holder="h")
    shown = call("progress", "mine")[1]
    assert "waiting: nothing runs it now" in " ".join(shown.split())
    assert "rows/s" not in shown
    assert "ETA" not in shown
    assert re.search(r"mine .*waiting", call("batches")[1])
    said = json.loads(call("progress", "mine", "--json")[1])
    assert (said["is_idle"], said["rows_per_second"], said["eta_seconds"]) == (True, 0, None)
    assert "retried_for" not in said
    lock = RunLock(Path(f"{engine.url.database}-runs"), note="local-mine")
    assert "rows/s" in call("progress", "mine")[1]
    assert re.search(r"mine .*running", call("batches")[1])
    lock.release()
    engine.dispose()


def test_resume_says_when_it_takes_the_budget_away(call: Call) -> None:
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    make_batch(engine, 2, batch_id="mine", queue="local-mine", max_cost=5.0)
    assert json.loads(call("resume", "mine", "--json")[1])["max_cost_usd"] == 5  # not spent
    with engine.begin() as connection:
        connection.execute(update(Batch).values(status="budget_exhausted"))
    assert "the batch has no budget any more" in call("resume", "mine")[1]
    assert "no budget" not in call("resume", "mine")[1]
    engine.dispose()


def test_without_a_key_the_two_hints_do_not_send_one_in_a_circle(
    call: Call, tmp_path: Path
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("name: mine\nprompt: p\noutput: {type: object, properties: {a: {}}}")
    for options in ((), ("--analyzer", "openai"), ("--analyzer", "rules")):
        code, _, err = call("local", sheet, "--recipe", recipe, *options)
        assert code == 2
        assert "set OPENAI_API_KEY" in err or "OPENAI_API_KEY is not set; set it" in err
        assert "use --analyzer" not in err
    assert "or use --analyzer rules" in call("local", sheet, "--analyzer", "openai")[2]


def test_a_sentence_names_no_option_that_was_not_given(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    recipe = tmp_path / "mine.yaml"
    words = ("local", sheet, "--recipe", recipe)
    recipe.write_text(MINE)
    assert "answer: set OPENAI_API_KEY. The" in call(*words)[2]
    assert "leave --analyzer rules out. The" in call(*words, "--analyzer", "rules")[2]
    recipe.write_text(MINE + "analyzer: rules\n")
    assert "leave `analyzer: rules` out of the recipe. The" in call(*words)[2]


@pytest.mark.parametrize("last", ["Summe", "TOTAL:", "Grand total 2025", "Totals"])
def test_a_dry_run_says_that_a_row_of_totals_is_left_out(
    call: Call, tmp_path: Path, last: str
) -> None:
    sheet = tmp_path / "refunds.csv"
    rows = ["Vendor,Invoice_Number,Date,Description,Amount,Tax", "ACME,1,2025-03-01,Paper,100,8"]
    sheet.write_text("\n".join([*rows, "", f"{last},,,,100,8", ""]))
    code, out, err = call("local", sheet, "--dry-run")
    assert code == 0, err
    assert f"{sheet}: 1 row is fine to submit" in out  # a .csv has no sheets
    assert f"row 4, {last!r}, is one of totals and is left out; --keep-totals takes it" in out
    code, out, _ = call("local", sheet, "--dry-run", "--keep-totals")
    assert f"{sheet}: 2 rows are fine to submit" in out
    assert "totals" not in out


@pytest.mark.parametrize("vendor", ["Total Energies", "Summerfield", "Sum of all fears " * 9])
def test_a_vendor_is_no_row_of_totals(call: Call, tmp_path: Path, vendor: str) -> None:
    sheet = tmp_path / "refunds.csv"
    rows = ["Vendor,Invoice_Number,Date,Description,Amount,Tax", "ACME,1,2025-03-01,Paper,100,8"]
    sheet.write_text("\n".join([*rows, f"{vendor},2,2025-03-01,Oil,100,8"]))
    out = call("local", sheet, "--dry-run")[1]
    assert f"{sheet}: 2 rows are fine to submit" in out
    assert "totals" not in out


# --- plain words


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--sample", "x"), "'--sample': 'x' is not a whole number from 1 to 5,000; see"),
        (("--sample", "0"), "'--sample': '0' is not a whole number from 1 to 5,000; see"),
        (("--slots", "9" * 5000), "9' is not a whole number from 1 to "),
    ],
)
def test_a_number_that_is_none_is_said_in_plain_words(
    call: Call, tmp_path: Path, words: tuple[str, str], says: str
) -> None:
    code, _, err = call("local", tmp_path / "refunds.xlsx", *words)
    assert code == 2
    assert says in err
    assert len(err) < 300


def test_after_a_clean_stop_no_row_counts_as_lost(
    tmp_path: Path,
) -> None:
    engine = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", connections=2)
    migrate(engine)
    make_batch(engine, 5, batch_id="mine", queue="local-mine")
    make_batch(engine, 5, batch_id="other", queue="local-other")
    with engine.begin() as connection:
        feeding.feed(connection, "mine", 3)
        feeding.feed(connection, "other", 3)
    run_ = Run(engine, "local-mine")
    run_.put_queue_back("local-mine")
    run_.end()
    assert statuses(engine, "mine") == ["pending"] * 5
    assert statuses(engine, "other").count("queued") == 3
    engine.dispose()
