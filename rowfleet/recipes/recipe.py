"""A recipe says what to ask about a row: columns, prompt, output schema, model and its options.

The prompt is the same text for every row of a batch. Cell text never enters it: the analyzer sends
the row as JSON in a message of its own. That keeps instructions and data apart, and lets the API
cache the prompt. So placeholders (`{currency}`) name the recipe's own `variables`, nothing else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rowfleet import analyzer_kinds
from rowfleet.cells import Cell, plain, value
from rowfleet.prices import Price
from rowfleet.recipes.names import fold
from rowfleet.recipes.parts.base import Part
from rowfleet.recipes.parts.checks import Check
from rowfleet.recipes.parts.columns import Column, match, named
from rowfleet.recipes.parts.computed import Computed, valued
from rowfleet.recipes.parts.documents import Documents, Missing
from rowfleet.recipes.parts.evidence import Evidence, SourcePart
from rowfleet.recipes.parts.examples import Example, problem_with_examples
from rowfleet.recipes.parts.lookups import Lookup, check_size
from rowfleet.recipes.parts.options import ModelOptions
from rowfleet.recipes.prompts import filled
from rowfleet.recipes.strict import close

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator

    from rowfleet.recipes.rules.rulebook import Rulebook

#: Columns, and names of columns with all aliases: a worksheet has 16,384 columns.
MAX_COLUMN_NAMES = 16_384


def _is_an_analyzer(name: str, info: ValidationInfo) -> str:
    """Refuse a name without an analyzer here, save where old answers are only read."""
    if info.context != RECORDED and not analyzer_kinds.is_known(name):
        raise PydanticCustomError(
            "literal_error", "Input should be {expected}", {"expected": analyzer_kinds.choices()}
        )
    return name


#: The name of a lookup, as rules write it: `lookups.NAME`.
LookupName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]

#: The name of an analyzer that is built in or installed.
AnalyzerName = Annotated[str, AfterValidator(_is_an_analyzer)]


class Recipe(Part):
    """One validated recipe. ``load`` and ``bundled`` make it; the batch keeps a snapshot."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset(
        {
            *("name", "description", "analyzer", "model", "api", "options", "columns"),
            *("identity", "variables", "prompt", "output", "result_columns", "prices"),
        }
    )

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")
    description: str = ""
    analyzer: AnalyzerName | None = None
    model: str | None = Field(default=None, min_length=1)
    api: Literal["chat_completions", "responses"] = "chat_completions"
    options: ModelOptions = ModelOptions()
    #: Columns to send. Empty means every column of the sheet, under its own name.
    columns: tuple[Annotated[Column, BeforeValidator(named)], ...] = ()
    #: The documents that rows name.
    documents: Documents | None = None
    #: Columns that together identify the thing a row is about; two rows that agree are duplicates.
    identity: tuple[str, ...] = ()
    variables: dict[str, str | int | float] = Field(default_factory=dict)
    prompt: str = Field(min_length=1)
    output: dict[str, Any]
    #: Property of the output → header of its column in the finished sheet.
    result_columns: dict[str, str] = Field(default_factory=dict)
    #: The fields of the output that the row's documents must back.
    evidence: Evidence | None = None
    #: Model → what it costs, where the table of list prices does not say or is wrong.
    prices: dict[str, Price] = Field(default_factory=dict)
    #: Tables by their names, for rules and to send with a row.
    lookups: dict[LookupName, Lookup] = Field(default_factory=dict)
    #: Fields that are computed and never asked for, each from those before it.
    computed: dict[str, Annotated[Computed, BeforeValidator(valued)]] = Field(default_factory=dict)
    #: What an answer must meet beyond its schema.
    checks: tuple[Check, ...] = ()
    #: A condition in CEL: rows that meet it, and that no check marked, need no person's look.
    auto_approve: str | None = None
    #: Rows with their right answers, which a model is shown before each row.
    examples: tuple[Example, ...] = ()

    @field_validator("output")
    @classmethod
    def _is_an_object_schema(cls, schema: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        if info.context not in (BUNDLED, RECORDED):
            # A thirtieth of a second to import, and only a schema of a user's own needs it.
            from rowfleet.recipes.schema import check

            check(schema, is_new=info.context == FILE)
        if schema.get("type") != "object" or not schema.get("properties"):
            raise ValueError('must be a JSON schema with "type: object" and "properties"')
        return schema

    @model_validator(mode="after")
    def _refers_to_what_is_there(self) -> Recipe:
        names = [column.name for column in self.columns]
        folded = Counter(
            fold(name) for column in self.columns for name in (column.name, *column.aliases)
        )
        if folded.total() > MAX_COLUMN_NAMES:
            raise ValueError(f"columns has more than {MAX_COLUMN_NAMES:,} names and aliases")
        for name in names:
            if folded[fold(name)] > 1:
                raise ValueError(f"columns names {name!r} twice")
        known = set(names)
        for name in self.identity:
            if names and name not in known:
                raise ValueError(f"identity names {name!r}, which is not one of the columns")
        if self.documents and (problem := self.documents.problem_with(names)):
            raise ValueError(problem)
        for field in self.result_columns:
            if field not in self.fields():
                raise ValueError(f"result_columns names {field!r}, which output does not have")
        if self.evidence:
            self.evidence.check(self.output, has_documents=self.documents is not None)
        headers = Counter([*self.headers().values(), *self.source_headers().values()])
        for header, count in headers.items():
            if count > 1:
                raise ValueError(f"result_columns gives the header {header!r} twice")
        filled(self.prompt, self.variables)
        return self

    @model_validator(mode="after")
    def _has_examples_of_its_own(self, info: ValidationInfo) -> Recipe:
        if self.examples and info.context != RECORDED:
            names = [column.name for column in self.columns]
            if problem := problem_with_examples(self.examples, names, self.problem_with):
                raise ValueError(problem)
        return self

    @model_validator(mode="after")
    def _has_rules_that_can_be_right(self, info: ValidationInfo) -> Recipe:
        for field in self.computed:
            if field in self.output["properties"]:
                raise ValueError(f"computed names {field!r}, which output asks the model for")
        for name, count in Counter(check.name for check in self.checks).items():
            if count > 1:
                raise ValueError(f"checks has the name {name!r} twice")
        columns = {column.name for column in self.columns}
        for name, lookup in self.lookups.items():
            if lookup.join is not None and columns and lookup.join not in columns:
                raise ValueError(f"lookups.{name} joins {lookup.join!r}, which is no column")
            if lookup.join is not None and name in columns:
                raise ValueError(f"lookups names {name!r}, which is a column, too")
        check_size(self.lookups)
        if self.judges_answers and info.context != RECORDED:
            self.rulebook  # noqa: B018 (its mistakes are found here)
        return self

    def headers(self) -> dict[str, str]:
        """Return output property → header of its result column, in the schema's order."""
        return {
            field: self.result_columns.get(
                field, "AI_" + field.replace("_", " ").title().replace(" ", "_")
            )
            for field in self.fields()
        }

    def fields(self) -> list[str]:
        """Return the properties of the output and the computed fields, in the sheet's order."""
        return [*self.output["properties"], *self.computed]

    def joined(self, cells: Mapping[str, Cell]) -> dict[str, Mapping[str, Any] | None]:
        """Return the entries of lookups that are sent with a row of these cells; None: no entry."""
        return {
            name: lookup.found(plain(value(cells.get(lookup.join))))
            for name, lookup in self.lookups.items()
            if lookup.join is not None
        }

    @cached_property
    def rulebook(self) -> Rulebook:
        """What is computed, checked and approved, compiled."""
        from rowfleet.recipes.rules.rulebook import Rulebook

        return Rulebook(self)

    def source_headers(self) -> dict[tuple[str, SourcePart], str]:
        """Return field and part of its source → header; empty where no field needs one."""
        return self.evidence.headers(self.headers()) if self.evidence else {}

    def instructions(self) -> str:
        """Return the prompt with the recipe's variables filled in: the same for every row."""
        return self._instructions

    @cached_property
    def _instructions(self) -> str:
        return filled(self.prompt, self.variables)

    @property
    def judges_answers(self) -> bool:
        """Whether an answer that fits the schema may still need review."""
        is_flagged = self.documents is not None and self.documents.missing == Missing.NEEDS_REVIEW
        return is_flagged or any(getattr(self, field) for field in JUDGED_BY)

    def strict_schema(self) -> dict[str, Any]:
        """Return ``output`` as strict structured output wants it: closed, all properties required.

        https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
        """
        return self._strict_schema

    @cached_property
    def _strict_schema(self) -> dict[str, Any]:
        output = self.evidence.added_to(self.output) if self.evidence else self.output
        closed: dict[str, Any] = close(output)
        return closed

    @cached_property
    def _validator(self) -> Draft202012Validator:
        from rowfleet.recipes.validation import validator

        return validator(self._strict_schema)

    def problem_with(self, output: Any) -> str | None:
        """Return what is wrong with an output by the strict schema, None if it is valid."""
        from rowfleet.recipes.validation import first_problem

        problem = first_problem(self._validator, output)
        if problem is None:
            return None
        where, what = problem
        return f"{where[:200] + ': ' if where else ''}{what[:200]}"

    def canonical(self) -> str:
        """Return the recipe as canonical JSON, the same from version to version."""
        return json.dumps(self.snapshot(), sort_keys=True, separators=(",", ":"))

    def question(self) -> str:
        """Return as canonical JSON only what decides answers.

        The description and the headers of the result columns do not, nor does the model where the
        analyzer asks none.
        """
        rest = self.snapshot()
        for field in ("description", "result_columns"):
            del rest[field]
        if self.analyzer is not None and not analyzer_kinds.get(self.analyzer).asks_a_model:
            del rest["model"]
        return json.dumps(rest, sort_keys=True, separators=(",", ":"))

    def snapshot(self) -> dict[str, Any]:
        """Return the recipe as a batch keeps it: all of it but prices, which decide no answer."""
        return self.model_dump(mode="json", exclude={"prices"})

    def match_columns(
        self, header: tuple[str, ...], where: str, given: dict[str, int] | None = None
    ) -> dict[str, int]:
        """Return the name each sent column has for the model → its index in ``header``.

        Names match whatever their case, spaces, dashes and underscores; ``given`` has the indexes
        of some columns by their names. Raises NoTable, which names ``where`` (file and sheet), for
        required columns that ``header`` lacks.
        """
        hint = ", another question by --recipe" if self.name == DEFAULT_RECIPE else ""
        return match(self, header, where, given, hint=hint)


#: Fields that judge an answer which fits the schema, so that it may need review.
JUDGED_BY: tuple[str, ...] = ("evidence", "checks", "computed", "auto_approve", "lookups")

#: Context of validation for a recipe that a user has written: its schema has no unknown keywords. A
#: recorded one may have them, since older versions took them.
FILE = {"file": True}

#: Context of validation for a recipe whose output is known to be a JSON schema.
BUNDLED = {"bundled": True}

#: Context of validation for a recipe that only says which columns its answers have.
RECORDED = {"recorded": True}

#: The recipe that is used when none is named: it audits invoices for refunds.
DEFAULT_RECIPE = "invoice-refunds"
