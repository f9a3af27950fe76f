"""Service URLs are accepted and refused as the libraries that connect to them do."""

from __future__ import annotations

import inspect
import itertools
import subprocess
import sys

import pytest
from redis import ConnectionPool, RedisError
from redis.connection import SSLConnection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from rowfleet.ledger.engine import database_url
from rowfleet.services import service_urls
from rowfleet.services.service_urls import check_database_url, check_redis_url, sqlite_file

REDIS_SERVERS = [
    "redis://h", "redis://h/", "redis://h:6379/0", "redis://h:0/0", "redis://h:99999/0",
    "redis://h:x/0", "redis://h:/0", "redis://h/zero", "redis://h/1/2", "redis:///0", "redis://",
    "redis:h", "redis", "", "REDIS://h/0", " redis://h/0", "sentinel://h/0", "http://h/0",
    "redis://u:p@h/0", "redis://:p@h/0", "redis://:p/q@h/0", "redis://:p#q@h/0", "redis://:p?q@h/0",
    "redis://:p@q@h/0", "redis://:p%2Fq@h/0", "redis://[::1]:6379/0", "redis://[::1/0",
    "redis://h%20x/0", "redis://\u0663/0", "redis://h/\u0663", "redis://h/\u00b2", "redis://h/-1",
    "rediss://h", "rediss://u:p@h:6380/1", "rediss:///1",
    "unix:///run/s", "unix://", "unix://u:p@/run/s", "unix://host/run/s", "unix:/run/s",
]  # fmt: skip
REDIS_OPTIONS = [
    "", "db=2", "db=", "db=x", "db=2&db=x", "db=x&db=2", "db", "DB=2", "foo=1", "foo",
    "socket_timeout=5", "socket_timeout=x", "password=p", "protocol=3", "max_connections=5",
    "ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_cert_reqs=required", "ssl_cert_reqs=",
    "ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs=None", "ssl_cert_reqs=%6Eone",
    "ssl_cert_reqs=none&ssl_cert_reqs=x", "ssl_cert_reqs=x&ssl_cert_reqs=none",
    "ssl_ca_certs=/ca.pem", "ssl_ca_certs=/ca.pem&ssl_check_hostname=false", "ssl_sa_certs=/ca.pem",
    "ssl_sa_certs=", "ssl_ca_certs=/ca.pem&db=2", "ssl_ca_certs=/a;ssl_certfile=/b", "ssl_",
    "ssl_check_hostname=nonsense", "ssl_min_version=771", "ssl_min_version=TLSv1_2",
    "ssl_include_verify_flags=VERIFY_X509_STRICT",
    "ssl_include_verify_flags=[VERIFY_X509_STRICT,%20VERIFY_DEFAULT]",
    "ssl_exclude_verify_flags=VERIFY_NOTHING", "ssl_exclude_verify_flags=[]",
]  # fmt: skip
DATABASES = [
    "", "sqlite", "sqlite:", "sqlite:/", "sqlite://", "sqlite:///", "sqlite:///ledger.db",
    "sqlite:////var/ledger.db", "sqlite:///:memory:", "sqlite:///%3Amemory%3A", "sqlite:///a%20b",
    "sqlite:///a?mode=ro", "sqlite://?a=b", "sqlite://h/a", "sqlite://u@h/a", "sqlite://u@v@h/a",
    "sqlite:///a?b=u@h", "sqlite:///~/a", "sqlite+pysqlite:///a", "SQLITE:///a", " sqlite:///a",
    "postgresql://h", "postgresql://h/n", "postgresql://h:5432/n", "postgresql://h:/n",
    "postgresql://h:x/n", "postgresql://h:5x/n", "postgresql://h: 5/n", "postgresql://h:-1/n",
    "postgresql://h:5_0/n", "postgresql://h:\u0663/n", "postgresql://h:0/n", "postgresql://h:1:2/n",
    "postgresql://u:p@h/n", "postgresql://u@h/n", "postgresql://:p@h/n", "postgresql://@h/n",
    "postgresql://u:p@q@h/n", "postgresql://u@v@h/n", "postgresql://u:p/q@h/n",
    "postgresql://u:p?q@h/n", "postgresql://u:p:q@h/n", "postgresql://u:p#q@h/n",
    "postgresql://u:p%40q@h/n", "postgresql://h:5/n?x=u@y", "postgresql://u/v:p@h/n",
    "postgresql:///n", "postgresql://", "postgresql:///n?host=/run", "postgresql:///n?host=",
    "postgresql:///n?HOST=/run", "postgresql:///n?port=5&host=/run", "postgresql:///n?host=a&host=b",
    "postgresql://?host=a", "postgresql://h/n?password=p", "postgresql://h/n?password=p&password=q",
    "postgresql://h/n?sslmode=require", "postgresql://h/n?", "postgresql://[::1]:5432/n",
    "postgresql://[::1]/n", "postgresql://[::1/n", "postgresql://[::1]x/n", "postgresql://[]/n",
    "postgresql://[a@b]/n", "postgresql://h\n/n", "postgresql://h/n?host=a\nb", "postgres://h/n",
    "postgres:h/n", "postgresql+psycopg://h/n", "postgresql+psycopg2://h/n", "mysql://h/n",
    "postgresql-x://h/n", "p\u00f6stgresql://h/n", "://h/n", "file:///a", "redis://h/0",
]  # fmt: skip


