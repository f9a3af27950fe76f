"""Conditions on a row's cells, in the Common Expression Language that Kubernetes uses, too.

    Paid == "PAID" && AI_Status != "done"
    row["Net amount"] > 100.0 || Vendor.startsWith("ACME")

A column whose header is an identifier is a variable of that name; `row` has all columns by their
headers. A cell is what a model would be sent: a number, text, true or false, null where it is
blank. Dates are ISO 8601 text, `2026-05-01`, whose order is that of time. So an .xlsx and the .csv
with the same cells are judged the same.

CEL has no loops, so an evaluation ends; its length and the number of its macros, which may not
stand within each other, bound how soon. An expression that takes long for a row all the same, such
as one with a large pattern, is given up.

https://github.com/google/cel-spec/blob/master/doc/langdef.md
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from typing import Any

from rowfleet.cells import Cell, plain, value
from rowfleet.errors import InputError
from rowfleet.recipes.expression_syntax import check_macros, syntax_problem
from rowfleet.recipes.expression_tokens import (
    FUNCTIONS,
    MACROS,
    ROW,
    TOKEN,
    bound_names,
    calls,
    keys_of,
    ordered,
    tokens_of,
)

#: Characters of an expression. CEL's parsers must take 32 levels of nesting; this one takes what
#: fits in here without harm.
MAX_CHARS = 1_000

#: Seconds of computing after which an expression is given up that takes longer than so many for a
#: row. A usual one takes a hundred-thousandth.
PATIENCE, LONG = 5.0, 0.005

#: Names that a sentence lists at most.
_MOST_LISTED = 30

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

#: What each type of cell is called.
_TYPES = {bool: "true or false", float: "a number", int: "a number", str: "text"}


#: What evaluating a row may raise.
_FAILURES = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)

#: What a blank cell could hold as far as is known: a value of each type.
_FILLERS = (0.0, "", True)


class Unjudged(Exception):
    """A row that the expression can't be applied to; its text says why, without a cell.

    ``column`` is the place of a column that is compared with a number and holds text, if that is
    the reason.
    """

    def __init__(self, reason: str, column: int | None = None) -> None:
        super().__init__(reason)
        self.column = column


class Expression:
    """A compiled condition. Raises InputError, in one sentence, for one that can't be compiled."""

    def __init__(
        self, source: str, columns: Sequence[str], also: Mapping[str, int] | None = None
    ) -> None:
        """``columns`` are the headers that may be named, in the order of `holds`'s cells.

        ``also`` are further names of these columns → their places. A header goes before them, and
        a macro over `row` does not see them.
        """
        if not source.strip():
            raise InputError("is empty; write a condition such as Amount > 100")
        if len(source) > MAX_CHARS:
            raise InputError(f"has {len(source):,} characters; at most {MAX_CHARS:,} are taken")
        from cel import compile as compile_  # 0.3 s to import, and only an expression needs it

        try:
            self._program = compile_(source)
        except ValueError as error:
            raise InputError(
                syntax_problem(source, str(error)) + _to_write(_unquoted(source, columns))
            ) from None
        tokens = list(tokens_of(source))
        check_macros(tokens)
        unknown = next((n for n, kind in calls(tokens) if kind == "unknown"), None)
        if unknown is not None:
            meant = _to_write(_unquoted(source, columns, with_word=unknown))
            raise InputError(
                f"there is no function {unknown!r}"
                + (meant or _instead(unknown, sorted(FUNCTIONS | MACROS)))
            )
        headers = {name: index for index, name in reversed(list(enumerate(columns)))}
        at = {**(also or {}), **headers}
        names = list(dict.fromkeys([*columns, *at]))
        bound = bound_names(tokens)
        self._variables = {}
        for name in self._program.variables():
            if name == ROW or name in bound:
                continue
            if name not in at:
                raise InputError(_no_column(name, names, source))
            self._variables[name] = at[name]
        self._keys = keys_of(tokens)
        if self._keys is None:
            self._row = headers
        else:
            for name in self._keys:
                if name not in at:
                    raise InputError(_no_column(name, names, source))
            self._row = {name: at[name] for name in self._keys}
        #: The columns on either side of `<`, `<=`, `>` and `>=`.
        self._ordered = [at[name] for name in ordered(tokens) if name in at]
        #: A value of each column, for rows in which it is blank.
        self._seen: dict[int, Any] = {}
        #: Seconds that evaluating took so far, and evaluations.
        self._seconds, self._count = 0.0, 0

    @property
    def indexes(self) -> list[int]:
        """The columns that it looks at, by their places."""
        return sorted({*self._variables.values(), *self._row.values()})

    def holds(self, cells: Mapping[int, Cell]) -> bool:
        """Return whether the row meets the condition; ``cells`` has those of `indexes`.

        A comparison with a blank cell is false, as `null` is in SQL, unless the expression says
        otherwise (`Paid == null`). Raises Unjudged for a row whose cells are not of the types that
        the expression compares, and InputError for an expression that is no condition.
        """
        values = {index: _value(cells.get(index)) for index in self.indexes}
        self._seen |= {
            index: value
            for index, value in values.items()
            if value is not None and index not in self._seen
        }
        try:
            result = self._evaluate(values)
        except _FAILURES as error:
            if not self._is_for_blanks(values):
                reason = _reason(error)
                column = self._text_for_a_number(values) if reason == _OTHER_TYPES else None
                raise Unjudged(reason, column) from None
            return False
        if not isinstance(result, bool):
            kind = _TYPES.get(type(result), "no such thing")
            raise InputError(f"gives {kind}; it must be true or false")
        return result

    def _evaluate(self, values: Mapping[int, Any]) -> object:
        variables: dict[str, Any] = {n: values[index] for n, index in self._variables.items()}
        if self._row:
            variables[ROW] = {name: values[index] for name, index in self._row.items()}
        if self._seconds > max(PATIENCE, LONG * self._count):
            raise InputError(
                f"takes {self._seconds / self._count:.3f} seconds for a row, which is too long; "
                "write it simpler"
            )
        began = time.thread_time()
        try:
            result: object = self._program.execute(variables)
        finally:
            self._seconds += time.thread_time() - began
            self._count += 1
        return result

    def _text_for_a_number(self, values: Mapping[int, Any]) -> int | None:
        """Return the column with text whose row could be judged, were there a number in it."""
        texts = [index for index in self._ordered if isinstance(values.get(index), str)]
        for tried in (*([index] for index in texts), texts):
            with suppress(*_FAILURES):
                self._evaluate({**values, **dict.fromkeys(tried, 0.0)})
                return tried[0] if tried else None
        return None

    def _is_for_blanks(self, values: Mapping[int, Any]) -> bool:
        """Tell whether the row could be judged, were there values in its blank cells."""
        if None not in values.values():
            return False
        for usual in (self._seen, {}):
            for other in _FILLERS:
                filled = {
                    index: usual.get(index, other) if value is None else value
                    for index, value in values.items()
                }
                with suppress(*_FAILURES):
                    self._evaluate(filled)
                    return True
        return False


