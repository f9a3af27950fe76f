"""Sentences on the syntax of an expression, and the bounds of its macros."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rowfleet.errors import InputError
from rowfleet.recipes.expression_tokens import Token, calls, within_a_macro

#: Macros (`exists` and the like) in an expression, each of which goes through a list.
MAX_MACROS = 2

#: Of the parser's message: the place from 1, and what is wrong there.
_SYNTAX = re.compile(r"ERROR: <input>:(\d+):(\d+): (?:Syntax error: )?([^\n]*)")

#: What people write instead of an operator → the operator.
_OPERATORS = {"=": "==", "and": "&&", "or": "||", "not": "!", "AND": "&&", "OR": "||", "NOT": "!"}


def syntax_problem(source: str, message: str) -> str:
    """Return what is wrong with ``source``, and where, by the parser's message."""
    at, what = syntax_mistake(source, message)
    if at is None:
        return what
    line = source[:at].count("\n") + 1
    column = at - (source.rfind("\n", 0, at) + 1) + 1
    return f"at character {column}" + (f" of line {line}" if line > 1 else "") + f": {what}"


def syntax_mistake(source: str, message: str) -> tuple[int | None, str]:
    """Return the place of a mistake, counted from 0, and what is wrong there, by the message."""
    found = _SYNTAX.search(message)
    if found is None:
        return None, "is nested too deeply, or no expression of CEL"
    line, column, what = int(found[1]), int(found[2]), found[3].partition(" expecting")[0]
    word = re.search(r"'([^']*)", what)
    written = word[1].strip() if word else ""
    at = sum(len(each) + 1 for each in source.split("\n")[: line - 1]) + column - 1
    if "<EOF>" in what.partition("expecting")[0] and "extraneous" not in what:
        return at, "the expression ends too early"
    before = source.split("\n")[line - 1][: column - 1].rstrip().rpartition(" ")[2]
    for wrong in (written, before):
        if wrong in _OPERATORS:
            return at, f"{wrong!r} is no operator; write {_OPERATORS[wrong]}"
    if "has() macro" in what:
        return at, "has() takes a field, such as has(answer.note)"
    if written:
        return at, f"{written[:40]!r} is not expected there"
    return at, "no expression of CEL"


def check_macros(tokens: Sequence[Token]) -> None:
    """Raise InputError for more macros than are taken, or one within another."""
    macros = [name for name, kind in calls(tokens) if kind == "macro"]
    if len(macros) > MAX_MACROS:
        listed = ", ".join(macros)
        raise InputError(f"has the macros {listed}; at most {MAX_MACROS} are taken")
    within = within_a_macro(tokens)
    if within is not None:
        raise InputError(f"{within} stands within a macro, where it is not taken")
