"""A fleet of the plain app: its processes, and what has become of its rows."""

from __future__ import annotations

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

import redis

from tests.chaos.fleet import LOOK, Worker
from tests.standin import Standin


class PlainFleet:
    """Starts workers of a plain app and looks on. Ends only what it started."""

    def __init__(
        self,
        home: Path,
        name: str,
        standin: Standin,
        *,
        redis_url: str,
        slots: int,
        retry_delay: float,
    ) -> None:
        """Make the fleet of the app `NAME_worker`.

        ``redis_url``: a database of its own. ``retry_delay`` in seconds.
        """
        self.name = name
        self.standin = standin
        self._home = home / name
        self._home.mkdir()
        self._slots = slots
        self._results = self._home / "results.db"
        self._redis: Any = redis.Redis.from_url(redis_url, decode_responses=True)
        self._environment = {
            **os.environ,
            **standin.environment(),
            "REDIS_URL": redis_url,
            "PLAIN_RESULTS": str(self._results),
            "PLAIN_RETRY_DELAY": str(retry_delay),
        }
        self._workers: list[Worker] = []

    # --- processes

    def enqueue(self, sheet: Path) -> None:
        """Put the sheet's rows on the queue."""
        command = [sys.executable, "-m", "tests.chaos.plain_worker", str(sheet)]
        assert self._start(command, "enqueue.log").wait(60) == 0

    def start_worker(self) -> Worker:
        """Start a worker; what it is not told here is Celery's default."""
        name = f"{self.name}{len(self._workers)}@{os.uname().nodename}"
        app = f"tests.chaos.{self.name}_worker"
        command = [sys.executable, "-m", "celery", "-A", app, "worker"]
        command += ["-n", name, "--concurrency", str(self._slots), "--loglevel", "INFO"]
        worker = Worker(name, self._start(command, f"{name}.log"))
        self._workers.append(worker)
        return worker

    def kill(self, worker: Worker) -> None:
        """SIGKILL a worker and its children at once, as the end of a container does."""
        os.killpg(worker.process.pid, signal.SIGKILL)  # each has a session of its own
        worker.process.wait()

    def close(self) -> None:
        """End every process that still runs."""
        for worker in self._workers:
            if worker.is_alive:
                self.kill(worker)
        self._redis.close()

    def _start(self, command: list[str], log: str) -> subprocess.Popen[bytes]:
        with (self._home / log).open("ab") as output:
            return subprocess.Popen(
                command,
                env=self._environment,
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    # --- what can be seen

    def until(self, condition: Callable[[], object], seconds: float) -> None:
        """Wait until ``condition()`` holds; fail if it does not within ``seconds``."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{self.name}: not within {seconds:g} s"
            time.sleep(LOOK)

    def answered(self) -> set[int]:
        """Return the rows that have an answer."""
        with closing(sqlite3.connect(self._results, timeout=60)) as results:
            return {row for (row,) in results.execute("SELECT DISTINCT row FROM results")}

    def listed(self) -> int:
        """Return what an autoscaler reads that looks at the list alone."""
        return int(self._redis.llen("celery"))

    def unacked(self) -> set[int]:
        """Return the rows whose message a worker, dead or alive, has and did not acknowledge."""
        return set(_rows(json.loads(value)[0] for value in self._redis.hvals("unacked")))

    def with_message(self) -> set[int]:
        """Return the rows that have a message, waiting or delivered."""
        pipe = self._redis.pipeline(transaction=True)
        waiting, unacked = pipe.lrange("celery", 0, -1).hvals("unacked").execute()
        return set(_rows([*map(json.loads, waiting), *(json.loads(v)[0] for v in unacked)]))

    def in_flight(self) -> bool:
        """Tell whether the model still works on a call, even one that no caller waits for."""
        return bool(self.standin.summary()["in_flight"])


def _rows(messages: Iterable[dict[str, Any]]) -> Iterable[int]:
    for message in messages:
        args, _, _ = json.loads(base64.b64decode(message["body"]))
        yield args[0]
