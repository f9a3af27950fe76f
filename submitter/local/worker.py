"""The whole job on one machine: an embedded broker, a SQLite ledger and a real Celery worker.

What the environment names (`REDIS_URL`, `DATABASE_URL`) is used instead of the embedded ones.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.engine import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    Engine,
    from_anywhere,
    reading,
    writing,
)
from rowfleet.ledger.ledger_errors import LedgerError
from rowfleet.ledger.queries import document_facts, fleet, rows
from rowfleet.ledger.transitions import claiming, feeding
from rowfleet.ledger.transitions.documents import extracting, wanting
from rowfleet.settings import VARIABLES, Settings
from rowfleet.storage.location import Location
from submitter.local import run_lock
from submitter.local.run_lock import RunLock
from submitter.local.standby import Standby
from submitter.local.state import state_directory

log = logging.getLogger(__name__)

#: A worker that dies is started again, but not one that does so this often within a minute.
MOST_RESTARTS = 5

#: What the node names of all runs' workers begin with.
NODE_PREFIX = "local-"

#: What the names of the locks begin with that only a run's submitter holds.
SUBMITTING = "submitting-"

#: What the names of the locks begin with that keep a finished sheet's name for one run.
WRITING = "writing-"


class Run:
    """This run on its ledger: its name there, and the rows that killed runs left `running`.

    Its workers hold its lock with it, so a worker that outlives its submitter keeps its rows.
    """

    def __init__(self, engine: Engine, queue: str = "") -> None:
        """Take a name that no other run has; its workers work on ``queue``, if that is known."""
        self._engine = engine
        self._directory = _locks_of(engine)
        self._lock = RunLock(self._directory, note=queue)
        # The workers don't hold this one: without its submitter a run takes up no more rows.
        self._submitting = RunLock(self._directory, SUBMITTING, note=queue)
        self._writing: RunLock | None = None
        self.descriptor = self._lock.descriptor

    def works_on(self, queue: str) -> None:
        """Say on which queue this run works, for other processes to read."""
        self._lock.annotate(queue)
        self._submitting.annotate(queue)

    def writes(self, out: Location, batch_id: str) -> None:
        """Keep the name of the batch's finished sheet for this run, until it ends.

        Raises InputError if a live run of another batch keeps it. Of two calls at a time, on the
        same ledger, neither may see the other: make them one after the other.
        """
        name = str(out.resolve() if isinstance(out, Path) else out)
        place = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()
        note = f"{place} {batch_id}"
        kept = run_lock.notes(self._directory, WRITING)
        if any(each != note and each.startswith(place) for each in kept):
            raise InputError(
                f"{out}: another `rowfleet local` that runs now writes its finished sheet there; "
                "give this one another name with --export"
            )
        self._writing = RunLock(self._directory, WRITING, note=note)

    def worker_name(self, number: int | str) -> str:
        """Return the Celery node name of this run's worker of that number."""
        return f"{_prefix(self._lock.name)}{number}@{os.uname().nodename}"

    def free_rows_of_dead_runs(self) -> None:
        """Put rows back whose whole run is gone, without waiting for their leases to run out.

        While the ledger is away nothing is done; the next look finds the same runs.
        """
        with suppress(LedgerError):
            for name in run_lock.dead(self._directory):
                with reading(self._engine) as connection:
                    workers = fleet.workers_with_rows(connection, _prefix(name))
                    workers += document_facts.extractors_with_documents(connection, _prefix(name))
                for worker in workers:
                    self.free_rows(worker)

    def free_rows(self, worker: str) -> None:
        """Put back the rows, or the documents, that ``worker``, which has ended, was running."""
        with writing(self._engine) as connection:
            claiming.give_up(connection, worker=worker, by=worker)
            extracting.give_up(connection, worker=worker)

    def put_queue_back(self, queue: str) -> None:
        """Put the rows back whose messages end with this run's broker, so that none counts as lost.

        While the ledger is away nothing is done; the next run finds that the messages are gone.
        """
        with suppress(LedgerError), writing(self._engine) as connection:
            live = [batch.id for batch in fleet.live_batches(connection, queue)]
            # Up to a minute from now: whatever the clocks, all that are queued.
            for batch_id, numbers in rows.queued_before(connection, live, -60).items():
                feeding.put_back(connection, batch_id, numbers, by=self._lock.name)
            wanting.put_back(connection, document_facts.queued_before(connection, queue, -60))

    def end(self) -> None:
        """Give the names up."""
        if self._writing is not None:
            self._writing.release()
        self._submitting.release()
        self._lock.release()


def _prefix(run: str) -> str:
    return f"{NODE_PREFIX}{run}-"


def _locks_of(engine: Engine) -> Path:
    """Return the directory of the locks of all runs on a ledger: the same for every run."""
    url = engine.url
    if engine.dialect.name == "sqlite":
        return Path(f"{Path(str(url.database)).resolve()}-runs")
    shown = url.render_as_string(hide_password=True)
    return state_directory() / "runs" / hashlib.sha256(shown.encode()).hexdigest()[:12]


def queue_of(batch_id: str) -> str:
    """Return the queue of a batch that `rowfleet local` runs with a broker of its own."""
    return f"local-{batch_id}"


