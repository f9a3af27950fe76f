"""SIGTERM ends a command promptly, with a sentence and nothing half done."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis

from tests.support.sheets import invoices


def test_a_submitter_that_waits_ends_on_sigterm_and_the_same_again_goes_on(
    redis_url: str,
    tmp_path: Path,
    eventually: Callable[..., None],
    rowfleet: Callable[..., subprocess.CompletedProcess[str]],
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 5)
    env = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path / 'ledger.db'}"}
    words = ["submit", "--excel", str(sheet), "--wait", "--export", str(tmp_path / "out.xlsx")]
    process = subprocess.Popen(
        [sys.executable, "-m", "submitter", *words],
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        eventually(lambda: redis.Redis.from_url(redis_url).llen("rowfleet") == 5)
        process.terminate()
        _, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 143
    assert err.splitlines()[-1] == "rowfleet: ended by SIGTERM; the same command again goes on"
    assert "Traceback" not in err
    assert [path.name for path in tmp_path.glob("out*")] == []
    again = rowfleet("submit", "--excel", sheet, env=env)
    assert "this continues a batch submitted before" in again.stderr
