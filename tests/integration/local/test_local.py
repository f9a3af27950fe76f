"""`rowfleet local`: the whole job, in real processes, against the stand-in."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import openpyxl
import psutil
import pytest
from sqlalchemy import func, select

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from tests.standin import Standin
from tests.support.sheets import invoices, results

Run = Callable[..., subprocess.CompletedProcess[str]]


def start(sheet: Path, env: dict[str, str], *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "submitter", "local", str(sheet), *options],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell's background job ignores interrupts, and so would all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def worker_of(process: subprocess.Popen[str]) -> psutil.Process | None:
    for child in psutil.Process(process.pid).children():
        if "worker.standby" in child.cmdline():
            return child
    return None


def test_every_row_is_answered_with_one_call(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 120)
    with Standin.lent(latency=0.1) as standin:
        ran = rowfleet("local", sheet, "--json", env=standin.environment())
        summary = standin.summary()
    assert ran.returncode == 0, ran.stderr
    final = json.loads(ran.stdout)
    assert final["status"] == "finished"
    assert (final["total"], final["done"], final["failed"]) == (120, 120, 0)
    assert final["prompt_tokens"] == summary["prompt_tokens"]
    assert final["cost_usd"] > 0
    assert summary["calls"] == 120
    assert set(summary["rows"].values()) == {1}
    rows = results(tmp_path / "refunds.results.xlsx")
    assert [r["Invoice Number"] for r in rows] == [f"INV-{n}" for n in range(120)]
    assert {r["AI_Status"] for r in rows} == {"done"}
    for row in rows:  # the stand-in says whose answer it is
        assert re.search(rf"{row['Invoice Number']}\b", str(row["AI_Explanation"]))


def test_a_worker_that_said_nothing_leaves_no_log(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    state = tmp_path / "its-state"
    for _ in range(2):  # the second run has nothing to do, and ends its worker as it starts
        ran = rowfleet("local", sheet, "--analyzer", "rules", env={"XDG_STATE_HOME": str(state)})
        assert ran.returncode == 0, ran.stderr
    assert list(state.rglob("ledger.db"))
    assert [log.name for log in state.rglob("worker-*.log") if not log.stat().st_size] == []


def test_rows_end_done_or_failed_whatever_the_api_does(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 200)
    faults = [
        {"kind": "rate_limit", "fraction": 0.10, "retry_after": 0.2},
        {"kind": "server_error", "fraction": 0.05},
        {"kind": "drop", "fraction": 0.02},
        {"kind": "invalid_json", "fraction": 0.02},
    ]
    database = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Standin.lent(latency=0.05, faults=faults, seed=7) as standin:
        env = {**standin.environment(), "ROWFLEET_RETRY_DELAY": "0.5", "DATABASE_URL": database}
        ran = rowfleet("local", sheet, "--json", env=env)
        summary = standin.summary()
        log = standin.calls()
    final = json.loads(ran.stdout)
    assert final["done"] + final["failed"] == 200
    assert ran.returncode == (1 if final["failed"] else 0)
    listed = json.loads(
        rowfleet("failed", final["batch_id"], "--json", env={"DATABASE_URL": database}).stdout
    )
    assert len(listed) == final["failed"]
    assert all(row["error"] for row in listed)
    # A row is called once, and once more for each call that was not an answer, up to its retries.
    unanswered = [call for call in log if call.outcome != "ok"]
    assert summary["calls"] == final["done"] + len(unanswered)
    assert len(unanswered) > 10


def test_a_killed_worker_is_replaced_and_no_finished_row_called_again(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 150)
    with Standin.lent(latency=0.5) as standin:
        # A row that was delivered but not yet claimed waits for its message to be delivered again.
        env = {**standin.environment(), "ROWFLEET_SLOTS": "20", "ROWFLEET_VISIBILITY_TIMEOUT": "10"}
        process = start(sheet, env)
        standin.wait_until(lambda summary: summary["calls"] > 60)
        worker = worker_of(process)
        assert worker is not None
        worker.send_signal(signal.SIGKILL)
        output, _ = process.communicate(timeout=120)
        summary = standin.summary()
    assert process.returncode == 0, output
    assert "the worker died (signal 9); starting another" in output
    assert len(results(tmp_path / "refunds.results.xlsx")) == 150
    again = [row for row, calls in summary["rows"].items() if calls > 1]
    assert len(again) <= 20  # at most what was in flight when it was killed
    assert max(summary["rows"].values()) <= 2
    assert set(summary["rows"]) == set(range(150))


def test_killed_altogether_it_goes_on_when_run_again(
    tmp_path: Path, eventually: Callable[..., None]
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 100)
    with Standin.lent(latency=0.5) as standin:
        env = {**standin.environment(), "ROWFLEET_SLOTS": "10", "ROWFLEET_VISIBILITY_TIMEOUT": "6"}
        process = start(sheet, env)
        standin.wait_until(lambda summary: summary["calls"] > 30)
        worker = worker_of(process)
        assert worker is not None
        process.kill()
        process.communicate()
        # Its worker finishes what it runs, and ends by itself.
        eventually(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
        done_before = {c.row for c in standin.calls() if c.outcome == "ok"}
        calls_before = standin.summary()["calls"]
        second = start(sheet, env)
        output, _ = second.communicate(timeout=120)
        summary = standin.summary()
    assert second.returncode == 0, output
    assert "continues a batch submitted before" in output
    assert summary["calls"] - calls_before == 100 - len(done_before)
    assert set(summary["rows"].values()) == {1}


def kill_all(process: subprocess.Popen[str]) -> None:
    """SIGKILL the submitter, its worker and its broker, as a power cut does."""
    family = psutil.Process(process.pid)
    for each in [*family.children(recursive=True), family]:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    process.communicate()


def test_everything_killed_at_once_it_goes_on_without_waiting_for_leases(tmp_path: Path) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 30)
    with Standin.lent(latency=5) as standin:
        # The leases of an hour's visibility timeout last for 36 minutes.
        long = {"ROWFLEET_SLOTS": "10", "ROWFLEET_VISIBILITY_TIMEOUT": "3600"}
        env = {**standin.environment(), **long}
        first = start(sheet, env)
        standin.wait_until(lambda summary: summary["in_flight"] == 10, 90)
        kill_all(first)
        standin.configure(latency=0.05)
        second = start(sheet, env)
        output, _ = second.communicate(timeout=60)
        summary = standin.summary()
    assert second.returncode == 0, output
    assert {r["AI_Status"] for r in results(tmp_path / "refunds.results.xlsx")} == {"done"}
    assert summary["calls"] == 40  # the ten in flight were paid for without an answer


def test_an_orphaned_broker_is_ended_by_the_next_run(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 4)
    runs = Path(tempfile.mkdtemp(prefix="r-"))
    with Standin.lent(latency=5) as standin:
        env = {**standin.environment(), "TMPDIR": str(runs)}
        first = start(sheet, env)
        standin.wait_until(lambda summary: summary["in_flight"] == 4, 90)
        family = psutil.Process(first.pid).children()
        (broker,) = [child for child in family if "worker.standby" not in child.cmdline()]
        for child in family:
            if child != broker:
                child.kill()
        first.kill()
        first.communicate()
        assert broker.is_running()
        standin.configure(latency=0)
        ran = rowfleet("local", sheet, env=env)
    assert ran.returncode == 0, ran.stderr
    assert not broker.is_running() or broker.status() == psutil.STATUS_ZOMBIE
    assert list(runs.rglob("run-*")) == []
    shutil.rmtree(runs)


def test_a_second_process_is_refused_the_batch_of_a_run_that_lives(
    tmp_path: Path, rowfleet: Run, redis_url: str
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 120)  # 45 s of work
    copy = tmp_path / "copy.xlsx"
    shutil.copy(sheet, copy)
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Standin.lent(latency=3) as standin:
        env = {**standin.environment(), "ROWFLEET_SLOTS": "8", "DATABASE_URL": url}
        first = start(sheet, env)
        standin.wait_until(lambda summary: summary["in_flight"] == 8, 90)
        refused = [
            rowfleet("local", copy, env=env),
            rowfleet("submit", "--excel", sheet, env={**env, "REDIS_URL": redis_url}),
        ]
        for ran in refused:
            assert ran.returncode == 2, ran.stderr
            assert "is run by another `rowfleet local` now; follow it with: " in ran.stderr
            assert "Traceback" not in ran.stderr
        # A batch of its own, whose finished sheet would have the same name.
        part = rowfleet("local", sheet, "--start-row", 100, env=env)
        assert part.returncode == 2, part.stderr
        said = " ".join(part.stderr.split())
        assert "another `rowfleet local` that runs now writes its finished sheet there" in said
        standin.configure(latency=0)
        output, _ = first.communicate(timeout=60)
        summary = standin.summary()
    assert first.returncode == 0, output
    assert "has taken" not in output
    assert set(summary["rows"].values()) == {1}
    with open_ledger(url).connect() as connection:
        assert connection.execute(select(func.sum(Row.losses))).scalar_one() == 0
        queue, batch_id = connection.execute(select(Batch.queue, Batch.id)).one()
    assert queue == f"local-{batch_id}"


def test_ctrl_c_stops_cleanly_and_the_same_again_goes_on(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 80)
    with Standin.lent(latency=0.3) as standin:
        env = {**standin.environment(), "ROWFLEET_SLOTS": "10"}
        process = start(sheet, env)
        standin.wait_until(lambda summary: summary["calls"] > 20)
        worker = worker_of(process)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 130, output
        assert "Traceback" not in output
        assert worker is not None
        assert not worker.is_running()
        ran = rowfleet("local", sheet, env=env)
        summary = standin.summary()
    assert ran.returncode == 0, ran.stderr
    assert summary["calls"] == 80  # rows that ran when it was stopped were finished, not repeated
    assert set(summary["rows"].values()) == {1}


def test_two_sheets_at_once_on_one_broker_get_their_own_results(
    tmp_path: Path, redis_url: str, postgres_url: str
) -> None:
    one = invoices(tmp_path / "one.xlsx", 60, prefix="ONE")
    two = invoices(tmp_path / "two.xlsx", 60, prefix="TWO")
    with Standin.lent(latency=0.1) as standin:
        env = {**standin.environment(), "REDIS_URL": redis_url, "DATABASE_URL": postgres_url}
        processes = [start(sheet, env) for sheet in (one, two)]
        outputs = [process.communicate(timeout=120)[0] for process in processes]
        summary = standin.summary()
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert summary["calls"] == 120
    for sheet in (one, two):
        rows = results(sheet.with_name(f"{sheet.stem}.results.xlsx"))
        assert len(rows) == 60
        assert all(str(r["Invoice Number"]).startswith(sheet.stem.upper()) for r in rows)
        assert all(str(r["Invoice Number"]) in str(r["AI_Explanation"]) for r in rows)


def test_runs_on_one_broker_share_a_batch_and_ask_each_row_once(
    tmp_path: Path, rowfleet: Run, redis_url: str, postgres_url: str
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 60)
    with Standin.lent(latency=8) as standin:
        services = {"REDIS_URL": redis_url, "DATABASE_URL": postgres_url, "ROWFLEET_SLOTS": "10"}
        env = {**standin.environment(), **services}
        first = start(sheet, env)
        standin.wait_until(lambda summary: summary["in_flight"] == 10, 90)
        joined = rowfleet("submit", "--excel", sheet, "--analyzer", "openai", env=env)
        assert joined.returncode == 0, joined.stderr
        second = start(sheet, env)
        standin.wait_until(lambda summary: summary["in_flight"] == 20, 90)
        standin.configure(latency=0)
        outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
        summary = standin.summary()
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert summary["rows"] == dict.fromkeys(range(60), 1)
    done = [row["AI_Status"] for row in results(tmp_path / "refunds.results.xlsx")]
    assert done == ["done"] * 60


def test_progress_is_seen_while_it_runs(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 60)
    with Standin.lent(latency=2) as standin:
        process = start(sheet, {**standin.environment(), "ROWFLEET_SLOTS": "6"})
        standin.wait_until(lambda summary: summary["calls"] > 10)
        (batch,) = json.loads(rowfleet("batches", "--json").stdout)
        now = json.loads(rowfleet("progress", batch["batch_id"], "--json").stdout)
        standin.configure(latency=0)
        process.communicate(timeout=120)
    assert list(now) == [
        "batch_id",
        "status",
        "total",
        "pending",
        "queued",
        "running",
        "done",
        "failed",
        "cancelled",
        "rows_per_second",
        "eta_seconds",
        "prompt_tokens",
        "completion_tokens",
        "cost_usd",
        "max_cost_usd",
        "possibly_billed_calls",
        "needs_review",
    ]
    assert now["status"] == "running"
    assert 0 < now["done"] < 60
    assert now["running"] > 0
    assert now["rows_per_second"] > 0
    assert now["eta_seconds"] > 0
    parts = ("pending", "queued", "running", "done", "failed", "cancelled")
    assert sum(now[part] for part in parts) == now["total"] == 60


def test_a_rejected_key_stops_the_batch_with_one_sentence(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 300)
    with Standin.lent(api_key="sk-right") as standin:
        env = {**standin.environment(), "OPENAI_API_KEY": "sk-wrong-key", "ROWFLEET_SLOTS": "10"}
        ran = rowfleet("local", sheet, env=env)
        calls = standin.summary()["calls"]
        assert ran.returncode == 2
        assert "OPENAI_API_KEY was rejected by the API (401)" in ran.stderr
        assert "sk-wrong-key" not in ran.stderr + ran.stdout
        assert calls <= 20  # not one per row: what ran when the first was turned away
        mended = rowfleet("local", sheet, env={**env, "OPENAI_API_KEY": "sk-right"})
    assert mended.returncode == 0, mended.stderr
    assert {r["AI_Status"] for r in results(tmp_path / "refunds.results.xlsx")} == {"done"}


def test_no_key_with_the_openai_analyzer_is_said_at_once(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    ran = rowfleet("local", sheet, "--analyzer", "openai")
    assert ran.returncode == 2
    assert "OPENAI_API_KEY is not set" in ran.stderr
    assert not (tmp_path / "state").exists()


def test_failed_rows_can_be_retried(tmp_path: Path, rowfleet: Run) -> None:
    """The person names them by the numbers that the spreadsheet program shows."""
    sheet = invoices(tmp_path / "refunds.xlsx", 20)
    book = openpyxl.load_workbook(sheet)
    book.worksheets[0].insert_rows(1, 3)  # the header is in row 4, row 5 is the first below it
    book.save(sheet)
    # The stand-in takes a sheet's first row for row 2: rows 8 and 10 are its 6 and 8.
    with Standin.lent(faults=[{"kind": "refusal", "rows": [6, 8]}]) as standin:
        env = standin.environment()
        ran = rowfleet("local", sheet, "--json", env=env)
        assert ran.returncode == 1
        batch_id = json.loads(ran.stdout)["batch_id"]
        listed = json.loads(rowfleet("failed", batch_id, "--json").stdout)
        assert [row["row"] for row in listed] == [8, 10]
        assert "refused" in listed[0]["error"]
        bad = rowfleet("retry", batch_id, "--row", "3", env={"REDIS_URL": "redis://localhost"})
        assert bad.returncode == 2
        assert "row 3 of" in bad.stderr
        standin.configure(faults=[])
        again = rowfleet("retry", batch_id, "--row", "8", "--json")
        assert (again.returncode, json.loads(again.stdout)["rows"]) == (0, [8])
        rowfleet("local", sheet, env=env)
        summary = standin.summary()
    assert summary["rows"][6] == 2
    assert summary["rows"][8] == 1


@pytest.mark.parametrize(
    ("pool", "transport"),
    [("prefork", "rowfleet"), ("gevent", "rowfleet"), ("threads", "kombu"), ("prefork", "kombu")],
)
def test_other_pools_and_kombus_transport_do_the_same_job(
    tmp_path: Path, rowfleet: Run, pool: str, transport: str
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 24)
    with Standin.lent(latency=0.1) as standin:
        env: dict[str, Any] = {
            **standin.environment(),
            "ROWFLEET_POOL": pool,
            "ROWFLEET_TRANSPORT": transport,
            "ROWFLEET_SLOTS": "4",
        }
        ran = rowfleet("local", sheet, "--json", env=env)
        summary = standin.summary()
    assert ran.returncode == 0, ran.stderr
    assert summary["calls"] == 24
    assert summary["peak_in_flight"] > 1


@pytest.mark.parametrize("kind", ["hang", "drip"])
def test_a_call_that_hangs_is_ended_by_the_soft_limit(
    tmp_path: Path, rowfleet: Run, kind: str
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 6)
    with Standin.lent(faults=[{"kind": kind, "rows": [2], "attempts": 1}]) as standin:
        env = {
            **standin.environment(),
            "ROWFLEET_SOFT_TIME_LIMIT": "2",
            "ROWFLEET_RETRY_DELAY": "0.1",
        }
        started = time.monotonic()
        ran = rowfleet("local", sheet, "--json", env=env)
        summary = standin.summary()
    assert ran.returncode == 0, ran.stderr
    assert time.monotonic() - started < 60
    assert summary["rows"][2] == 2


def test_nothing_is_left_running_or_on_disk(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 5)
    runs = Path(tempfile.mkdtemp(prefix="r-"))
    others = {"REDIS_PASSWORD": "hunter2"}  # of a broker that is not named: not the embedded one's
    with Standin.lent() as standin:
        env = {**standin.environment(), **others, "TMPDIR": str(runs)}
        ran = rowfleet("local", sheet, env=env)
    assert ran.returncode == 0, ran.stderr
    assert list(runs.rglob("run-*")) == []
    shutil.rmtree(runs)
    assert not [p for p in psutil.process_iter(["cmdline"]) if str(runs) in str(p.info["cmdline"])]


def test_a_temporary_directory_too_deep_for_a_socket_does_no_harm(
    tmp_path: Path, rowfleet: Run
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    ran = rowfleet(
        "local",
        invoices(tmp_path / "refunds.xlsx", 3),
        "--analyzer",
        "rules",
        env={"TMPDIR": str(deep)},
    )
    assert ran.returncode == 0, ran.stderr


def test_prices_of_ones_own_reach_the_worker_and_its_files_are_private(
    tmp_path: Path, rowfleet: Run
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 4)
    state = tmp_path / "state"
    prices = json.dumps({"my-model": {"input": 1000, "cached": 1000, "output": 0}})
    with Standin.lent(latency=0) as standin:
        env = {
            **standin.environment(),
            "ROWFLEET_PRICES": prices,
            "ROWFLEET_POOL": "threads",
            "XDG_STATE_HOME": str(state),
            "DATABASE_URL": "",
        }
        ran = rowfleet("local", sheet, "--model", "my-model", "--json", env=env)
        tokens = standin.summary()["prompt_tokens"]
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["cost_usd"] == pytest.approx(tokens / 1000)
    folder = state / "rowfleet"
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.iterdir() if path.is_file()]
    assert {path.suffix for path in files} >= {".db", ".log"}
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
