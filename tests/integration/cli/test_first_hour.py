"""A newcomer's first hour: what the program prints to be typed next works as it is printed."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
import yaml
from sqlalchemy import update

from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.schema import migrate
from rowfleet.ledger.transitions import claiming, feeding, settling
from rowfleet.queue.client import Queue
from rowfleet.recipes.recipe import Recipe
from rowfleet.settings import Settings
from submitter.cli import console
from submitter.local.run_lock import RunLock
from submitter.local.worker import Run
from submitter.progress import presence
from submitter.progress.presence import NothingRunsItError, Presence
from tests.standin import Standin
from tests.support.ledger import make_batch, statuses
from tests.support.sheets import invoices, results

Said = tuple[int, str, str]
Call = Callable[..., Said]

#: The program as it is in a checkout: not on the PATH.
ROWFLEET = Path(sys.executable).with_name("rowfleet")


def run(
    *words: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROWFLEET, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def typed(
    line: str, *, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a printed command in a shell that knows of no ledger."""
    bare = {k: v for k, v in os.environ.items() if k not in ("XDG_STATE_HOME", "DATABASE_URL")}
    return subprocess.run(
        ["sh", "-c", line],
        cwd=cwd,
        env={**bare, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def after(marker: str, said: str) -> str:
    (line,) = re.findall(rf"^.*{marker}(.*)$", said, re.MULTILINE)
    return str(line)


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
    with Standin.start(latency=1) as standin:
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
    with Standin.start(faults=[{"kind": "refusal", "rows": [3]}]) as standin:
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


#: A recipe that only a model can answer.
MINE = """\
name: mine
prompt: Say which team pays.
output: {type: object, properties: {team: {type: string}}}
"""


def test_a_batch_of_a_recipe_of_ones_own_goes_on_without_its_file(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 6)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(MINE)
    words = ("local", "refunds.xlsx", "--recipe", "mine.yaml", "--model", "gpt-5-nano")
    with Standin.start(faults=[{"kind": "refusal", "rows": [3]}]) as standin:
        env = standin.environment()
        assert run(*words, cwd=tmp_path, env=env).returncode == 1
        (batch,) = json.loads(run("batches", "--json", cwd=tmp_path).stdout)
        standin.configure(faults=[])
        recipe.unlink()
        again = run("retry", batch["batch_id"], cwd=tmp_path)
        line = after("nothing runs the batch now; run its rows with: ", again.stdout)
        ran = typed(line, cwd=tmp_path, env=env)
        assert ran.returncode == 0, ran.stderr
        assert "analyzer openai, model gpt-5-nano" in ran.stderr
        assert standin.summary()["calls"] == 7
        recipe.write_text(MINE.replace("pays", "paid"))
        other = run(*words, "--batch-id", batch["batch_id"], cwd=tmp_path, env=env)
        assert other.returncode == 2
        assert "another sheet, range or recipe" in other.stderr


def test_a_batch_named_by_its_id_keeps_its_recipe_and_its_price(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    price = {"input": 1, "output": 1}
    recipe = Recipe.model_validate(
        {**yaml.safe_load(MINE), "analyzer": "openai", "model": "of-our-own"}
    )
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    make_batch(engine, 3, batch_id="mine", recipe=recipe, price=price)
    make_batch(engine, 3, batch_id="later", price={"input": 1, "by the moon": 1})
    engine.dispose()
    words = ("submit", "--excel", sheet, "--dry-run", "--json", "--max-cost", 5)
    code, out, err = call(*words, "--batch-id", "mine")
    assert code == 0, err
    said = json.loads(out)
    assert (said["analyzer"], said["model"]) == ("openai", "of-our-own")
    assert said["cost_usd"] > 0
    assert json.loads(call(*words, "--batch-id", "new")[1])["analyzer"] == "rules"
    assert (
        "the price of batch later was recorded by another version"
        in call(*words, "--batch-id", "later")[2]
    )
    code, _, err = call(*words, "--batch-id", "no id")
    assert (code, "--batch-id 'no id': use up to" in err) == (2, True)


def test_watching_a_local_run_lasts_as_long_as_it_does(tmp_path: Path) -> None:
    invoices(tmp_path / "refunds.xlsx", 2)
    with Standin.start(latency=presence.LOCAL_ALONE + 3) as standin:
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
    with Standin.start() as standin:
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


# --- ids


def made(*ids: str) -> None:
    url = f"sqlite:///{os.environ['XDG_STATE_HOME']}/rowfleet/ledger.db"
    engine = open_ledger(url, connections=1)
    migrate(engine)
    for batch_id in ids:
        make_batch(engine, 2, batch_id=batch_id)
        with engine.begin() as connection:
            connection.execute(update(Row).values(status="failed", error="no"))
    engine.dispose()


@pytest.mark.parametrize(
    "words",
    [
        ("progress", "ACME-2"),
        ("failed", "ACME-2"),
        ("export", "ACME-2", "out.xlsx"),
        ("retry", "ACME-2"),
        ("resume", "ACME-2"),
        ("cancel", "ACME-2"),
    ],
)
def test_the_beginning_of_an_id_is_enough(call: Call, words: tuple[str, ...]) -> None:
    made("ACME-2025-0123456789ab", "acme-2025-0123456789ab")
    code, out, err = call(*words)
    assert code == 0, err
    assert "acme" not in out


def test_a_beginning_of_several_ids_lists_them(call: Call) -> None:
    made("acme-1", "acme-2", "acme", "zeta_1", "zetaX1")
    assert call("progress", "acme")[0] == 0  # the whole id of one of them
    code, out, err = call("cancel", "acme-")
    assert (code, out) == (2, "")
    assert err == "rowfleet: 2 batches begin with 'acme-': acme-1, acme-2; give more of it\n"
    assert call("progress", "zeta_")[0] == 0  # no wildcard
    for nothing in ("beta", ""):
        code, _, err = call("failed", nothing)
        assert code == 2
        assert f"there is no batch {nothing!r}" in err


@pytest.mark.parametrize("width", ["80", "200"])
def test_no_id_is_wrapped_or_cut(call: Call, monkeypatch: pytest.MonkeyPatch, width: str) -> None:
    ids = ["i" * 64, "master-refunds-2026-final-version-af7d9de885ee"]
    made(*ids)
    monkeypatch.setenv("COLUMNS", width)
    for force in ("", "1"):
        monkeypatch.setattr(console.out, "_force_terminal", bool(force))
        _, out, _ = call("batches")
        for batch_id in ids:
            assert batch_id in out
            assert batch_id in call("progress", batch_id)[1]


# --- recipes


def test_a_bundled_recipe_is_listed_and_copied_and_no_file_overwritten(
    call: Call, tmp_path: Path
) -> None:
    code, out, _ = call("recipes")
    assert code == 0
    assert out.startswith("invoice-refunds  ")
    assert "copy one with: rowfleet recipes copy invoice-refunds" in out
    assert call("recipes", "copy", "invoice-refunds")[0] == 0
    copy = tmp_path / "invoice-refunds.yaml"
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("submit", "--excel", sheet, "--dry-run", "--recipe", copy)
    assert call(*words)[0] == 0
    copy.write_text("mine")
    code, _, err = call("recipes", "copy", "invoice-refunds")
    assert code == 2
    assert err == "rowfleet: invoice-refunds.yaml: is there already; give another name\n"
    assert copy.read_text() == "mine"
    assert call("recipes", "copy", "invoice-refunds", "other.yaml")[0] == 0
    assert "there are invoice-refunds" in call("recipes", "copy", "../invoice-refunds")[2]
    assert call("recipes", "copy", "invoice-refunds", "no/such/dir.yaml")[0] == 2


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


def test_a_dry_run_of_a_recipe_of_ones_own_needs_no_key(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(MINE)
    for words in (("submit", "--excel", sheet), ("local", sheet)):
        code, out, err = call(*words, "--recipe", recipe, "--dry-run")
        assert code == 0, err
        assert "3 rows are fine to submit\nanalyzer openai, model " in out
        assert "OPENAI_API_KEY is not set: a dry run needs none" in out
    assert {path.name for path in tmp_path.iterdir()} == {"refunds.xlsx", "mine.yaml"}
    assert not Path(os.environ["XDG_STATE_HOME"]).exists()


def test_a_sentence_names_no_option_that_was_not_given(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    recipe = tmp_path / "mine.yaml"
    words = ("local", sheet, "--recipe", recipe)
    recipe.write_text(MINE)
    assert "answer: set OPENAI_API_KEY. The" in call(*words)[2]
    assert "leave --analyzer rules out. The" in call(*words, "--analyzer", "rules")[2]
    recipe.write_text(MINE + "analyzer: rules\n")
    assert "leave `analyzer: rules` out of the recipe. The" in call(*words)[2]


def test_a_bundled_recipe_goes_by_its_name(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("submit", "--excel", sheet, "--dry-run", "--recipe", "invoice-refunds")
    assert call(*words)[0] == 0
    (tmp_path / "invoice-refunds").write_text("mine")  # a file of that name is meant first
    code, _, err = call(*words)
    assert (code, "invoice-refunds: a recipe is a YAML mapping" in err) == (2, True)


@pytest.mark.parametrize("last", ["Summe", "TOTAL:", "Grand total 2025", "Totals"])
def test_a_dry_run_says_that_the_last_row_looks_like_totals(
    call: Call, tmp_path: Path, last: str
) -> None:
    sheet = tmp_path / "refunds.csv"
    rows = ["Vendor,Invoice_Number,Date,Description,Amount,Tax", "ACME,1,2025-03-01,Paper,100,8"]
    sheet.write_text("\n".join([*rows, "", f"{last},,,,100,8", ""]))
    code, out, err = call("local", sheet, "--dry-run")
    assert code == 0, err
    assert f"{sheet}: 2 rows are fine to submit" in out  # a .csv has no sheets
    assert f"row 4, the last, begins with {last!r}" in out
    assert "leave it out with --num-rows 2" in out
    code, out, _ = call("local", sheet, "--dry-run", "--num-rows", 2)
    assert f"{sheet}: 1 row is fine to submit" in out
    assert ", the last, begins" not in out


@pytest.mark.parametrize("vendor", ["Total Energies", "Summerfield", "Sum of all fears " * 9])
def test_a_vendor_is_no_row_of_totals(call: Call, tmp_path: Path, vendor: str) -> None:
    sheet = tmp_path / "refunds.csv"
    rows = ["Vendor,Invoice_Number,Date,Description,Amount,Tax", "ACME,1,2025-03-01,Paper,100,8"]
    sheet.write_text("\n".join([*rows, f"{vendor},2,2025-03-01,Oil,100,8"]))
    assert "the last row" not in call("local", sheet, "--dry-run")[1]


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


def test_a_file_that_is_no_recipe_gets_a_sentence(call: Call, tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    words = ("local", sheet, "--dry-run", "--recipe")
    code, _, err = call(*words, sheet)
    assert (code, err) == (
        2,
        f"rowfleet: {sheet}: is a spreadsheet; --recipe takes a recipe, a page of YAML\n",
    )
    recipe = tmp_path / "mine.yaml"
    recipe.write_bytes("name: mine\nprompt: für wen?\n".encode("latin-1"))
    assert f"{recipe}: is not UTF-8 text (line 2)" in call(*words, recipe)[2]
    recipe.write_text("name: [mine\nprompt: p\n")
    err = call(*words, recipe)[2]
    assert f"{recipe}: not valid YAML: while parsing a flow sequence at line 1, column 7" in err
    assert "unicode string" not in err


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