@pytest.mark.parametrize("server", REDIS_SERVERS)
def test_redis_urls_are_taken_as_redis_py_takes_them(server: str) -> None:
    for option in REDIS_OPTIONS:
        url = f"{server}?{option}" if option else server
        assert _refuses(check_redis_url, url) == _refuses(_connectable, url), url


@pytest.mark.parametrize("url", DATABASES)
def test_database_urls_are_taken_as_sqlalchemy_takes_them(url: str) -> None:
    assert _refuses(check_database_url, url) == _refuses(_known_to_sqlalchemy, url)
    if not _refuses(check_database_url, url):
        parsed = database_url(url)
        file = parsed.database if parsed.get_backend_name() == "sqlite" else None
        assert sqlite_file(url) == file


def test_every_tls_option_of_redis_py_is_known() -> None:
    names = inspect.signature(SSLConnection.__init__).parameters
    assert set(service_urls._TLS_OPTIONS) == {name for name in names if name.startswith("ssl_")}


@pytest.mark.parametrize(
    "url",
    [f"{server}?{option}" for server, option in itertools.product(
        ["redis://:hunter2@h/0", "redis://:hunter2?@h:x/0", "rediss://:hunter2@h/0"],
        ["db=hunter2", "ssl_min_version=hunter2", "ssl_cert_reqs=hunter2", "hunter2=1"],
    )],
)  # fmt: skip
def test_the_sentence_has_nothing_of_the_url(url: str) -> None:
    with pytest.raises(ValueError, match=r"option|not a URL") as caught:
        check_redis_url(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_settings_load_without_the_clients_of_the_services() -> None:
    code = (
        "import sys; from rowfleet.settings import load_settings;"
        "load_settings({'REDIS_URL': 'rediss://h/0?ssl_cert_reqs=none',"
        " 'DATABASE_URL': 'postgresql://h/n'});"
        "print({'redis', 'sqlalchemy', 'psycopg', 'celery', 'kombu'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def _refuses(check: object, url: str) -> bool:
    assert callable(check)
    try:
        check(url)
    except ValueError:
        return True
    return False


def _connectable(url: str) -> None:
    """Raise ValueError unless redis-py makes a connection of ``url`` and kombu has its options."""
    parts = service_urls.urlsplit(url)
    if parts.scheme != "unix":
        database = parts.path.strip("/")
        if not parts.hostname or parts.port == 0 or (database and not database.isdigit()):
            raise ValueError(url)
    try:
        ConnectionPool.from_url(url).make_connection()
    except (TypeError, RedisError):
        raise ValueError(url) from None
    for name, _ in service_urls.parse_qsl(parts.query, keep_blank_values=True):
        if not (name == "db" if parts.scheme == "unix" else name.startswith("ssl_")):
            raise ValueError(url)


def _known_to_sqlalchemy(url: str) -> None:
    """Raise ValueError unless SQLAlchemy's ``url`` is one of a ledger."""
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(url) from None
    if parsed.drivername == "sqlite":
        is_ledger = parsed.database not in (None, "", ":memory:")
    else:
        is_ledger = parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg")
        is_ledger = is_ledger and bool(parsed.host or "host" in parsed.query)
    if not is_ledger or "@" in (parsed.host or ""):
        raise ValueError(url)
