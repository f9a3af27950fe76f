"""Locks that tell a run that lives from one that was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowfleet.errors import ServiceError
from submitter.local import run_lock
from submitter.local.run_lock import RunLock

SLEEP = [sys.executable, "-c", "import sys; sys.stdin.read()"]


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[RunLock]:
    held = RunLock(tmp_path / "runs", "run-")
    yield held
    held.release()


def child_with(lock: RunLock) -> subprocess.Popen[bytes]:
    return subprocess.Popen(SLEEP, stdin=subprocess.PIPE, pass_fds=[lock.descriptor])


def test_a_run_that_lives_is_not_taken_for_dead(lock: RunLock, tmp_path: Path) -> None:
    assert list(run_lock.dead(tmp_path / "runs")) == []


def test_a_run_lives_while_a_child_holds_its_lock(tmp_path: Path) -> None:
    """As a worker does that finishes its rows after its submitter was killed."""
    runs = tmp_path / "runs"
    made = f"""
import subprocess, sys
from pathlib import Path
from submitter.local.run_lock import RunLock
lock = RunLock(Path({str(runs)!r}))
child = subprocess.Popen({SLEEP!r}, pass_fds=[lock.descriptor])
print(lock.name, flush=True)
child.wait()
"""
    run = subprocess.Popen(
        [sys.executable, "-c", made], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert run.stdout is not None
    assert run.stdin is not None
    name = run.stdout.readline().decode().strip()
    run.kill()
    run.wait()
    assert list(run_lock.dead(runs)) == []
    run.stdin.close()  # which ends the child
    assert run.stdout.read() == b""
    assert list(run_lock.dead(runs)) == [name]
    assert list(run_lock.dead(runs)) == []  # it was told once


def test_a_dead_run_is_found_again_if_cleaning_up_after_it_fails(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    child = child_with(lock)

    os.close(lock.descriptor)
    child.kill()
    child.communicate()

    def clean_up() -> None:
        for _ in run_lock.dead(tmp_path):
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        clean_up()
    assert list(run_lock.dead(tmp_path)) == [lock.name]


def test_a_released_lock_leaves_nothing(tmp_path: Path) -> None:
    RunLock(tmp_path).release()
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_can_not_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()  # as a full disk would, for a superuser, too
    with pytest.raises(ServiceError, match=r"runs: can't be written: "):
        RunLock(tmp_path / "runs")
    lock = RunLock(tmp_path / "locks")
    full, held = os.open("/dev/full", os.O_WRONLY), lock.descriptor
    lock.descriptor = full
    with pytest.raises(ServiceError, match=r"can't be written: "):
        lock.annotate("queue")
    os.close(full)
    lock.descriptor = held
    lock.release()
