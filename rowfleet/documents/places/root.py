"""The root of documents: a folder of this machine, or of an object store."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rowfleet.errors import InputError
from rowfleet.storage import location, schemes


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of documents. As text it is what the ledger keeps: it holds no secret."""

    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine."""
        return "://" not in self.text

    @property
    def path(self) -> Path:
        """The folder of this machine."""
        return Path(self.text)

    def address(self, place: str) -> str:
        """Return the whole address of the file at ``place``."""
        return f"{self.text.rstrip('/')}/{place}"


def parse(text: str) -> Root:
    """Return the root that ``text`` names: a path, or a URI of a bucket or of a folder in it.

    Raises InputError, whose sentence leaves out possible secrets.
    """
    stores = schemes.object_stores()
    name, is_uri, place = text.partition("://")
    if not is_uri:
        if not text.strip():
            raise InputError("--documents: give a folder")
        return Root(str(Path(text).expanduser().absolute()))
    if name.lower() not in stores:
        raise InputError(
            f"--documents {name.lower()}://: give a folder, or a URI with "
            f"{schemes.listed(stores, ' or ')}"
        )
    uri = location.parse(f"{name}://{place.rstrip('/')}/x")
    assert isinstance(uri, location.Uri)
    parts = uri.key.split("/")[:-1]
    if any(part in ("", ".", "..") for part in parts):
        raise InputError(f"--documents {name.lower()}://: leave out empty parts, . and ..")
    return Root("/".join((f"{uri.scheme}://{uri.place}", *parts)))
