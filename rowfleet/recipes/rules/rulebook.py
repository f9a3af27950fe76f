"""All rules of a recipe, compiled: what is computed, what is checked, what is approved."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from rowfleet.cells import Cell, plain, value
from rowfleet.recipes.rules.arithmetic import DIGITS, rounded
from rowfleet.recipes.rules.rewriting import LOOKUPS, Values
from rowfleet.recipes.rules.rule import Rule, Unjudged
from rowfleet.recipes.rules.shapes import ANY, NUMBER, TEXT, TRUTH, Kind, Shape, of_schema, of_value
from rowfleet.recipes.rules.syntax import Mistake
from rowfleet.recipes.rules.typing_rules import Scope

if TYPE_CHECKING:
    from rowfleet.documents.asked import AskedDocument
    from rowfleet.recipes.parts.checks import Check
    from rowfleet.recipes.parts.computed import Computed
    from rowfleet.recipes.parts.lookups import Lookup
    from rowfleet.recipes.recipe import Recipe

#: The variables of a rule.
ROW, ANSWER, DOCUMENTS = "row", "answer", "documents"


class RuleMistake(ValueError):
    """A rule that can't be right. ``path`` leads to it in the recipe, ``at`` is the place in it."""

    def __init__(self, mistake: Mistake, *path: str | int) -> None:
        super().__init__(str(mistake))
        self.path = path
        self.at = mistake.at


class Rulebook:
    """The compiled rules of a recipe. Thread-safe."""

    def __init__(self, recipe: Recipe) -> None:
        """Raises RuleMistake for a rule that can't be right."""
        properties = {
            name: of_schema(schema) for name, schema in recipe.output["properties"].items()
        }
        #: Field → what computes it, and how.
        self.computed: dict[str, tuple[Rule, Computed]] = {}
        for name, computed in recipe.computed.items():
            rule = _compiled(Rule, computed.value, scope_of(recipe, properties), "computed", name)
            if rule.shape.kind not in ("number", "text", "truth", "any"):
                mistake = Mistake(f"gives {rule.shape.named}, which no cell can hold", 0)
                raise RuleMistake(mistake, "computed", name)
            self.computed[name] = (rule, computed)
            properties[name] = rule.shape
        self._joins = [each.join for each in recipe.lookups.values() if each.join is not None]
        #: The tables of the lookups, as rules have them.
        self.tables = {
            name: {key: plain_value(entry) for key, entry in (lookup.entries or {}).items()}
            for name, lookup in recipe.lookups.items()
        }
        #: The variables of checks and of all that is judged after them.
        self.scope = scope_of(recipe, properties)
        self.checks: list[tuple[Check, Rule]] = [
            (check, _compiled(_condition, check.that, self.scope, "checks", place, "that"))
            for place, check in enumerate(recipe.checks)
        ]
        self.auto_approve = (
            None
            if recipe.auto_approve is None
            else _compiled(_condition, recipe.auto_approve, self.scope, "auto_approve")
        )

    @property
    def names_documents(self) -> bool:
        """Whether a rule looks at documents, whose texts are long."""
        return any(DOCUMENTS in rule.names for rule in self._rules())

    def _rules(self) -> list[Rule]:
        rules = [rule for rule, _ in self.computed.values()]
        rules += [rule for _, rule in self.checks]
        return rules + ([] if self.auto_approve is None else [self.auto_approve])

    def missing_column(self, names: Collection[str]) -> str | None:
        """Return a column that a rule or a lookup names and that is none of ``names``."""
        named = (name for rule in self._rules() for name in rule.columns)
        return next((name for name in (*named, *self._joins) if name not in names), None)


def _condition(source: str, scope: Scope) -> Rule:
    return Rule(source, scope, TRUTH)


def _compiled(
    make: Callable[[str, Scope], Rule], source: str, scope: Scope, *path: str | int
) -> Rule:
    try:
        return make(source, scope)
    except Mistake as mistake:
        raise RuleMistake(mistake, *path) from None


