"""The schemes of addresses that a sheet is read from or written to.

All other code takes the names from here: the parser, the transfers, the help texts and the check
of a Job's options. A new scheme is a module with the functions of `Client`, and a line in
`SCHEMES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rowfleet.storage.uri import Uri, in_store, on_web


class Client(Protocol):
    """A module that reads, writes and checks the objects of a scheme."""

    def read(self, uri: Uri) -> Iterator[bytes]:
        """Yield the object's bytes. Raises Broken if another try may succeed, else InputError or
        ServiceError."""
        ...

    def write(self, uri: Uri, path: Path) -> None:
        """Make the file the object, whole or not at all. Raises InputError or ServiceError."""
        ...

    def check_target(self, uri: Uri) -> None:
        """Raise InputError or ServiceError if the object can't be written, and leave nothing."""
        ...

    def is_there(self, uri: Uri) -> bool:
        """Tell whether there is such an object; False if that may not be known."""
        ...


def _cloud() -> Client:
    from rowfleet.storage import cloud

    return cloud


def _web() -> Client:
    from rowfleet.storage import web

    return web


@dataclass(frozen=True, slots=True)
class Scheme:
    """A scheme: how its addresses are read, and what carries the bytes."""

    name: str
    #: The scheme's word for the place that holds objects.
    holder: str
    #: Reads an address: gets name, holder and the text. Raises InputError without secrets in it.
    parse: Callable[[str, str, str], Uri]
    #: Imports the scheme's client, so that no command loads one that it does not use.
    client: Callable[[], Client]
    #: Whether credentials come from the environment, so that an address holds no secret.
    has_credentials: bool = True
    #: Whether the scheme is for this machine alone; help texts and Jobs leave it out.
    is_local: bool = False


#: Every scheme by its name, in the order that help texts list them.
SCHEMES = {
    scheme.name: scheme
    for scheme in (
        Scheme("s3", "bucket", in_store, _cloud),
        Scheme("gs", "bucket", in_store, _cloud),
        Scheme("az", "container", in_store, _cloud),
        Scheme("https", "host", on_web, _web, has_credentials=False),
        Scheme("http", "host", on_web, _web, has_credentials=False, is_local=True),
    )
}


def remote() -> list[str]:
    """Return the names of the schemes that other machines reach too."""
    return [scheme.name for scheme in SCHEMES.values() if not scheme.is_local]


def object_stores() -> list[str]:
    """Return the names of the schemes whose credentials come from the environment."""
    return [scheme.name for scheme in SCHEMES.values() if scheme.has_credentials]


def listed(names: list[str], last: str = ", ") -> str:
    """Return the names as they begin an address, with ``last`` before the last one."""
    *first, end = (f"{name}://" for name in names)
    return last.join([", ".join(first), end]) if first else end