def is_running(engine: Engine, queue: str) -> bool:
    """Tell whether a `rowfleet local` on this machine, or its worker, works on ``queue`` now."""
    return queue in run_lock.notes(_locks_of(engine))


def is_submitting(engine: Engine, queue: str) -> bool:
    """Tell whether the submitter of a `rowfleet local` on this machine feeds ``queue`` now."""
    return queue in run_lock.notes(_locks_of(engine), SUBMITTING)


class LocalWorker:
    """A Celery worker in a process of its own, started again if it dies."""

    #: The app that Celery starts, and what the log and messages call the process.
    app = word = "worker"

    def __init__(self, settings: Settings, logs: Path, run: Run, ready: list[Standby]) -> None:
        """Nothing starts before `start`; the worker's log goes to a file in ``logs``.

        ``ready`` holds a process that stands by, which is taken from there.
        """
        self._ready = ready
        self._standby: Standby | None = None
        self._is_told = False
        self._settings = settings
        self._logs = logs
        self._run = run
        self.log_file = logs / f"{self.word}-{os.getpid()}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []
        self._name = ""

    def start(self) -> None:
        """Start the worker; it ends by itself if this process dies."""
        with run_lock.writing(self._logs):
            self._logs.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with suppress(OSError):  # an older version made it for all to read, and its files too
            self._logs.chmod(PRIVATE_FOLDER)
        self._starts.append(time.monotonic())
        self._name = self._run.worker_name(self._numbered(len(self._starts)))
        with run_lock.writing(self.log_file):
            descriptor = os.open(
                self.log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, PRIVATE_FILE
            )
        with os.fdopen(descriptor, "ab") as output:
            standby = self._ready.pop() if self._ready else self._anew(output.fileno())
            self._standby, self._process = standby, standby.process
            standby.go(
                [
                    "-A",
                    self.app,
                    "worker",
                    "-n",
                    self._name,
                    "--pool",  # named here, too: Celery patches for gevent only by this option
                    self._settings.pool,
                    "--loglevel",
                    "INFO",
                ],
                environment_of(self._settings),
                self._logs,  # Celery looks for `worker` in its directory first
                log=output.fileno(),
                lock=self._run.descriptor,  # the run lives while its worker does
            )

    def _numbered(self, start: int) -> int | str:
        return start

    def _anew(self, errors: int) -> Standby:
        return Standby(errors)

    def watch(self) -> None:
        """Start the worker again if it died, and free its rows at once.

        Raises ServiceError if it can't be kept alive.
        """
        assert self._process is not None
        code = self._process.poll()
        if code is None:
            return
        self._free_rows()
        recent = [at for at in self._starts if time.monotonic() - at < 60]
        if len(recent) > MOST_RESTARTS:
            raise ServiceError(
                f"the {self.word} keeps dying; its log {self.log_file} ends: {self._tail()}"
            )
        log.warning("the %s died (%s); starting another", self.word, _how(code))
        self._hang_up()
        self.start()

    def let_end(self) -> None:
        """Tell the worker to end, which it does when the rows it runs have; `stop` waits for it."""
        if self._process is not None and not self._is_told:
            self._is_told = True
            self._process.terminate()

    def end(self) -> None:
        """End the worker, in which nothing runs any more and nothing can: at once, if it can be."""
        if self._settings.pool != "threads":  # its children would be left
            self.let_end()
        elif self._process is not None and not self._is_told:
            self._is_told = True
            self._process.kill()

    def stop(self) -> None:
        """Let the worker finish the rows it runs, then end it. An interrupt ends it at once."""
        process = self._process
        if process is None:
            return
        try:
            self.let_end()
            process.wait()
        finally:
            process.kill()
            process.wait()
            self._free_rows()
            self._hang_up()
            self._drop_an_empty_log()

    def _hang_up(self) -> None:
        if self._standby is not None:
            self._standby.hang_up()

    def _drop_an_empty_log(self) -> None:
        """Remove the log of a worker that ended before it wrote any, so that none pile up."""
        with suppress(OSError):
            if not self.log_file.stat().st_size:
                self.log_file.unlink()

    def _free_rows(self) -> None:
        with suppress(LedgerError):  # the ledger is away: then their leases run out
            self._run.free_rows(self._name)

    def _tail(self) -> str:
        lines = self.log_file.read_text("utf-8", "replace").split("\n")
        return " | ".join(part.strip() for part in lines if part.strip())[-400:]


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def environment_of(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the settings as they are now.

    Secrets go by the environment, never by the command line, which `ps` shows.
    """
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    for name, field in VARIABLES.items():
        value = getattr(settings, field)
        if value is not None:
            reveal = getattr(value, "get_secret_value", None)
            environment[name] = reveal() if reveal else _in_words(value)
    if settings.database_url is not None:
        environment["DATABASE_URL"] = from_anywhere(settings.database_url.get_secret_value())
    environment["ROWFLEET_EXIT_WITH_STDIN"] = "1"
    return environment


def _in_words(value: object) -> str:
    """Return a setting as its variable holds it."""
    if isinstance(value, dict):
        return json.dumps({name: price.model_dump() for name, price in value.items()})
    return str(value)
