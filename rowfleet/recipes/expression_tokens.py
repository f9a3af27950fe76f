"""The words of an expression, as far as bounds and sentences must know them.

The parser of the library gives no tree, so what an expression names is read from its tokens.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence

#: The variable that has all columns.
ROW = "row"

MACROS = {"all", "exists", "exists_one", "existsOne", "map", "filter"}

#: The functions of the language's definition; others that a typing error makes would fail in each
#: row only.
FUNCTIONS = {
    *("size", "contains", "startsWith", "endsWith", "matches"),
    *("int", "uint", "double", "string", "bytes", "dyn", "type", "timestamp", "duration"),
    *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
    *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
}

TOKEN = re.compile(
    r"""(?P<string>[rR]?(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)|(?P<other>\S)"
)


Token = tuple[str, str]


def tokens_of(source: str) -> Iterator[Token]:
    """Yield (kind, text) of each token; the kinds are `string`, `name` and `other`."""
    for match in TOKEN.finditer(source):
        kind = match.lastgroup
        assert kind is not None
        yield kind, match[0]


def calls(tokens: Sequence[Token]) -> Iterator[tuple[str, str]]:
    """Yield each call's name, and whether it is a macro, a function or unknown."""
    for place, (kind, name) in enumerate(tokens[:-1]):
        if kind != "name" or tokens[place + 1] != ("other", "(") or name in ("in", "has"):
            continue
        is_method = place > 0 and tokens[place - 1] == ("other", ".")
        if is_method and name in MACROS:
            yield name, "macro"
        else:
            yield name, "function" if name in FUNCTIONS else "unknown"


def within_a_macro(tokens: Sequence[Token]) -> str | None:
    """Return a macro, or `matches`, that runs once for each item of a macro's list."""
    depth, macros = 0, list[int]()
    for place, (kind, text) in enumerate(tokens):
        is_call = tokens[place + 1 : place + 2] == [("other", "(")]
        is_macro = is_call and text in MACROS and tokens[place - 1] == ("other", ".")
        if kind == "name" and macros and (is_macro or (is_call and text == "matches")):
            return text
        if kind == "other" and text == "(":
            depth += 1
        elif kind == "other" and text == ")":
            depth -= 1
            if macros and depth == macros[-1]:
                macros.pop()
        elif is_macro and kind == "name":
            macros.append(depth)
    return None


def bound_names(tokens: Sequence[Token]) -> set[str]:
    """Return the names that macros give to what they go through."""
    return {
        tokens[place + 2][1]
        for place, (kind, name) in enumerate(tokens[:-2])
        if kind == "name"
        and name in MACROS
        and tokens[place + 1] == ("other", "(")
        and tokens[place + 2][0] == "name"
    }


def ordered(tokens: Sequence[Token]) -> list[str]:
    """Return the columns that stand on either side of `<`, `<=`, `>` and `>=`."""
    names: list[str | None] = []
    for place, (kind, text) in enumerate(tokens):
        if kind == "other" and text in "<>":
            behind = place + 2 if tokens[place + 1 : place + 2] == [("other", "=")] else place + 1
            names += [_ends_with(tokens[:place]), _begins_with(tokens[behind:])]
    return [name for name in names if name is not None]


def _ends_with(tokens: Sequence[Token]) -> str | None:
    """Return the column that the tokens end with."""
    for length in (4, 3, 1):
        found = _begins_with(tokens[-length:]) if len(tokens) >= length else None
        if found is not None and (length > 1 or tokens[-2:-1] != [("other", ".")]):
            return found
    return None


def _begins_with(tokens: Sequence[Token]) -> str | None:
    """Return the column that the tokens begin with."""
    if not tokens or tokens[0][0] != "name":
        return None
    if tokens[0][1] != ROW:
        return tokens[0][1]
    keys = keys_of(tokens[:4])
    return keys[0] if keys else None


def keys_of(tokens: Sequence[Token]) -> list[str] | None:
    """Return the columns that the expression takes from `row`, None if that may be any."""
    keys = []
    for place, token in enumerate(tokens):
        if token != ("name", ROW) or (place > 0 and tokens[place - 1] == ("other", ".")):
            continue
        behind = tokens[place + 1 : place + 4]
        match [(text if kind == "other" else kind) for kind, text in behind]:
            case [".", "name", "("]:  # a macro goes through all of them
                return None
            case [".", "name", *_]:
                keys.append(behind[1][1])
            case ["[", "string", "]"]:
                keys.append(_text(behind[1][1]))
            case _:
                return None
    return keys


def _text(token: str) -> str:
    try:
        value = ast.literal_eval(token)
    except (SyntaxError, ValueError):
        return token
    return value if isinstance(value, str) else token
