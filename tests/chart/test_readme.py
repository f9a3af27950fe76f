"""The chart's README lists every value, as values.yaml says it.

`UPDATE_DOCS=1 python -m pytest tests/chart/test_readme.py` writes the tables anew.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from tests.support.chart import helm

VALUES = helm.CHART / "values.yaml"
README = helm.CHART / "README.md"

BEGIN = """\
<!-- Made from the comments in values.yaml; don't edit. To renew it:
     UPDATE_DOCS=1 python -m pytest tests/chart/test_readme.py -->
"""
END = "<!-- end of the values -->\n"

#: Characters of a default that still fit a table's cell.
WIDEST = 80


@dataclass(frozen=True)
class Value:
    """A value that a user may set."""

    path: tuple[str, ...]
    default: Any
    #: The comment above it, in one line.
    comment: str


def values() -> list[Value]:
    """Return every value of values.yaml, in its order.

    A mapping with a comment of its own is one value; without one it is a section.
    """
    text = VALUES.read_text("utf-8")
    root = yaml.compose(text)
    assert isinstance(root, yaml.MappingNode)
    return list(_values(root, yaml.safe_load(text), text.splitlines(), ()))


def _values(
    node: yaml.MappingNode, given: dict[str, Any], lines: list[str], path: tuple[str, ...]
) -> Iterator[Value]:
    for key, value in node.value:
        here = (*path, key.value)
        comment = _comment_above(lines, key.start_mark.line)
        section = isinstance(value, yaml.MappingNode) and value.value and not comment
        if section:
            yield from _values(value, given[key.value], lines, here)
        else:
            yield Value(here, given[key.value], comment)


def _comment_above(lines: list[str], at: int) -> str:
    first = at
    while first > 0 and lines[first - 1].strip().startswith("#"):
        first -= 1
    return " ".join(line.strip().lstrip("#").strip() for line in lines[first:at])


def tables() -> str:
    """Return the README's part about the values."""
    parts = [BEGIN]
    sections = dict.fromkeys(value.path[0] if len(value.path) > 1 else "" for value in values())
    for section in sections:
        rows = [v for v in values() if (v.path[0] if len(v.path) > 1 else "") == section]
        title = f"### {section}" if section else "### Names"
        parts.append(f"{title}\n\n| value | default | what it is |\n| --- | --- | --- |\n")
        parts[-1] += "".join(_row(value) for value in rows)
    return "\n".join([*parts, END])


def _row(value: Value) -> str:
    flow = yaml.safe_dump(value.default, default_flow_style=True, width=1000).strip()
    shown = f"`{flow.removesuffix('...').strip()}`"
    if value.default is None or value.default in ("", [], {}):
        shown = ""
    elif len(shown) > WIDEST:
        shown = "see values.yaml"
    comment = value.comment.replace("|", "\\|")
    return f"| `{'.'.join(value.path)}` | {shown} | {comment} |\n"


def test_readme_lists_the_values_as_they_are():
    page = README.read_text("utf-8")
    start, end = page.index(BEGIN), page.index(END) + len(END)
    if os.environ.get("UPDATE_DOCS"):
        page = page[:start] + tables() + page[end:]
        README.write_text(page, "utf-8")
    assert page[start : page.index(END) + len(END)] == tables()


@pytest.mark.parametrize("value", values(), ids=lambda value: ".".join(value.path))
def test_every_value_says_what_it_is(value: Value):
    assert re.match(r"[A-Z].*\.$", value.comment), "a sentence in a comment above it"


def test_links_lead_to_files_that_are_there():
    targets = re.findall(r"\]\(([^)#\s]+)", README.read_text("utf-8"))
    broken = [t for t in targets if "://" not in t and not (helm.CHART / t).exists()]
    assert broken == []
