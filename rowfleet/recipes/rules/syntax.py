"""The tree of an expression of CEL, with the place of each part in the text.

The library that evaluates expressions gives no tree. It has parsed a text before this does, and
what it refuses does not come here.

https://github.com/google/cel-spec/blob/master/doc/langdef.md#syntax
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Kind = Literal[
    "literal",
    "name",
    "select",
    "index",
    "call",
    "unary",
    "binary",
    "ternary",
    "list",
]

#: Levels of nesting that a tree may have.
MOST_NESTED: Final = 60

_TOKEN = re.compile(
    r"""(?P<text>[rR]?(?:\"\"\"(?s:.*?)\"\"\"|'''(?s:.*?)'''|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'))"""
    r"|(?P<number>(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?[uU]?)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*)"
    r"|(?P<sign>\|\||&&|[<>=!]=|[-+*/%<>!?:.,()\[\]{}])"
    r"|(?P<gap>\s+|//[^\n]*)"
)
_RELATIONS = {"<", "<=", ">", ">=", "==", "!=", "in"}
#: Operators that bind more and more tightly.
_LEVELS: Final[Sequence[set[str]]] = ({"||"}, {"&&"}, _RELATIONS, {"+", "-"}, {"*", "/", "%"})


class Mistake(ValueError):
    """A rule that can't be right. ``at`` is the place in its text, counted from 0."""

    def __init__(self, sentence: str, at: int) -> None:
        super().__init__(sentence)
        self.at = at


@dataclass(frozen=True, slots=True)
class Node:
    """A part of an expression, from character ``start`` of its text to before ``end``."""

    kind: Kind
    start: int
    end: int
    #: A literal's value, a name, a field, a function's name or an operator.
    value: Any = None
    #: Operands in the order of the text; of a call the target first, if ``has_target``.
    parts: tuple[Node, ...] = field(default=())
    has_target: bool = False


def parse(source: str) -> Node:
    """Return the tree of an expression. Raises Mistake for what is none."""
    return _Parser(source).whole()


class _Parser:
    def __init__(self, source: str) -> None:
        self._source = source
        self._tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(source):
            found = _TOKEN.match(source, at)
            if found is None:
                raise Mistake(f"{source[at]!r} is not expected", at)
            if found.lastgroup != "gap":
                self._tokens.append((str(found.lastgroup), found[0], at))
            at = found.end()
        self._tokens.append(("end", "", len(source)))
        self._next = 0
        self._depth = 0

    def whole(self) -> Node:
        node = self._ternary()
        kind, text, at = self._tokens[self._next]
        if kind != "end":
            raise Mistake(f"{text!r} is not expected", at)
        return node

    # --- tokens

    def _peek(self) -> str:
        kind, text, _ = self._tokens[self._next]
        return text if kind in ("sign", "name") else kind

    def _take(self, expected: str | None = None) -> tuple[str, str, int]:
        token = self._tokens[self._next]
        if expected is not None and token[1] != expected:
            raise Mistake(f"{expected!r} is missing", token[2])
        self._next += 1
        return token

    def _end(self) -> int:
        _, text, at = self._tokens[self._next - 1]
        return at + len(text)

    # --- from what binds least to what binds most

    def _ternary(self) -> Node:
        self._depth += 1
        if self._depth > MOST_NESTED:
            raise Mistake("is nested too deeply", self._tokens[self._next][2])
        test = self._binary(0)
        if self._peek() == "?":
            self._take()
            yes = self._ternary()
            self._take(":")
            no = self._ternary()
            test = Node("ternary", test.start, no.end, "?", (test, yes, no))
        self._depth -= 1
        return test

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek() in _LEVELS[level]:
            operator = self._take()[1]
            right = self._binary(level + 1)
            left = Node("binary", left.start, right.end, operator, (left, right))
        return left

    def _unary(self) -> Node:
        signs: list[tuple[str, int]] = []
        while self._peek() in ("!", "-"):
            _, sign, at = self._take()
            signs.append((sign, at))
        node = self._member()
        for sign, at in reversed(signs):
            node = Node("unary", at, node.end, sign, (node,))
        return node

    def _member(self) -> Node:
        node = self._primary()
        while self._peek() in (".", "["):
            if self._take()[1] == "[":
                key = self._ternary()
                self._take("]")
                node = Node("index", node.start, self._end(), None, (node, key))
                continue
            name = self._take()[1]
            if self._peek() == "(":
                given = self._items("(", ")")
                node = Node("call", node.start, self._end(), name, (node, *given), True)
            else:
                node = Node("select", node.start, self._end(), name, (node,))
        return node

    def _primary(self) -> Node:
        kind, text, at = self._take()
        match kind, text:
            case "number", _:
                is_whole = text.rstrip("uU").isdecimal()
                value = int(text.rstrip("uU")) if is_whole else float(text)
                return Node("literal", at, self._end(), value)
            case "text", _:
                return Node("literal", at, self._end(), _text_of(text, at))
            case "name", "true" | "false":
                return Node("literal", at, self._end(), text == "true")
            case "name", "null":
                return Node("literal", at, self._end(), None)
            case "name", _:
                if self._peek() == "(":
                    given = self._items("(", ")")
                    return Node("call", at, self._end(), text, given)
                return Node("name", at, self._end(), text)
            case "sign", "(":
                node = self._ternary()
                self._take(")")
                return node
            case "sign", "[":
                self._next -= 1
                items = self._items("[", "]")
                return Node("list", at, self._end(), None, items)
            case "sign", "{":
                raise Mistake("a map is not taken in a rule", at)
        raise Mistake(f"{text!r} is not expected" if text else "ends too early", at)

    def _items(self, opening: str, closing: str) -> tuple[Node, ...]:
        self._take(opening)
        items: list[Node] = []
        while self._peek() != closing:
            items.append(self._ternary())
            if self._peek() != closing:
                self._take(",")
        self._take(closing)
        return tuple(items)


def _text_of(token: str, at: int) -> str:
    try:
        value = ast.literal_eval(token)
    except (SyntaxError, ValueError):
        raise Mistake(f"{token[:40]} has an escape that is not taken", at) from None
    assert isinstance(value, str)
    return value
