"""Celery's own commands on a worker of Rowfleet's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import redis

from tests.support.commands import PASSWORD, Call
from tests.support.sheets import invoices


def celery(tmp_path: Path, *words: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *words],
        env={**os.environ, **env},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("words", "env", "names"),
    [
        ("inspect ping", {"REDIS_URL": ""}, "REDIS_URL is not set"),
        ("worker", {"DATABASE_URL": ""}, "DATABASE_URL is not set"),
        ("inspect ping", {"REDIS_URL": f"redis://:{PASSWORD}/x@h/0"}, "REDIS_URL: is not a URL"),
    ],
)
def test_celery_without_its_settings_says_which(
    tmp_path: Path, redis_url: str, words: str, env: Mapping[str, str], names: str
) -> None:
    full = {"REDIS_URL": redis_url, "DATABASE_URL": f"sqlite:///{tmp_path / 'l.db'}", **env}
    ran = celery(tmp_path, *words.split(), env=full)
    assert ran.returncode == 2
    (sentence,) = ran.stderr.splitlines()
    assert sentence.startswith("rowfleet: ")
    assert names in sentence
    assert PASSWORD not in sentence
    assert list(tmp_path.iterdir()) == []


def test_celery_purge_empties_the_queue_and_inspect_finds_no_worker(
    call: Call, tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_url)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'ledger.db'}")
    sheet = invoices(tmp_path / "refunds.xlsx", 5)
    assert call("submit", "--excel", sheet, "--batch-id", "b")[0] == 0
    ran = celery(tmp_path, "purge", "-f", env={})
    assert ran.returncode == 0, ran.stderr
    assert "5 messages" in ran.stdout
    assert redis.Redis.from_url(redis_url).llen("rowfleet") == 0
    asked = celery(tmp_path, "inspect", "ping", "--timeout", "0.5", env={})
    assert asked.returncode == 69  # Celery's own, EX_UNAVAILABLE: no worker is there to answer
    assert "No nodes replied" in asked.stderr
    assert "Traceback" not in asked.stderr
