"""Submitters that meet, and one that is killed: each row is recorded once."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import redis
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.queries import progress
from rowfleet.ledger.queries.rows import recorded_rows
from tests.support.commands import Call
from tests.support.sheets import invoices


def _start(tmp_path: Path, sheet: Path, batch_id: str) -> subprocess.Popen[str]:
    words = ["submit", "--excel", str(sheet), "--batch-id", batch_id, "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "submitter", *words],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _recorded(database_url: str) -> int:
    """Return how many rows the ledger has; none as long as it has no schema."""
    engine = open_ledger(database_url)
    try:
        with engine.connect() as connection:
            return connection.scalar(select(func.count()).select_from(Row)) or 0
    except DBAPIError:
        return 0
    finally:
        engine.dispose()


def test_submitters_that_meet_on_an_empty_database_record_each_row_once(
    tmp_path: Path, services: redis.Redis, database_url: str
) -> None:
    sheet = invoices(tmp_path / "refunds.xlsx", 600)
    processes = [_start(tmp_path, sheet, "b") for _ in range(2)]
    said = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert sorted(json.loads(out)["continued"] for out, _ in said) == [False, True]
    with open_ledger(database_url).connect() as connection:
        numbers = [row.number for row in recorded_rows(connection, "b")]
        now = progress.progress_of(connection, "b")
    assert numbers == list(range(600))
    assert (now.status, now.queued, now.total) == ("running", 600, 600)
    assert services.llen("rowfleet") == 600


def test_a_submitter_killed_while_recording_loses_and_doubles_no_row(
    tmp_path: Path,
    services: redis.Redis,
    database_url: str,
    call: Call,
    eventually: Callable[..., None],
) -> None:
    sheet = invoices(tmp_path / "many.xlsx", 20_000)
    process = _start(tmp_path, sheet, "b")
    eventually(lambda: _recorded(database_url) >= 3_000)
    process.kill()
    process.communicate()
    assert _recorded(database_url) < 20_000
    code, out, err = call("submit", "--excel", sheet, "--batch-id", "b", "--json")
    assert code == 0, err
    assert json.loads(out) == {"batch_id": "b", "continued": True, "rows": 20_000}
    with open_ledger(database_url).connect() as connection:
        numbers = list(connection.scalars(select(Row.number).order_by(Row.number)))
        now = progress.progress_of(connection, "b")
    assert numbers == list(range(20_000))
    assert (now.status, now.total) == ("running", 20_000)
    assert int(services.llen("rowfleet")) <= 10_000
