"""The address of an object in a cloud, or of a file behind a URL."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

from rowfleet.errors import InputError

#: Characters of a bucket's or container's name; each cloud checks its other rules itself.
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


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


def in_store(scheme: str, holder: str, text: str) -> Uri:
    """Return the address SCHEME://HOLDER/KEY of an object. Raises InputError.

    ``holder`` is the store's word for the place that holds objects.
    """
    place, _, key = text.partition("://")[2].partition("/")
    form = f"write {scheme}://{holder.upper()}/KEY"
    if not place or "?" in place:
        raise InputError(f"{scheme}://: names no {holder}; {form}")
    if not _BUCKET.fullmatch(place):  # it may be user:password@, so it is not shown
        raise InputError(
            f"{scheme}://: what stands before the first / can't be a {holder}; {form}, "
            "credentials come from the environment"
        )
    if "?" in key:
        uri = Uri(scheme, place, key.partition("?")[0], text)
        raise InputError(f"{uri}: a ? in a key is not taken; credentials come from the environment")
    uri = Uri(scheme, place, key, text)
    if not key or key.endswith("/"):
        raise InputError(f"{uri}: names no object; {form}")
    return uri


def on_web(scheme: str, holder: str, text: str) -> Uri:
    """Return the address of a file behind a URL. Raises InputError.

    Plain http is taken for this machine itself only.
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # its text has a part of the URL, which may be secret
        raise InputError(f"{scheme}://: is not a URL; write https://HOST/PATH") from None
    if not parts.hostname:
        raise InputError(f"{scheme}://: names no {holder}; write https://HOST/PATH")
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
