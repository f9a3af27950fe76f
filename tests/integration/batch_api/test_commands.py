import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import RemoteBatch
from submitter.cli import main
from tests.integration.batch_api.test_tier import Eventually, Run, calls
from tests.standin import Standin
from tests.support.ledger import statuses
from tests.support.sheets import invoices, results

QUICK = {"ROWFLEET_BATCH_POLL": "0.1", "ROWFLEET_RETRY_DELAY": "0"}


@pytest.fixture
def env(tmp_path: Path, standin: Standin) -> dict[str, str]:
    """A ledger and the API, and no broker at all."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    return {**standin.environment(), **QUICK, "DATABASE_URL": url, "ROWFLEET_BATCH_FILE_ROWS": "20"}


SUBMIT = ("submit", "--excel", "in.xlsx", "--tier", "batch", "--batch-id", "b")


def test_submit_waits_and_exports(
    rowfleet: Run, tmp_path: Path, env: dict[str, str], standin: Standin
) -> None:
    invoices(tmp_path / "in.xlsx", 30)
    done = rowfleet(*SUBMIT, "--wait", "--export", "out.xlsx", env=env)
    assert (done.returncode, len(results(tmp_path / "out.xlsx"))) == (0, 30), done.stderr
    assert all(row["AI_Status"] == "done" for row in results(tmp_path / "out.xlsx"))
    again = rowfleet("submit", "--excel", "in.xlsx", "--batch-id", "b", env=env)
    assert "REDIS_URL" in again.stderr  # without --tier it asks for the broker first
    assert rowfleet(*SUBMIT, "--wait", env=env).returncode == 0
    assert calls(standin) == {1: 30}


def test_submit_leaves_and_collect_goes_on(
    rowfleet: Run, tmp_path: Path, env: dict[str, str], standin: Standin
) -> None:
    standin.configure(batch_seconds=1)
    invoices(tmp_path / "in.xlsx", 30)
    left = rowfleet(*SUBMIT, "--json", env=env)
    assert left.returncode == 0, left.stderr
    assert json.loads(left.stdout) == {"batch_id": "b", "continued": False, "rows": 30}
    looked = rowfleet("collect", "b", "--json", env=env)
    assert json.loads(looked.stdout)["total"] == 30
    end = rowfleet("collect", "b", "--wait", "--export", "out.xlsx", "--json", env=env)
    assert (end.returncode, json.loads(end.stdout)["done"]) == (0, 30), end.stderr
    assert len(results(tmp_path / "out.xlsx")) == 30
    assert calls(standin) == {1: 30}


def test_a_submitter_that_is_killed_twice_is_no_loss(
    rowfleet: Run,
    tmp_path: Path,
    env: dict[str, str],
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    eventually: Eventually,
) -> None:
    standin.configure(batch_seconds=1)
    invoices(tmp_path / "in.xlsx", 50)
    engine = open_ledger(env["DATABASE_URL"])

    def killed(when: Callable[[], object]) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "submitter", *SUBMIT, "--wait"],
            cwd=tmp_path,
            env={**os.environ, **env},
        )
        try:
            eventually(when, seconds=120)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()

    killed(lambda: len(made()) >= 1)
    killed(lambda: "done" in statuses(engine))
    end = rowfleet(*SUBMIT, "--wait", "--export", "out.xlsx", env=env)
    assert end.returncode == 0, end.stderr
    assert [row["AI_Status"] for row in results(tmp_path / "out.xlsx")] == ["done"] * 50
    assert [b["request_counts"]["total"] for b in made()] == [20, 20, 10]
    assert calls(standin) == {1: 50}
    with engine.connect() as connection:
        assert all(connection.execute(select(RemoteBatch.finished_at)).scalars())


def test_cancel_cancels_what_is_with_the_api(
    rowfleet: Run,
    tmp_path: Path,
    env: dict[str, str],
    standin: Standin,
    made: Callable[[], list[dict[str, Any]]],
    eventually: Eventually,
) -> None:
    standin.configure(batch_seconds=3600)
    env["ROWFLEET_BATCH_FILE_ROWS"] = "100"
    invoices(tmp_path / "in.xlsx", 150)
    assert rowfleet(*SUBMIT, env=env).returncode == 0
    eventually(lambda: standin.summary()["calls"], seconds=120)
    cancelled = rowfleet("cancel", "b", env=env)
    assert cancelled.returncode == 0
    assert "rowfleet collect b --wait" in cancelled.stderr
    end = rowfleet("collect", "b", "--wait", "--json", env=env)
    said = json.loads(end.stdout)
    assert (end.returncode, said["status"], said["running"]) == (1, "cancelled", 0)
    assert said["done"] == standin.summary()["calls"] < 150  # what is paid for is kept
    assert said["done"] + said["cancelled"] == 150
    assert {b["status"] for b in made()} == {"cancelled"}
    assert rowfleet("cancel", "b", env=env).returncode == 2


MISTAKES = (
    ((*SUBMIT, "--analyzer", "rules"), "--tier batch: the analyzer rules"),
    ((*SUBMIT, "--urgent"), "--urgent"),
    (("collect", "w"), "no batch 'w'"),
    (("collect", "b", "--export", "out.xlsx"), "--export needs --wait"),
    (("repair", "b"), "rowfleet collect b"),
    (("submit", "--excel", "in.xlsx", "--batch-id", "b", "--tier", "workers"), "--tier batch"),
)


def test_mistakes_get_their_sentences(
    tmp_path: Path,
    env: dict[str, str],
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    invoices(tmp_path / "in.xlsx", 3)
    monkeypatch.chdir(tmp_path)
    for name, value in {**env, "REDIS_URL": redis_url}.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["rowfleet", *words])
        with pytest.raises(SystemExit) as caught:
            main.main()
        return int(caught.value.code or 0), " ".join(capsys.readouterr().err.split())

    assert run(*SUBMIT, "--wait")[0] == 0
    for words, names in MISTAKES:
        code, said = run(*words)
        assert (code, names in said) == (2, True), (words, said)


def test_a_missing_key_is_said_before_anything_is_recorded(
    rowfleet: Run, tmp_path: Path, env: dict[str, str]
) -> None:
    invoices(tmp_path / "in.xlsx", 3)
    env["OPENAI_API_KEY"] = ""
    said = rowfleet(*SUBMIT, "--analyzer", "openai", env=env)
    assert (said.returncode, "OPENAI_API_KEY is not set" in said.stderr) == (2, True)
    assert not (tmp_path / "ledger.db").exists()
    dry = rowfleet(*SUBMIT, "--analyzer", "openai", "--dry-run", env=env)
    assert dry.returncode == 0
