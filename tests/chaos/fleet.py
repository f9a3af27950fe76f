"""A fleet to be harmed: workers, submitters and the servers between them, and a tally of what each
harm may cost.

A row in flight on a process that is killed may be paid for again: no other process knows its
answer. `Fleet.kill` and `Fleet.freeze` read from the ledger which rows those are, at the
moment of the harm. All else must not cost a call.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError

from rowfleet.exit_codes import ExitCode
from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.models import Batch, Row
from rowfleet.ledger.schema import migrate
from tests.standin import Standin
from tests.support.sheets import invoices

Key = tuple[str, int]

#: What takes minutes in a fleet takes seconds here.
SHORT = {
    "ROWFLEET_VISIBILITY_TIMEOUT": "6",
    "ROWFLEET_RETRY_DELAY": "1",
    "ROWFLEET_SLOTS": "8",
}

#: Seconds between looks at the ledger.
LOOK = 0.05


@dataclass
class Worker:
    """A Celery worker in a process of its own."""

    name: str
    process: subprocess.Popen[bytes]
    #: Whether a case ended it, or knows why it ends. All others must live.
    may_end: bool = False

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended; a stopped one has not."""
        return self.process.poll() is None


@dataclass
class Sheet:
    """A sheet, the batch it becomes, and the processes that submit it."""

    batch_id: str
    file: Path
    rows: int
    prefix: str
    out: Path
    submitters: list[subprocess.Popen[bytes]] = field(default_factory=list)


@dataclass
class Record:
    """What a case did and saw: a line of the report."""

    rows: int = 0
    faults: int = 0
    #: Rows that ended in no end state, or in another than they should.
    lost: int = 0
    #: Calls beyond one a row and one a retry, and how many of those the kills explain.
    calls_over: int = 0
    allowed: int = 0
    #: Seconds from the end of the last harm until a row ended, and until all had.
    moves_again: float | None = None
    ended: float | None = None