def scope_of(recipe: Recipe, properties: Mapping[str, Shape]) -> Scope:
    """Return the variables of a rule of the recipe, with these properties of the answer."""
    columns = {column.name: ANY for column in recipe.columns} or None
    variables = {
        ROW: Shape("object", columns, noun="column"),
        ANSWER: Shape("object", properties, noun="property"),
    }
    if recipe.lookups:
        tables = {name: _of_table(lookup) for name, lookup in recipe.lookups.items()}
        variables[LOOKUPS] = Shape("object", tables, noun="lookup")
    if recipe.documents is not None:
        variables[DOCUMENTS] = Shape("list", item=_DOCUMENT)
    return Scope(variables)


def _of_table(lookup: Lookup) -> Shape:
    if lookup.entries is None:
        return Shape("table", dict.fromkeys(lookup.columns, ANY) or None)
    columns: dict[str, set[Kind]] = {}
    for entry in lookup.entries.values():
        for name, cell in entry.items():
            columns.setdefault(name, set()).add(of_value(cell).kind)
    return Shape("table", {name: _either(kinds - {"null"}) for name, kinds in columns.items()})


def _either(kinds: set[Kind]) -> Shape:
    return Shape(next(iter(kinds))) if len(kinds) == 1 else ANY


def values_of(
    recipe: Recipe,
    cells: Mapping[str, Cell],
    output: Mapping[str, Any],
    documents: Sequence[AskedDocument] = (),
) -> Values:
    """Return the values of a rule's variables for a row with these cells and this answer.

    A column that a sheet may lack is blank where it does.
    """
    row: dict[str, Any] = dict.fromkeys(column.name for column in recipe.columns)
    row |= {
        name: None if found == "" else plain_value(found)
        for name, found in ((name, plain(value(cell))) for name, cell in cells.items())
    }
    variables: dict[str, Any] = {ROW: row, ANSWER: plain_value(output)}
    if recipe.rulebook.names_documents:
        variables[DOCUMENTS] = [_document(each) for each in documents]
    return Values(variables, recipe.rulebook.tables)


#: What rules know of a document. One that could not be read has no pages, and a `problem`.
_DOCUMENT = Shape(
    "object",
    {
        "name": TEXT,
        "column": TEXT,
        "text": TEXT,
        "pages": NUMBER,
        "is_cut": TRUTH,
        "problem": TEXT,
    },
)


def _document(document: AskedDocument) -> dict[str, Any]:
    found = document.extracted
    return {
        "name": document.name,
        "column": document.column,
        "text": "" if found is None else "\n".join(page.text for page in found.pages),
        "pages": 0.0 if found is None else float(found.page_count),
        "is_cut": found is not None and found.is_cut,
        "problem": document.problem,
    }


def plain_value(value: Any) -> Any:
    """Return a value as rules have it: numbers as doubles of the digits that a person sees."""
    match value:
        case bool() | None:
            return value
        case str():
            return value
        case int() | float():
            try:
                return float(f"{value:.{DIGITS}g}")
            except (OverflowError, ValueError):
                return None
        case dict():
            return {name: plain_value(each) for name, each in value.items()}
        case list():
            return [plain_value(each) for each in value]
    return str(value)


def as_json(number: Fraction, terms: Computed) -> int | float:
    """Return a number as the answer keeps it: rounded as the recipe says, and no digit lost.

    Raises Unjudged for one of more digits than a cell holds.
    """
    decimal = rounded(number, terms.decimals, terms.rounding)
    kept = float(decimal)
    if Decimal(repr(kept)) != decimal or len(decimal.normalize().as_tuple().digits) > DIGITS:
        raise Unjudged(f"it has more than the {DIGITS} digits that a cell holds")
    return int(decimal) if terms.decimals == 0 else kept
