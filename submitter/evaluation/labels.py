"""A column of labels beside a property of the answers: which they are, and when the two agree."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

from rowfleet import cells
from rowfleet.errors import InputError
from rowfleet.ledger.queries.answered import AnsweredRow
from rowfleet.ledger.records import BatchRecord
from rowfleet.recipes.names import fold
from rowfleet.recipes.recipe import Recipe
from submitter.evaluation.differences import amount

#: How a property is compared: as one of some classes, as a number, or as text.
Kind = Literal["class", "amount", "text"]

#: What a label may hold for a property that is true or false.
_TRUE, _FALSE = frozenset({"true", "yes", "y", "1"}), frozenset({"false", "no", "n", "0"})

#: How a missing value is written, in a label and in a report.
NULL = "null"


class _Rejected:
    """The label of an answer that a person rejected, without saying what is right."""

    def __str__(self) -> str:
        return "rejected"


REJECTED = _Rejected()


class Unreadable(Exception):
    """A label is no number where the answers are numbers."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A property of the answers and its labels."""

    property: str
    kind: Kind
    #: The column of the labels: its header and its index; None: labels come from reviews.
    column: str | None = None
    index: int | None = None
    #: Whether the model was sent the labels.
    is_sent: bool = False
    #: The classes that the recipe names, as they are compared.
    classes: tuple[str, ...] = ()
    is_boolean: bool = False
    #: How far an amount may be from its label and count as right.
    tolerance: Decimal = Decimal(0)


@dataclass(frozen=True, slots=True)
class Judged:
    """A label, an answer, and whether the two agree; the numbers are those of an amount."""

    label: str
    answer: str
    is_right: bool
    numbers: tuple[Decimal, Decimal] | None = None


def compared(
    wanted: str, batch: BatchRecord, recipe: Recipe, tolerance: Decimal = Decimal(0)
) -> Compared:
    """Return what ``COLUMN[=PROPERTY]`` means for a batch.

    Raises InputError for a column that the sheet does not have, and a property that the recipe
    does not answer.
    """
    index = _found(wanted, batch.header)
    name: str | None = None
    if index is None:
        column, equals, name = wanted.rpartition("=")
        index = _found(column, batch.header) if equals else None
        if index is None:
            raise InputError(
                f"--against {wanted!r}: the sheet of batch {batch.id} has no column "
                f"{(column if equals else wanted)!r}; it has {_listed(batch.header)}"
            )
    column = batch.header[index]
    return of_property(
        _property(name, column, wanted, recipe),
        recipe,
        tolerance,
        column=column,
        index=index,
        is_sent=index in batch.columns.values(),
    )


def all_compared(
    wanted: Sequence[str], batch: BatchRecord, recipe: Recipe, tolerance: Decimal
) -> list[Compared]:
    """Return what each ``COLUMN[=PROPERTY]`` means; raises InputError for a property twice, too."""
    about = [compared(each, batch, recipe, tolerance) for each in wanted]
    names = [each.property for each in about]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--against: {name} is compared twice; leave one out")
    return about


def of_property(
    name: str,
    recipe: Recipe,
    tolerance: Decimal,
    *,
    column: str | None = None,
    index: int | None = None,
    is_sent: bool = False,
) -> Compared:
    """Return how a property of the recipe is compared."""
    schema: Mapping[str, Any] = recipe.output["properties"].get(name, {"type": "number"})
    types = schema.get("type")
    types = {types} if isinstance(types, str) else set(types or ())
    values = schema.get("enum")
    kind: Kind = "text"
    if values is not None or "boolean" in types:
        kind = "class"
    elif types & {"number", "integer"}:
        kind = "amount"
    is_boolean = types <= {"boolean", "null"} and "boolean" in types
    classes = values if isinstance(values, list) else [True, False] if is_boolean else []
    return Compared(
        name,
        kind,
        column,
        index,
        is_sent,
        tuple(_text(each, is_boolean) for each in classes),
        is_boolean,
        tolerance,
    )


def _property(name: str | None, column: str, wanted: str, recipe: Recipe) -> str:
    """Return the property that is called ``name``, or like the ``column`` if None."""
    headers = recipe.headers()
    asked = fold(column if name is None else name)
    for property_, header in headers.items():
        if asked in (fold(property_), fold(header)):
            return property_
    hint = f"; write {column}=PROPERTY" if name is None else ""
    what = name if name is not None else column
    raise InputError(
        f"--against {wanted!r}: the recipe {recipe.name!r} answers no {what!r}{hint}; "
        f"it answers {_listed(tuple(headers))}"
    )


def _found(name: str, header: Sequence[str]) -> int | None:
    if name in header:
        return list(header).index(name)
    return next((n for n, each in enumerate(header) if fold(each) == fold(name)), None)


def _listed(names: Sequence[str], most: int = 30) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def judged(about: Compared, label: Any, answer: Any) -> Judged:
    """Return how an answer's value agrees with its label, which is not None.

    Case and spaces don't count in text. Raises Unreadable for a label that is no number where the
    answers are.
    """
    if label is REJECTED:
        return Judged(str(label), _text(answer, about.is_boolean), is_right=False)
    if isinstance(label, str) and label.strip().casefold() == NULL:
        label = None
    if about.kind == "amount":
        wanted, given = amount(label), amount(answer)
        if wanted is None and label is not None:
            raise Unreadable(str(label))
        shown = NULL if label is None else str(label), NULL if answer is None else str(answer)
        if wanted is None or given is None:
            return Judged(*shown, is_right=wanted is given)
        return Judged(*shown, abs(wanted - given) <= about.tolerance, (wanted, given))
    first, second = _text(label, about.is_boolean), _text(answer, about.is_boolean)
    return Judged(first, second, first == second)


def in_sheet(about: Compared, row: AnsweredRow) -> Any:
    """Return the label that a row's cell holds, None if the cell is blank."""
    encoded, index = row.cells, about.index
    assert index is not None
    if index >= len(encoded) or isinstance(encoded[index], list):
        return None
    label = cells.plain(cells.decode(encoded[index]))
    return None if isinstance(label, str) and not label.strip() else label


def _text(value: Any, is_boolean: bool) -> str:
    """Return a value as text, so that equal ones are the same."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    text = " ".join(str(value).split()).casefold()
    if is_boolean:
        return "true" if text in _TRUE else "false" if text in _FALSE else text
    return text
