"""Write import-layers.d2: the layers of the tree, as the imports of today make them.

Each part of a program is placed one layer above the highest part that it imports, so each layer
imports only layers below it. Parts that import each other would share a box. `make diagrams` draws
the text; tests/unit/test_diagrams.py compares it with the tree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

HERE = Path(__file__).parent
PROGRAMS = ("submitter", "worker", "rowfleet")
HEAD = """\
# Written by docs/diagrams/layers.py; `make diagrams` renews it.
direction: down
classes: {
  layer: {grid-rows: 1; grid-gap: 12; style: {fill: transparent; stroke-width: 0}}
  part: {style.border-radius: 4}
}
submitter -> rowfleet
worker -> rowfleet
"""


def text() -> str:
    """Return the D2 text of the tree's layers."""
    graph = grimp.build_graph(*PROGRAMS, cache_dir=None)
    lines = [HEAD]
    for program in PROGRAMS:
        lines.append(f"{program}: {{\n  grid-columns: 1; grid-gap: 12")
        parts = _imports(graph, program)
        for number, layer in enumerate(_layers(parts), 1):
            names = "; ".join(f'"{part}": {{class: part}}' for part in layer)
            lines.append(f'  layer{number}: "" {{class: layer; {names}}}')
        lines.append("}\n")
    return "\n".join(lines)


def _imports(graph: grimp.ImportGraph, program: str) -> dict[str, set[str]]:
    """Return part → the parts of the same program that it imports."""
    children = sorted(graph.find_children(program))
    found: dict[str, set[str]] = {child.rpartition(".")[2]: set() for child in children}
    for child in children:
        inside = {child, *graph.find_descendants(child)}
        for module in inside:
            for other in graph.find_modules_directly_imported_by(module):
                names = other.split(".")
                if names[0] == program and len(names) > 1 and other not in inside:
                    found[child.rpartition(".")[2]].add(names[1])
    return found


def _layers(imports: dict[str, set[str]]) -> Iterator[list[str]]:
    """Yield the layers from the highest to the lowest; parts that import each other as one name."""
    groups = _circles(imports)
    of = {part: group for group in groups for part in group}
    heights: dict[frozenset[str], int] = {}

    def height(group: frozenset[str]) -> int:
        if group not in heights:
            below = {of[part] for one in group for part in imports[one]} - {group}
            heights[group] = 1 + max(map(height, below), default=-1)
        return heights[group]

    for level in range(max(map(height, groups)), -1, -1):
        yield sorted(" ⇄ ".join(sorted(group)) for group in groups if height(group) == level)


def _circles(imports: dict[str, set[str]]) -> set[frozenset[str]]:
    reach = {part: _reached(part, imports) for part in imports}
    return {
        frozenset({part, *(other for other in reach[part] if part in reach[other])})
        for part in imports
    }


def _reached(part: str, imports: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    waiting = [part]
    while waiting:
        for other in imports[waiting.pop()] - seen:
            seen.add(other)
            waiting.append(other)
    return seen


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parents[1]))
    (HERE / "import-layers.d2").write_text(text(), "utf-8")
