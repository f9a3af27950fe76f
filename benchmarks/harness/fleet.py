"""Workers as a user starts them, with a broker, PostgreSQL and the API's stand-in around them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

import psutil
from sqlalchemy import Engine, func, select

from benchmarks.harness import services, sheets
from rowfleet import cells
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger import records
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Row
from rowfleet.ledger.transitions import recording
from rowfleet.queue.client import Queue
from rowfleet.recipes import loading
from rowfleet.settings import Settings, load_settings
from tests.standin import Standin
from tests.standin.calls import Call

#: What is asked about each row: the bundled recipe, some 2,000 tokens with the row.
RECIPE = loading.bundled()
MODEL = "gpt-5-mini"

#: Rows that each process answers before anything is measured: connections, imports, prices.
WARM_UP = 200

_batches = count()


@dataclass(slots=True)
class Worker:
    """A worker's processes: one, and its children on `prefork`."""

    process: subprocess.Popen[bytes]
    #: Unix time just before the start.
    started: float

    def family(self) -> list[psutil.Process]:
        """Return the process and its children."""
        first = psutil.Process(self.process.pid)
        return [first, *first.children(recursive=True)]

    def cpu(self) -> float:
        """Return the CPU seconds used so far, user and system, all threads."""
        times = [process.cpu_times() for process in self.family()]
        return sum(t.user + t.system for t in times)

    def rss(self) -> float:
        """Return the resident memory in MB of 10⁶ bytes, summed over the processes."""
        return sum(process.memory_info().rss for process in self.family()) / 1e6

    def pss(self) -> float:
        """Return the same, with each shared page shared out among those who have it."""
        return sum(process.memory_full_info().pss for process in self.family()) / 1e6


@dataclass(slots=True)
class Fleet:
    """Services, and the workers started on them."""

    broker: str
    database: str
    ledger: Engine
    standin: Standin
    workers: list[Worker] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        """Return what points a program at the services."""
        return {
            "REDIS_URL": self.broker,
            "DATABASE_URL": self.database,
            **self.standin.environment(),
        }

    def settings(self) -> Settings:
        """Return the same as settings."""
        return load_settings({}, redis_url=self.broker, database_url=self.database)

    def start(
        self, *words: str, app: str = "worker", env: Mapping[str, str] | None = None
    ) -> Worker:
        """Start a worker with Celery's own command line."""
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "--loglevel=INFO"]
        started = time.time()
        process = subprocess.Popen(
            [*command, "-n", f"w{len(self.workers)}@%h", *words],
            env={**services.environment(env), **self.environment()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        worker = Worker(process, started)
        self.workers.append(worker)
        return worker

    def stop(self) -> None:
        """Kill all workers, and their children with them."""
        for worker in self.workers:
            os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
        self.workers.clear()

    def batch(self, rows: int) -> str:
        """Record a batch and feed all of it, as a submitter does. Return its id."""
        batch_id = f"batch-{next(_batches)}"
        record(self.ledger, batch_id, rows)
        settings = self.settings()
        Feeder(self.ledger, Queue(settings), window=max(rows, 1), redelivery=75).feed(batch_id)
        return batch_id

    def wait(self, batch_id: str, seconds: float = 600) -> None:
        """Return when every row of the batch is done. Raises if one failed, or after a while."""
        end = time.monotonic() + seconds
        while True:
            with self.ledger.connect() as connection:
                counted = select(Row.status, func.count()).where(Row.batch_id == batch_id)
                counts = dict(connection.execute(counted.group_by(Row.status)).tuples().all())
            if counts.keys() == {"done"}:
                return
            if "failed" in counts or time.monotonic() > end:
                raise RuntimeError(f"{batch_id} has {counts}")
            if any(worker.process.poll() is not None for worker in self.workers):
                raise RuntimeError("a worker has ended")
            time.sleep(0.2)

    def warmed_up(self) -> None:
        """Let all workers answer some rows, then forget about those."""
        self.wait(self.batch(WARM_UP * len(self.workers)))
        self.standin.clear()


@contextmanager
def fleet(latency: float) -> Iterator[Fleet]:
    """Yield a fleet without workers, whose API takes ``latency`` seconds for an answer."""
    with (
        services.broker() as broker,
        services.ledgers("postgresql") as ledgers,
        Standin.start(latency=latency) as standin,
    ):
        database = ledgers.new()
        ledger = open_ledger(database)
        made = Fleet(broker, database, ledger, standin)
        try:
            yield made
        finally:
            made.stop()
            ledger.dispose()


def record(ledger: Engine, batch_id: str, rows: int) -> None:
    """Record a running batch of ``rows`` invoices."""
    columns = RECIPE.match_columns(sheets.HEADER, "the sheet")
    new = records.NewBatch(
        id=batch_id,
        source="bench.xlsx",
        content_hash="c" * 64,
        file_hash="f" * 64,
        sheet="Refunds",
        start_row=0,
        num_rows=None,
        header=sheets.HEADER,
        formats=["General"] * len(sheets.HEADER),
        widths=None,
        recipe=RECIPE.snapshot(),
        columns=columns,
        model=MODEL,
        analyzer="openai",
        queue="rowfleet",
    )
    encoded = [
        (n, cells.encode_all(row), f"{n:032x}") for n, row in enumerate(sheets.typed_rows(rows))
    ]
    with ledger.begin() as connection:
        assert recording.create_batch(connection, new)
        for start in range(0, rows, 1_000):
            recording.record_rows(connection, batch_id, encoded[start : start + 1_000])
        recording.finish_loading(connection, batch_id)


def span(calls: list[Call]) -> float:
    """Return the seconds from the first call's arrival to the last one's end."""
    return max(call.ended or 0 for call in calls) - min(call.time for call in calls)
