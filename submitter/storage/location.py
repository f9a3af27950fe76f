"""Where a spreadsheet is: a path, an object in a cloud, or a URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rowfleet.errors import InputError

#: Schemes of the clouds, and what each calls the place that holds objects.
CLOUDS = {"s3": "bucket", "gs": "bucket", "az": "container"}

#: Bytes that are held at once while an object is read.
CHUNK_BYTES = 1 << 20

#: Bytes of a sheet that is downloaded (2 GiB): a workbook may not unpack to more, either.
MAX_SHEET_BYTES = 2 << 30

#: Seconds between tries of a transfer that broke off: five tries, so that a server's restart is
#: survived, and 15 seconds in all, so that a dead one is told of while a person still looks.
WAITS = (1, 2, 4, 8)

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

#: Characters of a bucket's or container's name; the clouds report their other rules themselves.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Broken(Exception):
    """A transfer broke off, or the object changed meanwhile; another try may do. Says how."""


@dataclass(frozen=True, slots=True)
class Uri:
    """Where an object is. As text it has neither user name nor query, which may be secret."""

    scheme: str
    place: str  #: Bucket, container, or host and port.
    key: str  #: The object's key; of a URL, its path, unquoted.
    url: str = field(repr=False, compare=False)  #: As it was given, with its secrets.

    def __str__(self) -> str:
        return f"{self.scheme}://{self.place}/{self.key}"

    @property
    def stem(self) -> str:
        """The last part of the key, without suffix."""
        return Path(self.key).stem


Location = Path | Uri


def parse(text: str) -> Location:
    """Return the path or URI that ``text`` names.

    Raises InputError, whose sentence leaves out possible secrets.
    """
    match = _SCHEME.match(text)
    if not match:
        return Path(text)
    scheme, rest = match[1].lower(), text[match.end() :]
    if scheme in CLOUDS:
        return _parse_cloud(scheme, rest, text)
    if scheme in ("https", "http"):
        return _parse_web(scheme, text)
    raise InputError(f"{scheme}://: give a path, or a URI with s3://, gs://, az:// or https://")


def _parse_cloud(scheme: str, rest: str, text: str) -> Uri:
    place, _, key = rest.partition("/")
    what = CLOUDS[scheme]
    form = f"write {scheme}://{what.upper()}/KEY"
    if not place or "?" in place:
        raise InputError(f"{scheme}://: names no {what}; {form}")
    if not _BUCKET.fullmatch(place):  # it may be user:password@, so it is not shown
        raise InputError(
            f"{scheme}://: what stands before the first / can't be a {what}; {form}, "
            "credentials come from the environment"
        )
    if "?" in key:
        uri = Uri(scheme, place, key.partition("?")[0], text)
        raise InputError(f"{uri}: a ? in a key is not taken; credentials come from the environment")
    uri = Uri(scheme, place, key, text)
    if not key or key.endswith("/"):
        raise InputError(f"{uri}: names no object; {form}")
    return uri


def _parse_web(scheme: str, text: str) -> Uri:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its text has a part of the URL, which may be secret
        raise InputError(f"{scheme}://: is not a URL; write https://HOST/PATH") from None
    if not parts.hostname:
        raise InputError(f"{scheme}://: names no host; write https://HOST/PATH")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    place = host if port is None else f"{host}:{port}"
    uri = Uri(scheme, place, unquote(parts.path.lstrip("/")), text)
    if scheme == "http" and not is_loopback(parts.hostname):
        raise InputError(f"{uri}: is not encrypted; http:// is taken only for this machine itself")
    if not uri.key or uri.key.endswith("/"):
        raise InputError(f"{uri}: names no file")
    return uri


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is this machine by its name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_size(source: Uri, size: int | None) -> None:
    """Raise InputError if ``size``, in bytes, is more than MAX_SHEET_BYTES; None is not known."""
    if size is not None and size > MAX_SHEET_BYTES:
        raise InputError(f"{source}: is larger than {MAX_SHEET_BYTES >> 20:,} MiB")
