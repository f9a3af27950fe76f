"""Where a Job finds its spreadsheet: on a volume, or behind a URL."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from rowfleet.errors import InputError
from rowfleet.storage import schemes

#: Where claims are mounted, each under its own name.
SHEETS = PurePosixPath("/sheets")

_CLAIM = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SheetLocation:
    """Where a sheet is read or written, as the pod sees it."""

    #: What `rowfleet submit` is told: a path in the pod, or a URI.
    argument: str
    #: The claim to mount for it; None for object storage.
    claim: str | None = None

    @property
    def stem(self) -> str:
        """The file's name without directory and suffix."""
        return PurePosixPath(urlsplit(self.argument).path).stem


def locate(option: str, text: str) -> SheetLocation:
    """Return the location that ``text`` names. Raises InputError, which names ``option``.

    `pvc://CLAIM/PATH` is a file on a volume; an address that any machine reaches is passed on. A
    file of this machine is refused, and so is a URL with a secret in it.
    """
    scheme, separator, rest = text.partition("://")
    stores = schemes.listed(schemes.object_stores())
    if not separator:
        raise InputError(
            f"{option} {text}: the pod does not see files of this machine; copy it to a volume "
            f"(pvc://CLAIM/PATH) or to object storage ({stores})"
        )
    if scheme == "pvc":
        return _on_claim(option, text, rest)
    if scheme not in schemes.remote():
        known = schemes.listed(["pvc", *schemes.remote()])
        raise InputError(f"{option} {scheme}://…: is none of {known}")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise InputError(f"{option} {scheme}://…: is not a URL") from None
    if parts.query or parts.username or parts.password:
        host = f"{scheme}://{parts.hostname}/…"
        raise InputError(
            f"{option} {host}: a URL with a signature or a password is a secret, and a Job's "
            f"arguments are not; name the object in its bucket ({stores}) and give the "
            "credentials with --env-from-secret or --service-account"
        )
    return SheetLocation(text)


def _on_claim(option: str, text: str, rest: str) -> SheetLocation:
    claim, _, inside = rest.partition("/")
    path = PurePosixPath(inside)
    if not _CLAIM.fullmatch(claim) or not path.name or path.is_absolute() or ".." in path.parts:
        raise InputError(f"{option} {text}: write pvc://CLAIM/PATH/IN/THE/VOLUME.xlsx")
    return SheetLocation(str(SHEETS / claim / path), claim)
