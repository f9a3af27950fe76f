"""Regular expressions that are matched in linear time, whatever the pattern and the text are.

Python's `re` backtracks: `^(a+)+$` on thirty letters and a digit holds a process for minutes. Here
the engine is Rust's `regex`, which pydantic carries. Its time is at most the pattern's positions
times the text's length, so both are bounded. It has no look-around and no back-references. `^` and
`$` are the ends of the text, and `\\d`, `\\w` and `\\s` know all of Unicode.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydantic_core import SchemaError, SchemaValidator, core_schema

#: Positions of a pattern: its characters and classes, with counts such as `{2,5}` written out. With
#: 2,000 of them the longest text takes about a second in the worst case, and microseconds usually.
MAX_POSITIONS = 2_000
#: Characters of a text that is matched: what an Excel cell holds.
MAX_TEXT = 32_767
#: So many of a pattern fit into the 10 MiB that the engine allows for one: 3 MiB a pattern.
SHARE_OF_LIMIT = 3

#: One piece of a pattern as the engine reads it. Anything else is one literal character.
_PIECE = re.compile(
    r"""
    (?P<escape>  \\(?:[pPxuU]\{[^{}]*\}|.) )
  | (?P<class>   \[\^?\]?+(?:\\.|[^\]\\\[]|\[:\^?[a-z]+:\])*\] )
  | (?P<flags>   \(\?[imsUuR-]+\) )
  | (?P<open>    \(\?[imsUuR-]*: | \(\?P?<[A-Za-z_][A-Za-z0-9_]*> | \((?!\?) )
  | (?P<close>   \) )
  | (?P<count>   \{(?P<least>[0-9]{1,6})(?P<range>,(?P<most>[0-9]{1,6})?)?\} )
  | (?P<odd>     \(\? | \[ | \{ | \\ )
  | (?P<other>   . )
    """,
    re.VERBOSE | re.DOTALL,
)


class Pattern:
    """A pattern to search for."""

    def __init__(self, pattern: str) -> None:
        """Raise ValueError, with a reason for the user, for a pattern that can't be taken."""
        self.positions = _positions(pattern)
        if self.positions > MAX_POSITIONS:
            raise ValueError(
                f"it stands for {self.positions:,} characters once its counts are written out, "
                f"and at most {MAX_POSITIONS:,} are taken"
            )
        try:
            self._engine = _engine(pattern)
            # The engine's own limit is 10 MiB, which no user can set.
            _engine(f"(?:{pattern}){{{SHARE_OF_LIMIT}}}")
        except (SchemaError, UnicodeEncodeError) as error:
            # The last line is the engine's reason; those before it repeat the pattern.
            reason = str(error).splitlines()[-1].strip().removeprefix("error: ")
            if "size limit" in reason:
                reason = (
                    "it takes too much memory; write ranges such as [0-9A-Za-z] for classes of "
                    "Unicode such as \\w"
                )
            raise ValueError(reason.removeprefix("SchemaError: ")[:200]) from None

    def is_in(self, text: str) -> bool:
        """Tell whether the pattern is somewhere in ``text``; not in one above MAX_TEXT."""
        return len(text) <= MAX_TEXT and self._engine.isinstance_python(text)


def _engine(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex"))


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """Return the ``Pattern``, which is kept for the next time. Raises ValueError as it does."""
    return Pattern(pattern)


def _positions(pattern: str) -> int:
    """Return how many positions the pattern has, at least; ValueError for an unknown one."""
    total, last = [0], [0]  # of each open group: its sum, and what a count behind it repeats
    for piece in _PIECE.finditer(pattern):
        kind = piece.lastgroup
        if kind == "odd":
            raise ValueError(
                f"{pattern[piece.start() : piece.start() + 12]!r} is not taken: there is no "
                "look-around, and a literal [ in a class, { or \\ is written with a \\ before it"
            )
        if kind == "open":
            total.append(0)
            last.append(0)
        elif kind == "close":
            size = total.pop() + 1
            last.pop()
            if not total:
                raise ValueError("a ) closes no group")
            total[-1] += size
            last[-1] = size
        elif kind == "count":
            most = piece["most"] or str(int(piece["least"]) + bool(piece["range"]))
            more = last[-1] * (max(int(most), int(piece["least"]), 1) - 1)
            total[-1] += more
            last[-1] += more
        elif kind == "other" and piece[0] in "*+?":
            total[-1] += 1
            last[-1] += 1
        else:
            total[-1] += 1
            last[-1] = 1
    return total[0]
