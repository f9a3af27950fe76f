"""Write a rule's tree as the text that the library gets, with calls of functions of ours.

answer.refund <= row.Tax * answer.percent / 100
answer.refund <= exact_0(row.Tax, answer.percent)

lookups.rates[row.State].rate
find_0(row.State).rate
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from rowfleet.recipes.rules.arithmetic import NotReckoned, exact, reckon
from rowfleet.recipes.rules.lookup_keys import as_key
from rowfleet.recipes.rules.shapes import ANY
from rowfleet.recipes.rules.syntax import Mistake, Node
from rowfleet.recipes.rules.typing_rules import Scope, shape_of

#: A lookup's rows by their keys.
Table = Mapping[str, Mapping[str, Any]]


@dataclass(slots=True)
class Values:
    """The values of a rule's variables, for one row: `row`, `answer` and the like, and tables."""

    variables: dict[str, Any]
    tables: Mapping[str, Table] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """One evaluation: what went wrong in a function of ours, and the exact results by their
    doubles."""

    values: Values
    problem: str | None = None
    results: dict[float, Fraction] = field(default_factory=dict)


class Writer:
    """Writes a tree as the text that the library gets."""

    def __init__(
        self, source: str, scope: Scope, functions: dict[str, Callable[[Run], Callable[..., Any]]]
    ) -> None:
        self._source = source
        self._scope = scope
        self._functions = functions

    def written(self, node: Node, scope: Scope | None = None) -> str:
        """Return a node's text; ``scope`` is that within a macro."""
        scope = scope or self._scope
        if _is_arithmetic(node, scope):
            return self._as_exact(node, scope)
        if node.kind == "index" and (table := self._table(node.parts[0])):
            return self._call("find", _finder(table, self._text(node)), [node.parts[1]], scope)
        if node.kind == "binary" and node.value == "in" and (table := self._table(node.parts[1])):
            return self._call("known", _knower(table), [node.parts[0]], scope)
        if (table := self._table(node)) is not None:
            raise Mistake(
                f"a lookup is used as `… in lookups.{table}` or `lookups.{table}[…]`", node.start
            )
        within = _within(node, scope)
        parts = [self.written(part, within) for part in node.parts]
        return _as_text(node, parts, self._text(node))

    def _text(self, node: Node) -> str:
        return self._source[node.start : node.end]

    def _table(self, node: Node) -> str | None:
        """Return the name of the lookup that the node is."""
        holder = node.parts[0] if node.parts else node
        is_lookup = node.kind == "select" and holder.kind == "name" and holder.value == LOOKUPS
        return str(node.value) if is_lookup else None

    def _call(
        self,
        name: str,
        made: Callable[[Run], Callable[..., Any]],
        given: Sequence[Node],
        scope: Scope,
    ) -> str:
        function = f"{name}_{len(self._functions)}"
        self._functions[function] = made
        return f"{function}({', '.join(self.written(part, scope) for part in given)})"

    def _as_exact(self, node: Node, scope: Scope) -> str:
        leaves: list[Node] = []
        tree = _reckoned(node, leaves, scope)
        texts = [self._text(leaf) for leaf in leaves]

        def made(run: Run) -> Callable[..., Any]:
            def reckon_(*given: Any) -> Any:
                try:
                    numbers = [_number(v, text) for v, text in zip(given, texts, strict=True)]
                    result = tree(numbers)
                    double = float(result)
                except (NotReckoned, OverflowError) as problem:
                    run.problem = run.problem or str(problem)
                    return None
                run.results[double] = result
                return double

            return reckon_

        return self._call("exact", made, leaves, scope)


#: The variable that has the lookups.
LOOKUPS: Final = "lookups"


def _is_arithmetic(node: Node, scope: Scope) -> bool:
    if node.kind == "unary" and node.value == "-":
        return node.parts[0].kind != "literal"
    return (
        node.kind == "binary"
        and node.value in ("+", "-", "*", "/", "%")
        and (node.value != "+" or shape_of(node, scope).kind in ("number", "any"))
    )


Reckoned = Callable[[Sequence[Fraction]], Fraction]


def _reckoned(node: Node, leaves: list[Node], scope: Scope) -> Reckoned:
    """Return the function that reckons the node from the values of its leaves, which are noted."""
    if node.kind == "literal" and isinstance(node.value, (int, float)):
        number = Fraction(str(node.value))
        return lambda _: number
    if node.kind == "unary" and node.value == "-":
        inner = _reckoned(node.parts[0], leaves, scope)
        return lambda values: -inner(values)
    if _is_arithmetic(node, scope):
        left, right = (_reckoned(part, leaves, scope) for part in node.parts)
        operator: str = node.value
        return lambda values: reckon(operator, left(values), right(values))
    place = len(leaves)
    leaves.append(node)
    return lambda values: values[place]


def _number(value: Any, text: str) -> Fraction:
    if value is None:
        raise NotReckoned(f"{text} is blank")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotReckoned(f"{text} is no number")
    return exact(value)


def _within(node: Node, scope: Scope) -> Scope:
    """Return the scope of the node's parts: a macro's name is known in it."""
    if node.kind == "call" and node.has_target and len(node.parts) > 2:
        name = node.parts[1]
        if name.kind == "name":
            return scope.with_name(name.value, shape_of(node.parts[0], scope).item or ANY)
    return scope


def _as_text(node: Node, parts: Sequence[str], text: str) -> str:
    match node.kind:
        case "select":
            return f"{parts[0]}.{node.value}"
        case "index":
            return f"{parts[0]}[{parts[1]}]"
        case "unary":
            return f"{node.value}({parts[0]})"
        case "binary":
            return f"({parts[0]} {node.value} {parts[1]})"
        case "ternary":
            return f"({parts[0]} ? {parts[1]} : {parts[2]})"
        case "list":
            return f"[{', '.join(parts)}]"
        case "call" if node.has_target:
            return f"{parts[0]}.{node.value}({', '.join(parts[1:])})"
        case "call":
            return f"{node.value}({', '.join(parts)})"
    return text


def _finder(table: str, text: str) -> Callable[[Run], Callable[..., Any]]:
    def made(run: Run) -> Callable[..., Any]:
        def find(key: Any) -> Any:
            found = run.values.tables.get(table, {}).get(as_key(key))
            if found is None:
                run.problem = run.problem or f"{LOOKUPS}.{table} has no such key ({text})"
            return found

        return find

    return made


def _knower(table: str) -> Callable[[Run], Callable[..., Any]]:
    return lambda run: lambda key: as_key(key) in run.values.tables.get(table, {})
