"""Find what can't be right in a rule before there is a row: names, kinds of values, words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from rowfleet.recipes.expression_tokens import FUNCTIONS, MACROS
from rowfleet.recipes.names import fold
from rowfleet.recipes.rules.shapes import ANY, NUMBER, TEXT, TRUTH, Shape, of_value
from rowfleet.recipes.rules.syntax import Mistake, Node

#: Names that a sentence lists at most.
_MOST_LISTED: Final = 20

#: Functions of text → what they return.
_OF_TEXT: Final[Mapping[str, Shape]] = dict.fromkeys(
    ("contains", "startsWith", "endsWith", "matches"), TRUTH
)
_RETURNS: Final[Mapping[str, Shape]] = {
    "size": NUMBER,
    "int": NUMBER,
    "double": NUMBER,
    "string": TEXT,
    "has": TRUTH,
}
_ARITHMETIC: Final = {"+", "-", "*", "/", "%"}
_ORDER: Final = {"<", "<=", ">", ">="}


@dataclass(frozen=True, slots=True)
class Scope:
    """The variables of a rule by their names, such as `row` and `answer`."""

    variables: Mapping[str, Shape]

    def with_name(self, name: str, shape: Shape) -> Scope:
        """Return the scope within a macro, which gives ``name`` to each item."""
        return Scope({**self.variables, name: shape})


def shape_of(node: Node, scope: Scope) -> Shape:
    """Return the shape of an expression's value. Raises Mistake for what can't be right."""
    match node.kind:
        case "literal":
            return of_value(node.value)
        case "name":
            return _of_name(node, scope)
        case "select":
            return _of_field(node, shape_of(node.parts[0], scope), node.value)
        case "index":
            return _of_index(node, scope)
        case "unary":
            wanted = TRUTH if node.value == "!" else NUMBER
            _require(node.parts[0], scope, wanted)
            return wanted
        case "binary":
            return _of_binary(node, scope)
        case "ternary":
            _require(node.parts[0], scope, TRUTH)
            yes, no = (shape_of(part, scope) for part in node.parts[1:])
            return Shape(yes.kind) if yes.kind == no.kind else ANY
        case "list":
            return _of_list(node, scope)
    return _of_call(node, scope)


def require(node: Node, scope: Scope, wanted: Shape) -> Shape:
    """Return the shape of a value that must be like ``wanted``. Raises Mistake for another."""
    found = shape_of(node, scope)
    if found.kind not in (wanted.kind, "any"):
        raise Mistake(f"gives {found.named}; it must be {wanted.named}", node.start)
    return found


def _require(node: Node, scope: Scope, wanted: Shape) -> None:
    found = shape_of(node, scope)
    if found.kind not in (wanted.kind, "any"):
        raise Mistake(f"has {found.named} where {wanted.named} is needed", node.start)


def _of_name(node: Node, scope: Scope) -> Shape:
    found = scope.variables.get(node.value)
    if found is not None:
        return found
    holders = [
        f"{name}{_written(node.value)}"
        for name, shape in scope.variables.items()
        if shape.fields and node.value in shape.fields
    ]
    if holders:
        raise Mistake(f"there is no name {node.value!r}; write {holders[0]}", node.start)
    known = ", ".join(scope.variables)
    raise Mistake(f"there is no name {node.value!r}; there are {known}", node.start)


def _written(field: str) -> str:
    return f".{field}" if field.isidentifier() else f"[{json.dumps(field, ensure_ascii=False)}]"


def _of_field(node: Node, holder: Shape, name: str) -> Shape:
    at = node.end - len(name) if node.kind == "select" else node.parts[1].start
    if holder.kind == "any" or (holder.kind == "object" and holder.fields is None):
        return ANY
    if holder.kind != "object":
        raise Mistake(f"{holder.named} has no {name!r}", at)
    assert holder.fields is not None
    if name not in holder.fields:
        raise Mistake(f"there is no {holder.noun} {name!r}{instead(name, holder.fields)}", at)
    return holder.fields[name]


def instead(name: str, known: Collection[str]) -> str:
    """Return the end of a sentence that says which name may be meant, or which there are."""
    folded = {fold(each): each for each in known}
    if fold(name) in folded:
        return f"; {folded[fold(name)]!r} is there"
    close = get_close_matches(name.casefold(), [each.casefold() for each in known], 1, 0.7)
    meant = next((each for each in known if close and each.casefold() == close[0]), None)
    if meant is not None:
        return f"; {meant!r} is there"
    return f"; there are {', '.join(list(known)[:_MOST_LISTED])}" if known else "; there is none"


def _of_index(node: Node, scope: Scope) -> Shape:
    holder, key = node.parts
    shape = shape_of(holder, scope)
    given = shape_of(key, scope)
    if shape.kind == "table":
        return Shape("object", shape.fields, noun="column")
    if shape.kind == "list":
        _require(key, scope, NUMBER)
        return shape.item or ANY
    if shape.kind == "object" and given.texts is not None and len(given.texts) == 1:
        return _of_field(node, shape, next(iter(given.texts)))
    if shape.kind not in ("any", "object"):
        raise Mistake(f"{shape.named} has no parts", holder.start)
    return ANY


def _of_binary(node: Node, scope: Scope) -> Shape:
    left, right = node.parts
    if node.value in ("&&", "||"):
        _require(left, scope, TRUTH)
        _require(right, scope, TRUTH)
        return TRUTH
    one, other = shape_of(left, scope), shape_of(right, scope)
    if node.value == "in":
        return _of_membership(node, one, other)
    if node.value in _ARITHMETIC:
        return _of_arithmetic(node, one, other)
    for shape, part in ((one, left), (other, right)):
        if shape.kind == "table" or (node.value in _ORDER and shape.kind not in _ORDERED):
            raise Mistake(f"{shape.named} can't be compared", part.start)
    kinds = {one.kind, other.kind} - {"any", "null"}
    if len(kinds) > 1:
        raise Mistake(f"compares {one.named} with {other.named}", node.start)
    _words(one, other, right)
    _words(other, one, left)
    return TRUTH


_ORDERED: Final = {"number", "text", "any"}


def _of_membership(node: Node, one: Shape, other: Shape) -> Shape:
    left, right = node.parts
    if other.kind not in ("table", "list", "object", "any"):
        raise Mistake(f"{other.named} has no items; `in` needs a list or a lookup", right.start)
    if other.kind == "table" and one.kind not in ("text", "number", "any"):
        raise Mistake(f"{one.named} is no key of a lookup", left.start)
    if other.kind == "list" and other.item is not None:
        kinds = {one.kind, other.item.kind} - {"any", "null"}
        if len(kinds) > 1:
            raise Mistake(f"looks for {one.named} among items that are not", left.start)
        if right.kind == "list":
            for part in right.parts:
                _words(one, of_value(part.value) if part.kind == "literal" else ANY, part)
    return TRUTH


def _words(known: Shape, given: Shape, at: Node) -> None:
    """Raise Mistake for a text that the schema does not allow."""
    if at.kind != "literal" or known.texts is None or given.texts is None:
        return
    for text in given.texts - known.texts:
        listed = instead(text, sorted(known.texts))
        raise Mistake(f"{text!r} is none of the values that the schema allows{listed}", at.start)


def _of_arithmetic(node: Node, one: Shape, other: Shape) -> Shape:
    kinds = {one.kind, other.kind}
    if node.value == "+" and kinds <= {"text", "any"} and "text" in kinds:
        return TEXT
    if node.value == "+" and kinds <= {"list", "any"} and "list" in kinds:
        return Shape("list")
    for shape, part in zip((one, other), node.parts, strict=True):
        if shape.kind not in ("number", "any"):
            raise Mistake(f"reckons with {shape.named}, which is no number", part.start)
    # Without a number on either side, two texts may be joined.
    return ANY if node.value == "+" and kinds == {"any"} else NUMBER


def _of_list(node: Node, scope: Scope) -> Shape:
    shapes = [shape_of(part, scope) for part in node.parts]
    kinds = {shape.kind for shape in shapes}
    return Shape("list", item=Shape(kinds.pop()) if len(kinds) == 1 else ANY)


def _of_call(node: Node, scope: Scope) -> Shape:
    name: str = node.value
    if node.has_target and name in MACROS:
        return _of_macro(node, scope)
    if name == "has" and not node.has_target:
        return _of_has(node, scope)
    if name not in FUNCTIONS:
        raise Mistake(f"there is no function {name!r}{instead(name, FUNCTIONS)}", node.start)
    shapes = [shape_of(part, scope) for part in node.parts]
    if name in _OF_TEXT:
        for shape, part in zip(shapes, node.parts, strict=True):
            if shape.kind not in ("text", "any"):
                raise Mistake(f"{name} needs text, and this is {shape.named}", part.start)
        return _OF_TEXT[name]
    if name == "size" and shapes and shapes[0].kind in ("number", "truth", "table"):
        raise Mistake(f"{shapes[0].named} has no size", node.parts[0].start)
    return _RETURNS.get(name, ANY)


def _of_has(node: Node, scope: Scope) -> Shape:
    shape_of(node.parts[0], scope)
    return TRUTH


def _of_macro(node: Node, scope: Scope) -> Shape:
    target, name, *rest = node.parts
    shape = shape_of(target, scope)
    if shape.kind not in ("list", "any"):
        raise Mistake(f"{node.value} goes through a list, and this is {shape.named}", target.start)
    if name.kind != "name" or not rest:
        raise Mistake(f"{node.value} takes a name and an expression", node.start)
    within = scope.with_name(name.value, shape.item or ANY)
    results: list[Any] = [shape_of(part, within) for part in rest]
    if node.value == "map":
        return Shape("list", item=results[-1])
    _require(rest[0], within, TRUTH)
    return shape if node.value == "filter" else TRUTH
