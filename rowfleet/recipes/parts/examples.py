"""Examples of rows with their right answers, which a model is shown before each row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rowfleet.recipes.parts.base import Part

#: More examples make each row dearer and the answers hardly better.
MOST_EXAMPLES = 100


class Example(Part):
    """A row, and the answer that it should get."""

    _ALWAYS: ClassVar[frozenset[str]] = frozenset({"row", "answer"})

    #: The cells by the names of their columns.
    row: dict[str, str | int | float | bool | None]
    #: The values by the properties of the output.
    answer: dict[str, Any]


def problem_with_examples(
    examples: Sequence[Example],
    columns: Sequence[str],
    problem_of: Callable[[dict[str, Any]], str | None],
) -> str | None:
    """Return what is wrong with a recipe's examples, None if nothing is.

    ``columns`` are those that are sent, none for all; ``problem_of`` judges an answer.
    """
    if len(examples) > MOST_EXAMPLES:
        return f"examples has more than {MOST_EXAMPLES} entries"
    for number, example in enumerate(examples, 1):
        for name in example.row:
            if columns and name not in columns:
                return f"examples, entry {number}: row names {name!r}, which is no column"
        if (problem := problem_of(example.answer)) is not None:
            return f"examples, entry {number}: answer is not what output asks for: {problem}"
    return None
