"""The chart's TLS, as far as it goes without a cluster: its certificate, and the URLs its pods get.

The servers of the tests are built without TLS, so it ends right in front of them.
"""

from __future__ import annotations

import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from sqlalchemy import Engine
from sqlalchemy.engine import make_url

from rowfleet.settings import Settings, load_settings
from tests.support import flower as flowers
from tests.support.brokers import tls_in_front
from tests.support.chart.cases import CASES, rendered
from tests.support.chart.manifests import component, data, environment
from tests.support.sheets import invoices
from tests.support.workers import Start

Run = Callable[..., subprocess.CompletedProcess[str]]

CA = {"redis": "/etc/rowfleet/redis-ca/ca.crt", "postgresql": "/etc/rowfleet/postgresql-ca/ca.crt"}


@dataclass(frozen=True)
class Encrypted:
    """The test's broker and ledger behind the chart's certificate."""

    redis: int
    postgresql: int
    #: Database of the ledger.
    database: str
    ca: Path

    def environment(self, program: str, ca: Path | None = None) -> dict[str, str]:
        """Return what the chart tells a program, with the addresses and files of this test."""
        manifests = rendered("TLS")
        known = CASES["TLS"].known(manifests)
        said = environment(component(manifests, program), program, known)
        ca = ca or self.ca
        return {
            "REDIS_URL": said["REDIS_URL"]
            .replace(f"{program}@rowfleet-redis:6379", f"127.0.0.1:{self.redis}")
            .replace(CA["redis"], str(ca)),
            "DATABASE_URL": said["DATABASE_URL"]
            .replace("rowfleet@rowfleet-postgresql:5432/rowfleet", self._ledger())
            .replace(CA["postgresql"], str(ca)),
        }

    def _ledger(self) -> str:
        return f"postgres@127.0.0.1:{self.postgresql}/{self.database}"


@pytest.fixture
def encrypted(redis_url: str, postgres_url: str, tmp_path: Path) -> Iterator[Encrypted]:
    """Both servers behind TLS with the certificate that helm makes."""
    for name, text in data(rendered("TLS"))["Secret", "rowfleet-tls"].items():
        (tmp_path / name).write_text(text)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    ledger = make_url(postgres_url)
    at = Path(str(ledger.query["host"])) / ".s.PGSQL.5432"
    with (
        tls_in_front(make_url(redis_url).port or 0, context) as redis,
        tls_in_front(at, context, of_postgresql=True) as postgresql,
    ):
        yield Encrypted(redis, postgresql, str(ledger.database), tmp_path / "ca.crt")


@pytest.mark.parametrize(
    ("name", "is_known"),
    [
        ("rowfleet-redis", True),
        ("rowfleet-postgresql", True),
        ("rowfleet-redis.audit.svc", True),  # as KEDA says it
        ("127.0.0.1", True),  # through a port-forward
        ("rowfleet-redis.other.svc", False),
    ],
)
def test_certificate_is_for_the_names_that_clients_use(
    encrypted: Encrypted, name: str, is_known: bool
):
    context = ssl.create_default_context(cafile=encrypted.ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT  # Python's default from 3.13 on
    with socket.create_connection(("127.0.0.1", encrypted.redis)) as plain:
        if not is_known:
            with pytest.raises(ssl.SSLCertVerificationError):
                context.wrap_socket(plain, server_hostname=name)
        else:
            with context.wrap_socket(plain, server_hostname=name) as safe:
                safe.sendall(b"PING\r\n")
                assert safe.recv(100) == b"+PONG\r\n"


def test_fleet_runs_a_batch_over_tls(
    encrypted: Encrypted,
    fleet: Settings,
    ledger: Engine,
    start: Start,
    rowfleet: Run,
    tmp_path: Path,
):
    said = encrypted.environment("worker")
    assert said["REDIS_URL"].startswith("rediss://")
    assert "sslmode=verify-full" in said["DATABASE_URL"]
    urls = load_settings(said)
    settings = fleet.model_copy(
        update={"redis_url": urls.redis_url, "database_url": urls.database_url}
    )
    start(settings)
    with flowers.running(settings, tmp_path) as flower:
        env = {
            **encrypted.environment("submitter"),
            "ROWFLEET_QUEUE": fleet.queue,
            "ROWFLEET_ANALYZER": "openai",
        }
        sheet = invoices(tmp_path / "sheet.xlsx", 3)
        done = rowfleet("submit", "--excel", sheet, "--wait", env=env)
        assert done.returncode == 0, done.stderr
        workers = flower.get("/api/workers?refresh=1", flowers.ACCOUNT)
        assert (workers[0], "rowfleet.analyze" in workers[1]) == (200, True)
        # Flower asks the broker for the queues' lengths by a client of its own.
        status, queues, _ = flower.get("/api/queues/length", flowers.ACCOUNT)
        assert (status, f'"{fleet.queue}"' in queues) == (200, True), queues


def test_programs_talk_to_no_server_whose_ca_they_do_not_know(
    encrypted: Encrypted, rowfleet: Run, tmp_path: Path
):
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    known, unknown = encrypted.environment("submitter"), encrypted.environment("submitter", other)
    ran = rowfleet("migrate", env={**known, "DATABASE_URL": unknown["DATABASE_URL"]})
    assert (ran.returncode, "certificate verify failed" in ran.stderr) == (3, True)
    assert rowfleet("migrate", env=known).returncode == 0
    ran = rowfleet("workers", env={**known, "REDIS_URL": unknown["REDIS_URL"]})
    assert (ran.returncode, "certificate verify failed" in ran.stderr.lower()) == (3, True)
