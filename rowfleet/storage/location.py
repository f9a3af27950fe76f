"""Where a spreadsheet is: a path, an object in a cloud, or a URL."""

from __future__ import annotations

import re
from pathlib import Path

from rowfleet.errors import InputError
from rowfleet.storage.schemes import SCHEMES, listed, remote
from rowfleet.storage.uri import Uri

__all__ = ["Location", "Uri", "parse"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")

Location = Path | Uri


def origin(source: Location) -> str:
    """Return the place by which the file is found again: an absolute path, or the URI's text."""
    return str(source.absolute() if isinstance(source, Path) else source)


def parse(text: str) -> Location:
    """Return the path or URI that ``text`` names.

    Raises InputError, whose sentence leaves out possible secrets.
    """
    match = _SCHEME.match(text)
    if not match:
        return Path(text)
    scheme = SCHEMES.get(match[1].lower())
    if scheme is None:
        known = listed(remote(), " or ")
        raise InputError(f"{match[1].lower()}://: give a path, or a URI with {known}")
    return scheme.parse(scheme.name, scheme.holder, text)
