"""A fleet in small: settings with short times, its ledger, the API's stand-in, and real workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from rowfleet.ledger.engine import open_ledger
from rowfleet.ledger.schema import migrate
from rowfleet.settings import Settings, load_settings
from submitter.cli import main
from tests.standin import Standin
from tests.support.workers import Start, environment

Said = tuple[int, str, str]
Call = Callable[..., Said]


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin.lent() as server:
        yield server


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Call:
    """Run `rowfleet` in this process, in the test's directory; return exit code, output, errors."""

    def run(*words: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["rowfleet", *map(str, words)])
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SystemExit) as caught:
            main.main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def fleet(redis_url: str, postgres_url: str, standin: Standin) -> Settings:
    """Settings with short times, so that what takes minutes in a fleet takes seconds here."""
    return load_settings(
        {},
        redis_url=redis_url,
        database_url=postgres_url,
        openai_base_url=standin.base_url,
        openai_api_key="sk-test",
        slots=8,
        visibility_timeout=6,
        retry_delay=1,
        queue=f"q-{os.getpid()}-{time.monotonic_ns()}",
    )


@pytest.fixture
def ledger(fleet: Settings) -> Iterator[Engine]:
    assert fleet.database_url
    engine = open_ledger(fleet.database_url.get_secret_value(), connections=2)
    migrate(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A function that starts a worker with the given settings."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(settings: Settings, *options: str, app: str = "worker") -> subprocess.Popen[bytes]:
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "celery",
                    "-A",
                    app,
                    "worker",
                    "--loglevel",
                    "INFO",
                    "-n",
                    f"w{len(processes)}@%h",
                    *options,
                ],
                env=environment(settings),
                stdout=log,
                stderr=log,
                cwd=tmp_path,
                start_new_session=True,
            )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)  # with its children, which would stay
        process.wait()
