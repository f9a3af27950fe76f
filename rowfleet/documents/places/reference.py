"""A reference in a cell → the place of a file below the root.

A cell is a stranger's text: each reference that leads elsewhere is refused, with one reason.
"""

from __future__ import annotations

import re
from typing import Final

from rowfleet.documents.unread import Unread, UnreadableError

#: Characters of a reference; PATH_MAX is 4,096 bytes, and an object's key has 1,024.
LONGEST: Final = 1_000

#: Files that one cell may name.
MOST_IN_A_CELL: Final = 50

#: `file:`, `https:` and the like; a letter alone is a drive.
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
_DRIVE: Final = re.compile(r"[A-Za-z]:([/\\]|$)")

#: What makes a reference a pattern, where a recipe says `glob`.
WILDCARDS: Final = frozenset("*?[")


def split(cell: str, separator: str) -> list[str]:
    """Return the references in a cell, each once and in order."""
    parts = (part.strip() for line in cell.splitlines() for part in line.split(separator))
    return list(dict.fromkeys(part for part in parts if part))


def place_below(root: str, reference: str) -> str:
    """Return the place of the file below ``root``: its parts, joined by `/`.

    ``root`` is an absolute path, or the URI of a folder in an object store. A reference may repeat
    it; Windows' separators are taken. Raises UnreadableError for one that leads elsewhere.
    """
    text = reference.strip()
    if len(text) > LONGEST or not text.isprintable():
        raise UnreadableError(Unread.MISSING, "its name can't be one")
    if text.startswith(f"{root.rstrip('/')}/"):
        text = text[len(root.rstrip("/")) + 1 :]
    elif _DRIVE.match(text):
        raise UnreadableError(Unread.OUTSIDE_ROOT)
    elif _SCHEME.match(text):
        raise UnreadableError(Unread.FORBIDDEN_ADDRESS)
    text = text.replace("\\", "/")
    if text.startswith("/"):
        raise UnreadableError(Unread.OUTSIDE_ROOT)
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise UnreadableError(Unread.OUTSIDE_ROOT)
    if not parts:
        raise UnreadableError(Unread.MISSING)
    return "/".join(parts)
