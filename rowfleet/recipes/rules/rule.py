"""A rule that is compiled once and evaluated for each row.

The library evaluates what `rewriting` makes of the text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

from rowfleet.errors import InputError
from rowfleet.recipes.expression_syntax import check_macros, syntax_mistake
from rowfleet.recipes.expression_tokens import tokens_of
from rowfleet.recipes.expressions import MAX_CHARS
from rowfleet.recipes.rules.arithmetic import NotReckoned, exact
from rowfleet.recipes.rules.rewriting import Run, Values, Writer
from rowfleet.recipes.rules.shapes import TRUTH, Shape
from rowfleet.recipes.rules.syntax import Mistake, Node, parse
from rowfleet.recipes.rules.typing_rules import Scope, require, shape_of

#: What evaluating may raise.
_FAILURES = (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError)


class Unjudged(Exception):
    """Values that the rule can't be applied to; the text says why, without a cell."""


class Rule:
    """A compiled rule. Thread-safe."""

    def __init__(self, source: str, scope: Scope, wanted: Shape | None = None) -> None:
        """Compile. Raises Mistake, with the place in ``source``, for what can't be right.

        ``wanted`` is the shape of the value; None: a number, text, or true or false.
        """
        self.source = source
        if not source.strip():
            raise Mistake("is empty", 0)
        if len(source) > MAX_CHARS:
            raise Mistake(f"has {len(source):,} characters; at most {MAX_CHARS:,} are taken", 0)
        from cel import compile as compile_  # 0.3 s to import, and only a rule needs it

        try:
            compile_(source)
        except ValueError as error:
            at, sentence = syntax_mistake(source, str(error))
            raise Mistake(sentence, at or 0) from None
        try:
            check_macros(list(tokens_of(source)))
        except InputError as error:
            raise Mistake(str(error), 0) from None
        tree = parse(source)
        self.shape = shape_of(tree, scope) if wanted is None else require(tree, scope, wanted)
        #: The properties of the answer, and the columns of the row, that it names.
        self.fields: list[str] = []
        self.columns: list[str] = []
        #: The paths of cells and properties that it names, as they are written.
        self._paths: dict[str, tuple[str, str]] = {}
        self._functions: dict[str, Callable[[Run], Callable[..., Any]]] = {}
        text = Writer(source, scope, self._functions).written(tree)
        self._note_paths(tree)
        self._program = compile_(text)
        #: The variables that it names.
        self.names = [name for name in self._program.variables() if name in scope.variables]

    def holds(self, values: Values) -> bool:
        """Return whether the rule, which is a condition, holds. Raises Unjudged if that is open."""
        result = self._evaluate(Run(values))
        if not isinstance(result, bool):
            raise Unjudged("it is neither true nor false")
        return result

    def value(self, values: Values) -> Fraction | str | bool | None:
        """Return the rule's value, a number exactly. Raises Unjudged if there is none."""
        run = Run(values)
        result = self._evaluate(run)
        if isinstance(result, bool) or result is None or isinstance(result, str):
            return result
        if isinstance(result, (int, float)):
            try:
                return run.results.get(float(result)) or exact(result)
            except NotReckoned as problem:
                raise Unjudged(str(problem)) from None
        raise Unjudged("it is neither a number nor text")

    def _evaluate(self, run: Run) -> object:
        from cel import Context

        context = Context(
            {name: run.values.variables.get(name) for name in self.names},
            {name: made(run) for name, made in self._functions.items()},
        )
        try:
            result: object = self._program.execute(context)
        except _FAILURES as error:
            raise Unjudged(run.problem or self._why(run.values, error)) from None
        if run.problem is not None:
            raise Unjudged(run.problem)
        return result

    def _why(self, values: Values, error: Exception) -> str:
        blank = [
            text
            for text, (holder, name) in self._paths.items()
            if (values.variables.get(holder) or {}).get(name) is None
        ]
        if blank:
            return f"{_listed(blank)} blank"
        if isinstance(error, ArithmeticError):
            return "it divides by zero, or a number is too large"
        if isinstance(error, LookupError):
            return "it names what is not there"
        return "values have other types than it compares"

    def _note_paths(self, node: Node) -> None:
        holder = node.parts[0] if node.parts else node
        if node.kind in ("select", "index") and holder.kind == "name":
            name = node.value if node.kind == "select" else node.parts[1].value
            if isinstance(name, str) and holder.value in ("row", "answer"):
                self._paths[self.source[node.start : node.end]] = (holder.value, name)
                (self.fields if holder.value == "answer" else self.columns).append(name)
        for part in node.parts:
            self._note_paths(part)


def condition(source: str, scope: Scope) -> Rule:
    """Return a rule that is true or false. Raises Mistake, with the place, for another."""
    return Rule(source, scope, TRUTH)


def _listed(paths: Sequence[str]) -> str:
    *before, last = paths
    return f"{', '.join(before)} and {last} are" if before else f"{last} is"
