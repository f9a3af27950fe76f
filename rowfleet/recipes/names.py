"""How names of columns are compared."""

from __future__ import annotations

import re


def fold(name: str) -> str:
    """Return a column name without case, spaces, dashes and underscores, for comparing."""
    return _BETWEEN_WORDS.sub("", name).casefold()


_BETWEEN_WORDS = re.compile(r"[\s_\-]+")
