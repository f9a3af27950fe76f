"""URLs of the services, checked before anything connects."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlsplit

from redis import ConnectionPool
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

#: Schemes redis-py and kombu both take; `sentinel://` is kombu's alone.
REDIS_SCHEMES = ("redis", "rediss", "unix")

#: Databases the ledger knows: the driver it uses for each.
DATABASE_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}


def check_redis_url(url: str) -> None:
    """Raise ValueError, without the URL's password in it, if ``url`` is no Redis URL."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its text has a part of the URL, which may be the password's
        raise ValueError(
            "is not a URL; write redis://:PASSWORD@HOST:6379/0, "
            "the password's / # ? : @ as %2F %23 %3F %3A %40"
        ) from None
    if parts.scheme not in REDIS_SCHEMES:
        raise ValueError("must start with redis://, rediss:// (TLS) or unix://")
    if parts.scheme != "unix":
        if not parts.hostname:
            raise ValueError("has no host; write redis://HOST:6379/0")
        if port == 0 or (parts.path.strip("/") and not parts.path.strip("/").isdigit()):
            raise ValueError("must end in a database number, like redis://HOST:6379/0")
    _check_redis_options(url)


def _check_redis_options(url: str) -> None:
    try:
        ConnectionPool.from_url(url).make_connection()  # which does not connect yet
    except (TypeError, ValueError):
        raise ValueError("has an option behind its ? that Redis clients don't know") from None
    parts = urlsplit(url)
    for name, _ in parse_qsl(parts.query, keep_blank_values=True):
        # kombu takes no others, and the database of a URL with a host from its path alone.
        if not (name.startswith("ssl_") if parts.scheme != "unix" else name == "db"):
            raise ValueError(
                "has an option behind its ? that Celery doesn't take; "
                "only ssl_… of rediss:// and db of unix:// may be there"
            )


def database_url(url: str) -> URL:
    """Return the SQLAlchemy URL for ``url`` with the driver the ledger uses.

    Raises ValueError, without the URL's password in it, if it is none or of an unknown database.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # int() of a port that may be the password's part
        raise ValueError(
            "is not a database URL; write postgresql://USER:PASSWORD@HOST/NAME"
        ) from None
    if parsed.drivername not in (*DATABASE_DRIVERS, *DATABASE_DRIVERS.values()):
        raise ValueError("must start with postgresql:// or sqlite:///")
    driver = DATABASE_DRIVERS.get(parsed.drivername, parsed.drivername)
    if driver.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise ValueError("names no file; write sqlite:///ledger.db")
    if driver.startswith("postgresql") and not parsed.host and "host" not in parsed.query:
        raise ValueError("has no host; write postgresql://USER:PASSWORD@HOST/NAME")
    if parsed.host and "@" in parsed.host:
        raise ValueError("has two @; write the password's as %40")
    password = parsed.query.get("password")
    if isinstance(password, str):  # to where it is hidden when the URL is shown
        parsed = parsed.set(password=password).difference_update_query(["password"])
    return parsed.set(drivername=driver)
