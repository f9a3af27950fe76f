"""The worker of `rowfleet local` starts before its settings are known, and imports meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from submitter.local.standby import Standby, standing_by
from tests.support.sheets import invoices, results

Run = Callable[..., subprocess.CompletedProcess[str]]


def workers_of(mark: str) -> list[psutil.Process]:
    """Return the workers that stand by or run in an environment with the variable MARK."""
    found = []
    for process in psutil.process_iter():
        try:
            if "worker.standby" in process.cmdline() and process.environ().get("MARK") == mark:
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_a_sheet_that_is_refused_leaves_no_process_and_no_file(
    tmp_path: Path, rowfleet: Run
) -> None:
    state = tmp_path / "its-state"
    env = {"XDG_STATE_HOME": str(state), "MARK": str(tmp_path)}
    ran = rowfleet("local", tmp_path / "gone.xlsx", "--analyzer", "rules", env=env)
    assert ran.returncode == 2
    assert "no such file" in ran.stderr
    assert not workers_of(str(tmp_path))
    assert not state.exists()


def test_a_dry_run_starts_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    with standing_by(wanted=False) as ready:
        assert ready == []


def test_a_process_that_stands_by_ends_with_the_one_that_started_it() -> None:
    standby = Standby()
    standby.hang_up()
    assert standby.process.wait(120) == 0


def test_a_process_that_stands_by_ends_though_its_starter_is_killed(tmp_path: Path) -> None:
    code = "import time\nfrom submitter.local.standby import Standby\nStandby()\ntime.sleep(600)"
    mark = str(tmp_path)
    starter = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "MARK": mark})
    while not (found := workers_of(mark)):
        assert starter.poll() is None
    starter.kill()
    starter.wait()
    assert psutil.wait_procs(found, 120)[1] == []


def test_a_module_of_the_user_s_directory_is_not_the_worker(tmp_path: Path, rowfleet: Run) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 3)
    (tmp_path / "worker.py").write_text("open('imported', 'w').close()\n")
    ran = rowfleet("local", sheet, "--analyzer", "rules")
    assert ran.returncode == 0, ran.stderr
    assert {row["AI_Status"] for row in results(tmp_path / "refunds.results.xlsx")} == {"done"}
    assert not list(tmp_path.rglob("imported"))
