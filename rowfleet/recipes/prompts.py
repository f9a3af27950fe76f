"""A recipe's prompt, with its variables in place of the placeholders."""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

#: Characters of the prompt with its variables filled in; a variable may stand there many times.
MAX_PROMPT_CHARS = 1 << 20


def filled(prompt: str, variables: Mapping[str, str | int | float]) -> str:
    """Return the prompt as the model gets it. Raises ValueError for a placeholder that is none."""
    try:
        parts = list(Formatter().parse(prompt))
    except ValueError as error:
        raise ValueError(f"prompt: {error}; write a literal brace as {{{{ or }}}}") from None
    length = 0
    for text, field, spec, conversion in parts:
        length += len(text)
        if field is None:
            continue
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", field) or spec or conversion:
            raise ValueError(f"prompt: {{{field}}} must be a plain name from variables")
        if field not in variables:
            raise ValueError(
                f"prompt: {{{field}}} is not in variables; a row's cells are sent beside the "
                f"prompt, so name a column in words (the {field} column)"
            )
        length += len(str(variables[field]))
        if length > MAX_PROMPT_CHARS:
            raise ValueError(
                f"prompt: has more than {MAX_PROMPT_CHARS:,} characters with its variables"
            )
    return prompt.format_map(variables).strip()
