"""Counting a text's tokens, with encodings that are inside the `splintr` wheel.

`tiktoken` gives the same numbers, and fetches its encodings when it is first used.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splintr import AnyTokenizer

#: Models before GPT-4o; all later ones, and those of other providers, count as `o200k_base`.
_OLDER = re.compile(r"(gpt-4(-|$)|gpt-3|text-embedding)")

#: Models that think before they answer, unless told not to.
_REASONING = re.compile(r"(o\d|gpt-([5-9]|\d\d))(?!.*chat)")


def count(text: str, model: str) -> int:
    """Return how many tokens ``text`` is to ``model``."""
    whole = text.encode("utf-8", "replace").decode()  # half of a surrogate pair is no text
    name = "cl100k_base" if _OLDER.match(model) else "o200k_base"
    return len(_encoding(name).encode_ordinary(whole))


def reasons(model: str) -> bool:
    """Tell whether ``model`` is one of OpenAI's that think, which is paid for and not shown."""
    return _REASONING.match(model) is not None


@cache
def _encoding(name: str) -> AnyTokenizer:
    from splintr import Tokenizer

    return Tokenizer.from_pretrained(name)