class Fleet:
    """Starts processes, harms them, and knows what that may cost. Ends only what it started."""

    def __init__(
        self,
        home: Path,
        rng: random.Random,
        standin: Standin,
        *,
        redis_url: str,
        database_url: str,
        changes: dict[str, str] | None = None,
    ) -> None:
        self.rng = rng
        self.standin = standin
        self.record = Record()
        self.sheets: list[Sheet] = []
        self.workers: list[Worker] = []
        #: Row → times it was in flight on a process that was killed or frozen.
        self.excused: Counter[Key] = Counter()
        self.engine: Engine = open_ledger(database_url, connections=2)
        migrate(self.engine)
        self.environment = {
            **os.environ,
            **SHORT,
            **standin.environment(),
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "ROWFLEET_QUEUE": f"chaos-{os.getpid()}-{time.monotonic_ns()}",
            **(changes or {}),
        }
        self._home = home
        self._processes: list[subprocess.Popen[bytes]] = []
        self._harmed_at: float | None = None
        self._done_then = 0

    # --- processes

    def start_worker(self, *options: str, app: str = "worker", **changes: str) -> Worker:
        """Start a worker; ``changes`` are variables of its environment."""
        name = f"w{len(self.workers)}@{os.uname().nodename}"
        command = [sys.executable, "-m", "celery", "-A", app, "worker", "-n", name]
        process = self._start([*command, "--loglevel", "INFO", *options], f"{name}.log", changes)
        worker = Worker(name, process)
        self.workers.append(worker)
        return worker

    def log_of(self, worker: Worker) -> str:
        """Return what the worker has logged."""
        return self.said(f"{worker.name}.log")

    def said(self, log: str) -> str:
        """Return what processes have written to the file ``log``, such as `submit.log`."""
        return (self._home / log).read_text("utf-8", "replace")

    def sheet(self, rows: int, prefix: str = "INV") -> Sheet:
        """Write a sheet that is not submitted yet."""
        file = invoices(self._home / f"{prefix}.xlsx", rows, prefix=prefix)
        sheet = Sheet(f"b-{prefix.lower()}", file, rows, prefix, self._home / f"{prefix}.out.xlsx")
        self.sheets.append(sheet)
        return sheet

    def submit(self, sheet: Sheet, *, out: Path | None = None) -> subprocess.Popen[bytes]:
        """Start `rowfleet submit --wait --export` for the sheet."""
        command = [sys.executable, "-m", "submitter", "submit", "--wait"]
        command += ["--batch-id", sheet.batch_id, "--excel", str(sheet.file)]
        process = self._start([*command, "--export", str(out or sheet.out)], "submit.log", {})
        sheet.submitters.append(process)
        return process

    def submitted(self, rows: int, prefix: str = "INV") -> Sheet:
        """Write a sheet and submit it."""
        sheet = self.sheet(rows, prefix)
        self.submit(sheet)
        return sheet

    def run(self, *arguments: str, program: str = "submitter") -> int:
        """Run a command of `rowfleet` to its end and return its exit code."""
        command = [sys.executable, "-m", program, *arguments]
        return self._start(command, "commands.log", {}).wait(60)

    def _start(
        self, command: list[str], log: str, changes: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        with (self._home / log).open("ab") as output:
            process = subprocess.Popen(
                command,
                env={**self.environment, **changes},
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._processes.append(process)
        return process

    def close(self) -> None:
        """End every process that still runs."""
        for process in self._processes:
            if process.poll() is None:
                process.kill()  # takes a stopped one, too
            process.wait()
        self.engine.dispose()

    # --- harms

    @contextmanager
    def harm(self, faults: int = 1) -> Iterator[None]:
        """Count faults, all injected while the batches run, and take the time from their end."""
        assert self.is_unfinished(), "the batch ended before it could be harmed; it needs more rows"
        yield
        self.record.faults += faults
        self._harmed_at = time.monotonic()
        self._done_then = self.ended_rows(wait=True)
        self.record.moves_again = self.record.ended = None

    def kill(self, *workers: Worker) -> None:
        """SIGKILL workers at once, and excuse what they had in flight."""
        for worker in workers:
            worker.may_end = True
            worker.process.kill()
        for worker in workers:
            worker.process.wait()
        self.excuse(*workers)

    def terminate(self, worker: Worker) -> None:
        """SIGTERM a worker and wait until it has finished its rows and ended in order."""
        worker.may_end = True
        worker.process.terminate()
        ended = worker.process.wait(30)
        if " ready." in self.log_of(worker):
            assert ended == 0
        else:  # it was still starting, and held nothing
            assert ended in (0, ExitCode.TERMINATED, -signal.SIGTERM)

    def freeze(self, worker: Worker) -> None:
        """SIGSTOP a worker for longer than its leases last, and excuse what it has in flight."""
        worker.process.send_signal(signal.SIGSTOP)
        self.excuse(worker)

    def thaw(self, worker: Worker) -> None:
        """SIGCONT."""
        worker.process.send_signal(signal.SIGCONT)

    def excuse(self, *workers: Worker) -> None:
        """Allow one more call for each row that these workers have claimed and not settled."""
        names = [worker.name for worker in workers]
        with self.engine.connect() as connection:
            held = connection.execute(
                select(Row.batch_id, Row.number).where(
                    Row.worker.in_(names), Row.status == "running"
                )
            ).all()
        self.excused.update((batch_id, number) for batch_id, number in held)

    # --- waiting

    def at_some_moment(self, first: float = 0.1, last: float = 0.5) -> None:
        """Wait for a random moment, when between ``first`` and ``last`` of all rows have ended."""
        total = sum(sheet.rows for sheet in self.sheets)
        wanted = int(total * self.rng.uniform(first, last))
        self.until(lambda: self.ended_rows() >= wanted, 60)
        self.pause(0, 0.2)

    def pause(self, least: float, most: float) -> None:
        """Sleep for a random time, in seconds."""
        time.sleep(self.rng.uniform(least, most))

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until ``condition()`` holds; fail if it does not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"not within {seconds:g} s: {self.state()}"
            time.sleep(LOOK)

    def ended_rows(self, *, wait: bool = False) -> int:
        """Return how many rows have ended; 0 while the ledger is away, unless ``wait``."""
        while True:
            try:
                return sum(self.statuses()[s] for s in ("done", "failed", "cancelled"))
            except DBAPIError:
                if not wait:
                    return 0
                time.sleep(LOOK)

    def statuses(self) -> Counter[str]:
        """Return how many rows are in each state."""
        with self.engine.connect() as connection:
            return Counter(connection.execute(select(Row.status)).scalars())

    def failed_rows(self) -> list[Key]:
        """Return the rows that have failed."""
        with self.engine.connect() as connection:
            found = connection.execute(
                select(Row.batch_id, Row.number).where(Row.status == "failed")
            ).all()
        return [(batch_id, number) for batch_id, number in found]

    def batch_status(self, sheet: Sheet) -> str | None:
        """Return the batch's state, None before it is recorded."""
        with self.engine.connect() as connection:
            return connection.execute(
                select(Batch.status).where(Batch.id == sheet.batch_id)
            ).scalar()

    def is_unfinished(self) -> bool:
        """Tell whether rows have yet to end."""
        return self.ended_rows(wait=True) < sum(sheet.rows for sheet in self.sheets)

    def finish(self, seconds: float = 90) -> None:
        """Wait until all rows have ended, and note how long after the last harm that was."""
        total = sum(sheet.rows for sheet in self.sheets)

        def ended() -> bool:
            count = self.ended_rows()
            since = time.monotonic() - (self._harmed_at or time.monotonic())
            if self.record.moves_again is None and count > min(self._done_then, total - 1):
                self.record.moves_again = since
            if count < total:
                return False
            if self.record.ended is None:
                self.record.ended = since
            return True

        self.until(ended, seconds)

    def state(self) -> dict[str, Any]:
        """Return what a failure should show."""
        try:
            rows: Any = dict(self.statuses())
        except DBAPIError as error:
            rows = str(error.orig)
        return {"rows": rows, "alive": [w.name for w in self.workers if w.is_alive]}

    # --- the stand-in's call log

    def calls(self) -> Counter[Key]:
        """Return how many calls each row has cost."""
        by_prefix = {sheet.prefix: sheet.batch_id for sheet in self.sheets}
        if len(by_prefix) == 1:
            (batch_id,) = by_prefix.values()
            counts = self.standin.summary()["rows"]
            return Counter({(batch_id, row): calls for row, calls in counts.items()})
        invoice = re.compile(rf"\b({'|'.join(by_prefix)})-(\d+)\b")
        counter: Counter[Key] = Counter()
        for call in self.standin.calls():  # configured to keep the bodies
            assert call.body is not None
            found = invoice.search(call.body["messages"][-1]["content"])
            assert found
            counter[by_prefix[found[1]], int(found[2])] += 1
        return counter