def _value(cell: Cell) -> bool | float | str | None:
    found = plain(value(cell))
    if isinstance(found, str):
        return found or None
    # CEL does not mix whole numbers with others: all of them are doubles.
    return found if found is None or isinstance(found, bool) else float(found)


_OTHER_TYPES = "its cells have other types than are compared"


def _reason(error: Exception) -> str:
    if isinstance(error, ArithmeticError):
        return "it divides by zero, or a number is too large"
    if isinstance(error, TypeError) and str(error).startswith("Unsupported operation"):
        return "it reckons with values of different types; write whole numbers with a point, 2.0"
    if isinstance(error, TypeError):
        return _OTHER_TYPES
    return "a function in it can't take the cells"


def _no_column(name: str, columns: Sequence[str], source: str) -> str:
    sentence = f"there is no column {name!r}"
    if not _IDENTIFIER.fullmatch(name):
        return sentence + _instead(name, columns)
    spelled = next((each for each in columns if re.sub(r"\W+", "_", each) == name), None)
    meant = spelled or _unquoted(source, columns, with_word=name) or _closest(name, columns)
    if meant is not None and not _IDENTIFIER.fullmatch(meant):
        return sentence + _to_write(meant)
    return sentence + _instead(name, columns)


def _unquoted(source: str, columns: Sequence[str], *, with_word: str = "") -> str | None:
    """Return the longest header that is no variable, and is written as if it were one.

    ``with_word`` is a word that the header has.
    """
    bare = TOKEN.sub(lambda found: " " if found["string"] else found[0], source)
    for name in sorted(columns, key=len, reverse=True):
        if (
            not _IDENTIFIER.fullmatch(name)
            and any(map(str.isalpha, name))
            and re.search(rf"\b{re.escape(with_word)}\b" if with_word else "", name)
            and re.search(rf"(?<!\w){re.escape(name)}(?!\w)", bare, re.IGNORECASE)
        ):
            return name
    return None


def _to_write(column: str | None) -> str:
    """Return the end of a sentence that says how the column is written."""
    return "" if column is None else f"; write row[{json.dumps(column, ensure_ascii=False)}]"


def _closest(name: str, known: Collection[str]) -> str | None:
    close = get_close_matches(name.casefold(), [each.casefold() for each in known], 1, 0.7)
    return next((each for each in known if close and each.casefold() == close[0]), None)


def _instead(name: str, known: Collection[str]) -> str:
    found = _closest(name, known)
    if found is not None:
        return f"; {found!r} is there"
    return f"; there are {', '.join(list(known)[:_MOST_LISTED])}"
