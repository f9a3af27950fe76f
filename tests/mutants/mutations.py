"""The mutants of the modules under test: cosmic-ray's operators, and two of our own.

A mutant that does not compile does not count, nor does one that differs only in annotations,
docstrings, idle options, or in whether callers may name an argument, which mypy checks.
"""

from __future__ import annotations

import ast
import random
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cosmic_ray.plugins
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from parso.python.tree import Keyword

from tests.mutants.modules import modules


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module with one changed place."""

    module: str
    operator: str
    #: The first changed line, counted from 1 in the module as it is.
    line: int
    #: The changed lines, without indentation, as they are and as they become.
    before: str
    after: str
    source: str

    @property
    def name(self) -> str:
        """A name that stays when lines above the place come or go."""
        return f"{self.module}: {self.before} => {self.after}"


#: Calls whose positional arguments are conditions; elsewhere a missing one is only a TypeError.
_CONDITIONS = ("where", "and_", "or_")

#: Options that change nothing that a test could see.
_IDLE = ("strict", "slots", "frozen", "name", "daemon")


class _Ours(Operator):
    @classmethod
    def examples(cls) -> tuple[Any, ...]:
        return ()


class RemoveArgument(_Ours):
    """Drops a condition of a WHERE, or one of several options of a call."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        children = [
            node.children[at] for at in _removable(node)
        ]  # `mutate` takes one out meanwhile
        for child in children:
            yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        at = _removable(node)[index]
        start = at if at + 1 < len(node.children) else at - 1  # with the comma beside it
        del node.children[start : start + 2]
        return node


def _removable(node: Any) -> list[int]:
    if node.type != "arglist":
        return []
    called = node.parent.get_previous_sibling()
    name = called.get_last_leaf().value if called is not None else ""
    return [
        at
        for at, child in enumerate(node.children)
        if (child.type == "argument" and child.children[0].value not in (*_IDLE, "*", "**"))
        or (child.type not in ("operator", "argument") and name in _CONDITIONS)
    ]


class RemoveStatement(_Ours):
    """Replaces a call or a change of an object by `pass`, except for lines of the log."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:
        if node.type == "simple_stmt" and _has_effect(node.children[0]):
            yield node.children[0].start_pos, node.children[0].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        statement = node.children[0]
        prefix = statement.get_first_leaf().prefix
        node.children[0] = Keyword("pass", statement.start_pos, prefix)
        return node


def _has_effect(statement: Any) -> bool:
    """Tell whether code goes on without the statement: it binds no name that is read later."""
    if statement.type == "expr_stmt":
        target, sign = statement.children[:2]
        return target.type != "name" or (sign.type == "operator" and sign.value not in ("=", ":"))
    return statement.type == "atom_expr" and statement.get_first_leaf().value != "log"


def _operators() -> dict[str, Operator]:
    found: dict[str, Operator] = {}
    for name in sorted(cosmic_ray.plugins.operator_names()):
        kind = cosmic_ray.plugins.get_operator(name)
        if not kind.arguments():
            found[name.removeprefix("core/")] = kind()
    return found | {"RemoveArgument": RemoveArgument(), "RemoveStatement": RemoveStatement()}


def sample(root: Path, size: int, seed: int) -> list[Mutant]:
    """Return up to ``size`` mutants of the modules below ``root``, drawn by ``seed``.

    Each place has one mutant of a kind at most: `<` for `==` and `>` for `==` would say the same.
    """
    operators = _operators()
    sources = {module: (root / module).read_text() for module in modules(root)}
    meanings = {module: meaning(source) for module, source in sources.items()}
    places = [
        (module, name, occurrence, position)
        for module, source in sources.items()
        for name, positions in _positions(source, operators).items()
        for occurrence, position in enumerate(positions)
    ]
    random.Random(seed).shuffle(places)
    taken: set[Any] = set()
    found: list[Mutant] = []
    for module, name, occurrence, position in places:
        place = (module, position, name.partition("_")[0])
        if len(found) == size:
            break
        if place in taken:
            continue
        try:
            mutated = mutate_code(sources[module], operators[name], occurrence)
        except AttributeError:  # cosmic-ray's ExceptionReplacer on `except module.Error`
            continue
        if mutated and meaning(mutated) not in (None, meanings[module]):
            taken.add(place)
            found.append(Mutant(module, name, *_difference(sources[module], mutated), mutated))
    return found


def _positions(source: str, operators: dict[str, Operator]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {name: [] for name in operators}
    for node in ast_nodes(get_ast(source)):
        for name, operator in operators.items():
            found[name] += operator.mutation_positions(node)
    return found


def meaning(source: str) -> str | None:
    """Return the module's code without what makes no mutant, or None if it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(source)
            compile(source, "mutant", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return None
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                node.returns = None
            case ast.arg():
                node.annotation = None
            case ast.arguments():
                node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
                node.defaults = [*node.defaults, *filter(None, node.kw_defaults)]
                node.posonlyargs, node.kwonlyargs, node.kw_defaults = [], [], []
            case ast.Call():
                node.keywords = [option for option in node.keywords if option.arg not in _IDLE]
            case ast.AnnAssign():
                node.annotation = ast.Constant(None)
            case ast.Expr(value=ast.Constant()):
                node.value = ast.Constant(None)
    return ast.dump(tree)


def _difference(before: str, after: str) -> tuple[int, str, str]:
    old, new = before.splitlines(), after.splitlines()
    shorter = min(len(old), len(new))
    top = next(i for i in range(shorter) if old[i] != new[i])
    end = next((i for i in range(shorter - top) if old[-1 - i] != new[-1 - i]), shorter - top)
    changed = [" ".join(map(str.strip, lines[top : len(lines) - end])) for lines in (old, new)]
    return top + 1, changed[0], changed[1]
