"""The cells of a finished sheet that say where an answer's fields come from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rowfleet.cells import Cell
from rowfleet.recipes.parts.evidence import EVIDENCE, SourcePart
from submitter.results.citing.links import Link, of_file


def cell(output: Mapping[str, Any] | None, field: str, part: SourcePart, root: str | None) -> Cell:
    """Return one part of a field's source, None where the answer has none.

    ``root`` is the folder of the batch's documents. Those in an object store get no link: a
    spreadsheet program opens none.
    """
    sources = (output or {}).get(EVIDENCE)
    source = sources.get(field) if isinstance(sources, dict) else None
    if not isinstance(source, dict):
        return None
    match part:
        case SourcePart.PAGE:
            return source.get("page")
        case SourcePart.QUOTE:
            return source.get("quote")
    name = source.get("name")
    if not isinstance(name, str) or root is None or "://" in root:
        return name
    return Link(name, of_file(f"{root.rstrip('/')}/{name}"))
