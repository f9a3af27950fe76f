"""References between the schemas in a recipe's schema: each leads somewhere, and none in a circle.

A check of one answer then takes a bounded number of steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote

#: Where a schema stands in another: the keywords and names that lead to it from the top.
Place = tuple[str, ...]

#: Schemas that apply to one value through `$ref`, `anyOf` and the like.
MAX_APPLIED = 1_000


def check(
    references: Mapping[Place, str],
    anchors: Mapping[str, Place],
    schemas: Mapping[Place, Any],
    here: dict[Place, list[Place]],
) -> None:
    """Raise ValueError for a reference that leads nowhere, in a circle, or to too many schemas.

    ``here`` has the places of the schemas that apply to the same value as a place; the targets of
    the references are added.
    """
    for place, reference in references.items():
        target = _target(reference, anchors, schemas)
        if target is None:
            raise wrong(place, "$ref", f"{reference[:60]!r} leads to no schema in here")
        here.setdefault(place, []).append(target)
    applied: dict[Place, int] = {}
    for start in here:
        _count_applied(start, here, applied)


def _target(
    reference: str, anchors: Mapping[str, Place], schemas: Mapping[Place, Any]
) -> Place | None:
    fragment = reference[1:]
    if fragment and not fragment.startswith("/"):
        return anchors.get(fragment)
    parts = unquote(fragment).split("/")[1:]
    target = tuple(part.replace("~1", "/").replace("~0", "~") for part in parts)
    return target if target in schemas else None


def _count_applied(
    start: Place, here: Mapping[Place, list[Place]], applied: dict[Place, int]
) -> None:
    """Count the schemas that apply to a value where ``start`` does: depth first, without
    recursion, for a chain of references may be long."""
    path, waiting = [start], {start: iter(here[start])}
    sums = {start: 1}
    while path:
        place = path[-1]
        for below in waiting[place]:
            if below in waiting:
                raise wrong(
                    place,
                    "$ref",
                    "leads back to itself before any property or item; no check of it ends",
                )
            if below not in applied:
                path.append(below)
                waiting[below] = iter(here.get(below, ()))
                sums[below] = 1
                break
            sums[place] += applied[below]
        else:
            path.pop()
            del waiting[place]
            if sums[place] > MAX_APPLIED:
                raise ValueError(
                    f"at {named(place)}: more than {MAX_APPLIED:,} schemas apply to one value"
                )
            applied[place] = sums.pop(place)
            if path:
                sums[path[-1]] += applied[place]


def named(place: Iterable[object]) -> str:
    """Return a place in words."""
    return "/".join(str(part)[:60] for part in place) or "the top"


def wrong(place: Place, keyword: str, what: str) -> ValueError:
    """Return the error that names the keyword's place."""
    return ValueError(f"at {named((*place, keyword))}: {what}")
