"""The stand-in in a process of its own, as tests and benchmarks use it."""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.standin.calls import Call
from tests.standin.config import Config

_ROOT = Path(__file__).resolve().parents[2]

#: Never through a proxy that the environment names.
_open = build_opener(ProxyHandler({})).open


class Standin:
    """A running stand-in; `start` makes one. Leaving the ``with`` block stops it.

    `lent` gives one for a block, which costs a new process only if none is idle.

    It also ends when the process that started it does, however that ends.
    """

    _idle: ClassVar[list[Standin]] = []

    def __init__(self, process: subprocess.Popen[bytes], port: int, base_url: str) -> None:
        self._process = process
        self._listens(port, base_url)

    def _listens(self, port: int, base_url: str) -> None:
        self.port = port
        #: For OPENAI_BASE_URL and the SDK's ``base_url``; ends in ``/v1``.
        self.base_url = base_url
        self._control = base_url.removesuffix("/v1") + "/_standin"

    @classmethod
    def start(cls, **config: Any) -> Standin:
        """Start one on a free port; ``config`` are fields of `Config`. Raises ValueError."""
        arguments = ["--until-stdin-closes", "--config", json.dumps(config, default=_plain)]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.standin", *arguments],
            cwd=_ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert process.stdout
        line = process.stdout.readline()
        if not line:
            process.communicate()
            raise ValueError(f"the stand-in did not start with {config}")
        return cls(process, **json.loads(line))

    @classmethod
    @contextmanager
    def lent(cls, **config: Any) -> Iterator[Standin]:
        """Lend one for the block, as `start` would make it: on a port of its own, without calls.

        The process is one that an earlier block is done with, if there is one. Raises ValueError.
        """
        if cls._idle:
            standin = cls._idle.pop()
            standin._begin_anew(config)
        else:
            standin = cls.start(**config)
            atexit.register(standin.stop)
        try:
            yield standin
        finally:
            if standin._process.poll() is None:
                cls._idle.append(standin)

    def _begin_anew(self, config: dict[str, Any]) -> None:
        line = json.dumps(config, default=_plain)
        Config().changed(json.loads(line))
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        self._listens(**json.loads(self._process.stdout.readline()))

    def environment(self) -> dict[str, str]:
        """Return the variables that point a program at it; the key is any but a real one."""
        return {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": "sk-standin"}

    def calls(self, row: int | None = None) -> list[Call]:
        """Return the call log in order of arrival, or only the calls for one row number."""
        query = "" if row is None else f"?row={row}"
        return [Call(**call) for call in self._request("GET", f"calls{query}")]

    def summary(self) -> dict[str, Any]:
        """Return `calls`, `outcomes`, `rows` (row number → calls), `keys` (row key → calls),
        `in_flight`, `peak_in_flight`, `undelivered`, `prompt_tokens`, `completion_tokens`."""
        summary: dict[str, Any] = self._request("GET", "summary")
        summary["rows"] = {int(row): calls for row, calls in summary["rows"].items()}
        return summary

    def batches(self) -> list[dict[str, Any]]:
        """Return all batches as the API describes them, in the order they were made."""
        batches: list[dict[str, Any]] = self._request("GET", "batches")
        return batches

    def files(self) -> dict[str, Any]:
        """Return `kept`, the files that are not deleted; `uploads`, how many files of requests
        came in all; and `most`, how many files there were at once."""
        files: dict[str, Any] = self._request("GET", "files")
        return files

    def configure(self, **changes: Any) -> None:
        """Change settings from now on; calls in flight keep the old ones. Raises ValueError."""
        self._request("POST", "config", changes)

    def clear(self) -> None:
        """Forget the calls so far, and how often each row was tried."""
        self._request("DELETE", "calls")

    def wait_until(self, met: Callable[[dict[str, Any]], bool], timeout: float = 30) -> None:
        """Wait until ``met(summary)``. Raises TimeoutError after ``timeout`` seconds."""
        end = time.monotonic() + timeout
        while not met(summary := self.summary()):
            if time.monotonic() > end:
                shown = {k: v for k, v in summary.items() if k not in ("rows", "keys")}
                raise TimeoutError(f"not met in {timeout:g} s; the stand-in has {shown}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it; connections still open are closed. Stopping twice is fine."""
        self._process.terminate()
        self._process.communicate()

    def __enter__(self) -> Standin:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body, default=_plain).encode()
        request = Request(f"{self._control}/{path}", data, method=method)
        try:
            with _open(request, timeout=60) as response:
                return json.load(response)
        except HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None


def _plain(value: object) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (set, frozenset, range)):
        return sorted(value)
    raise TypeError(f"{value!r} is no setting")
