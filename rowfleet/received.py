"""JSON and text that another program sent, bounded before anything else reads them.

A ledger can't hold everything that JSON can say: PostgreSQL's text takes no NUL, no half of a
surrogate pair and no number beyond its type, and a value that one row's reply brings must never
spoil the transaction of other rows.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import IO, Any

#: Levels of arrays and objects, at most. Structured output of the API has ten.
#: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
MAX_DEPTH = 64

#: Bytes of a reply, at most (8 MiB). More would fill the memory of a process with a reply in each
#: of its slots. It is room for 384,000 tokens, reasoning among them, of 21 bytes: the most that a
#: model gives, DeepSeek V4 (https://api-docs.deepseek.com/quick_start/pricing), and three letters
#: a token, each escaped as in "\u0434". OpenAI's models give 128,000.
MAX_REPLY = 8 << 20

#: Tokens that one call may use, at most: several times the largest context window that is offered.
MAX_TOKENS = 10_000_000

_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


def clean(text: str) -> str:
    """Return ``text`` with U+FFFD in place of NUL and of each half of a surrogate pair."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def read_json(received: str | bytes) -> Any:
    """Return what the JSON says, its strings clean and its numbers finite.

    Raises ValueError for text that is no JSON, for NaN, Infinity and numbers that no double
    holds, and for more than MAX_DEPTH levels. Bytes that are not UTF-8 become U+FFFD: an answer
    is paid for.
    """
    text = received if isinstance(received, str) else received.decode("utf-8-sig", "replace")
    try:
        value = _DECODER.decode(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None
    # Most texts need no second look. NUL and halves of pairs come from \u escapes, or as they are.
    may_be_deep = text.count("[") + text.count("{") > MAX_DEPTH
    if may_be_deep or "\\u" in text or _UNSTORABLE.search(text):
        return _bounded(value, MAX_DEPTH)
    return value


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """Yield a file's lines, without those that are longer than MAX_REPLY."""
    is_whole = True
    while piece := file.readline(MAX_REPLY + 1):
        is_end = piece.endswith(b"\n") or len(piece) <= MAX_REPLY
        if is_whole and is_end:
            yield piece
        is_whole = is_end


def token_count(value: object) -> int | None:
    """Return a count of tokens as it was sent; None if it can't be one.

    The answer beside it is paid for, whatever its count says: a negative or absurd number must
    neither cost the row its answer nor spend a budget.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if 0 <= value <= MAX_TOKENS else None  # which NaN is not, either


def _bounded(value: Any, levels: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, (dict, list)) and not levels:
        raise ValueError(_TOO_DEEP)
    if isinstance(value, dict):
        return {clean(name): _bounded(part, levels - 1) for name, part in value.items()}
    if isinstance(value, list):
        return [_bounded(part, levels - 1) for part in value]
    return value


def _integer(text: str) -> int:
    _finite(text)
    return int(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number that no double holds")
    return number


def _constant(text: str) -> Any:
    raise ValueError(f"{text}, which is no JSON")


_TOO_DEEP = f"nested more than {MAX_DEPTH} levels deep"

_DECODER = json.JSONDecoder(parse_int=_integer, parse_float=_finite, parse_constant=_constant)
