"""Flower in a process of its own, as the chart starts it."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

from rowfleet.settings import Settings
from tests.support.brokers import free_port
from tests.support.workers import environment

CONFIGURATION = Path(__file__).parents[2] / "charts" / "rowfleet" / "files" / "flowerconfig.py"

ACCOUNT = "fleet:hunter2"


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


_open = build_opener(ProxyHandler({}), _NoRedirect).open


class Flower:
    """A running Flower, asked by HTTP."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def get(self, path: str, account: str | None = None) -> tuple[int, str, str]:
        """Return status, body, and where it leads."""
        headers = {}
        if account:
            headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
        try:
            with _open(Request(f"{self._base}{path}", headers=headers)) as answer:
                return answer.status, answer.read().decode(errors="replace"), ""
        except HTTPError as error:
            return (
                error.code,
                error.read().decode(errors="replace"),
                error.headers.get("Location", ""),
            )

    def is_up(self, prefix: str) -> bool:
        try:
            return self.get(f"{prefix}/healthcheck")[0] == 200
        except URLError:
            return False


@contextmanager
def running(settings: Settings, directory: Path, prefix: str = "") -> Iterator[Flower]:
    """Run Flower for the block; it is told all by its environment, and has no ledger.

    Its log is `flower.log` in ``directory``, and has no password in it.
    """
    port = free_port()
    env = environment(settings) | {
        "FLOWER_CONF": str(CONFIGURATION),
        "FLOWER_BASIC_AUTH": ACCOUNT,
        "FLOWER_ADDRESS": "127.0.0.1",
        "FLOWER_PORT": str(port),
        "FLOWER_READ_ONLY": "true",
        "FLOWER_XHEADERS": "true",
    }
    if prefix:
        env["FLOWER_URL_PREFIX"] = prefix
    del env["DATABASE_URL"]
    log = directory / "flower.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", "flower"],
            env=env,
            cwd=directory,
            stdout=output,
            stderr=output,
        )
    flower = Flower(port)
    deadline = time.monotonic() + 30
    try:
        while not flower.is_up(f"/{prefix}" if prefix else ""):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield flower
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()
    assert "hunter2" not in log.read_text()
