"""URLs of the services, checked before anything connects.

The standard library reads them here, by the rules of redis-py and SQLAlchemy: these two take longer
to load than the rest of the settings.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

#: Schemes redis-py and kombu both take; `sentinel://` is kombu's alone.
REDIS_SCHEMES = ("redis", "rediss", "unix")

#: Databases the ledger knows: the driver it uses for each.
DATABASE_DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
}

#: The parts of a database URL as SQLAlchemy takes them apart. A password may hold `/`, `?` and `:`;
#: text behind an address in brackets is not read.
_DATABASE_URL = re.compile(
    r"(?P<scheme>[\w+]+)://"
    r"(?:[^:/]*(?::[^@]*)?@)?"
    r"(?:\[(?P<address>[^/?]+)\]|(?P<name>[^/:?]+))?"
    r"(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?"
)


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
    if not url.startswith(tuple(f"{scheme}://" for scheme in REDIS_SCHEMES)):
        raise ValueError("must start with redis://, rediss:// (TLS) or unix://")
    if parts.scheme != "unix":
        if not parts.hostname:
            raise ValueError("has no host; write redis://HOST:6379/0")
        if port == 0 or (parts.path.strip("/") and not parts.path.strip("/").isdigit()):
            raise ValueError("must end in a database number, like redis://HOST:6379/0")
    _check_redis_options(parts.scheme, parts.query)


def _check_redis_options(scheme: str, query: str) -> None:
    first = dict(reversed(parse_qsl(query)))  # redis-py reads the first value of each name
    known = _TLS_OPTIONS if scheme == "rediss" else {}
    try:
        if "db" in first:
            int(first["db"])
        for name, value in first.items():
            if name.startswith("ssl_"):
                known[name](value)
    except (KeyError, ValueError):
        raise ValueError("has an option behind its ? that Redis clients don't know") from None
    for name, _ in parse_qsl(query, keep_blank_values=True):
        # kombu takes no others, and the database of a URL with a host from its path alone.
        if not (name.startswith("ssl_") if scheme != "unix" else name == "db"):
            raise ValueError(
                "has an option behind its ? that Celery doesn't take; "
                "only ssl_… of rediss:// and db of unix:// may be there"
            )


def _check_requirement(value: str) -> None:
    if value not in ("none", "optional", "required"):
        raise ValueError(value)


def _check_flags(value: str) -> None:
    import ssl  # which only such an option needs

    for flag in value.replace("[", "").replace("]", "").split(","):
        if not hasattr(ssl.VerifyFlags, flag.strip()):
            raise ValueError(value)


#: Options of `rediss://`, and what raises ValueError for a value that redis-py does not take.
#: https://redis.readthedocs.io/en/stable/connections.html#redis.connection.SSLConnection
_TLS_OPTIONS: Final[Mapping[str, Callable[[str], object]]] = {
    "ssl_keyfile": str,
    "ssl_certfile": str,
    "ssl_cert_reqs": _check_requirement,
    "ssl_include_verify_flags": _check_flags,
    "ssl_exclude_verify_flags": _check_flags,
    "ssl_ca_certs": str,
    "ssl_ca_data": str,
    "ssl_check_hostname": str,
    "ssl_ca_path": str,
    "ssl_password": str,
    "ssl_validate_ocsp": str,
    "ssl_validate_ocsp_stapled": str,
    "ssl_ocsp_context": str,
    "ssl_ocsp_expected_cert": str,
    "ssl_min_version": int,
    "ssl_ciphers": str,
}


def check_database_url(url: str) -> None:
    """Raise ValueError, without the URL's password in it, if ``url`` names no ledger."""
    sqlite_file(url)


def sqlite_file(url: str) -> str | None:
    """Return the file that the ledger's ``url`` names, None if it names a server.

    Raises ValueError as `check_database_url` does.
    """
    parts = _DATABASE_URL.match(url)
    if parts is None or not _is_number(parts["port"]):
        raise ValueError("is not a database URL; write postgresql://USER:PASSWORD@HOST/NAME")
    if parts["scheme"] not in (*DATABASE_DRIVERS, *DATABASE_DRIVERS.values()):
        raise ValueError("must start with postgresql:// or sqlite:///")
    host = parts["address"] or parts["name"]
    file = unquote(parts["database"] or "") if parts["scheme"] == "sqlite" else None
    if file in ("", ":memory:"):
        raise ValueError("names no file; write sqlite:///ledger.db")
    if file is None and not host and "host" not in dict(parse_qsl(parts["query"] or "")):
        raise ValueError("has no host; write postgresql://USER:PASSWORD@HOST/NAME")
    if host and "@" in host:
        raise ValueError("has two @; write the password's as %40")
    return file


def _is_number(port: str | None) -> bool:
    if port is not None:
        try:
            int(port)
        except ValueError:
            return False
    return True
