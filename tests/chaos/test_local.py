"""`rowfleet local`, all of whose processes are killed at once, as by a power cut."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from tests.chaos import report
from tests.chaos.conftest import SEED
from tests.chaos.fleet import Record
from tests.standin import Standin
from tests.support.sheets import invoices, results

#: Times that everything is killed, each with a sheet of its own.
KILLS = 10
ROWS = 40
#: Of them so many while the processes start and the sheet is recorded, within these seconds; the
#: others when a random number of calls has been made.
EARLY, START = 3, 5.0

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(600)]


def start(sheet: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with sheet.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "submitter", "local", str(sheet), "--slots", "6"],
            env={**os.environ, **environment},
            stdout=log,
            stderr=log,
        )


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the submitter, its worker and its broker."""
    with contextlib.suppress(psutil.NoSuchProcess):
        family = psutil.Process(process.pid)
        for each in [*family.children(recursive=True), family]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
    process.wait()


def running(ledger: Path) -> list[int]:
    """Return the rows that the killed worker had claimed."""
    if not ledger.exists():
        return []
    engine = open_ledger(f"sqlite:///{ledger}")
    try:
        with engine.connect() as connection:
            query = select(Row.number).where(Row.status == "running")
            return list(connection.execute(query).scalars())
    except DBAPIError:  # killed before the tables were there
        return []
    finally:
        engine.dispose()


def test_local_is_killed_whole(
    request: pytest.FixtureRequest, tmp_path: Path, rng: random.Random, standin: Standin
) -> None:
    record = Record()
    went_on = []
    for number in range(KILLS):
        home = tmp_path / str(number)
        home.mkdir()
        sheet = invoices(home / "refunds.xlsx", ROWS)
        environment = {**standin.environment(), "XDG_STATE_HOME": str(home)}
        standin.clear()
        first = start(sheet, environment)
        if number < EARLY:
            time.sleep(rng.uniform(0.2, START))
        else:
            wanted = rng.randint(1, ROWS - 4)
            standin.wait_until(lambda seen, wanted=wanted: seen["calls"] >= wanted, 60)
            time.sleep(rng.uniform(0, 0.4))
        ended_before = first.poll() is not None
        kill_all(first)
        record.faults += not ended_before
        excused = Counter(running(home / "rowfleet" / "ledger.db"))
        killed_at = time.monotonic()
        second = start(sheet, environment)
        try:
            code = second.wait(60)  # less than a lease of 45 s and the grace of 75 behind it
        finally:
            kill_all(second)
        went_on.append(time.monotonic() - killed_at)
        said = sheet.with_suffix(".log").read_text("utf-8")
        assert code == 0, said
        rows = results(home / "refunds.results.xlsx")
        lost = [row for row in rows if row["AI_Status"] != "done"]
        assert len(rows) == ROWS
        assert not lost, said
        calls = standin.summary()["rows"]
        assert set(calls) == set(range(ROWS))
        again = {row: count - 1 for row, count in calls.items() if count > 1}
        unexplained = {row: more for row, more in again.items() if more > excused[row]}
        assert not unexplained, f"paid for without need: {unexplained}; {said}"
        record.rows += ROWS
        record.calls_over += sum(again.values())
        record.allowed += excused.total()
    record.ended = max(went_on)
    request.node.user_properties.append((report.PROPERTY, {"seed": SEED, **asdict(record)}))
