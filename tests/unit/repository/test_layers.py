"""The picture of the import layers shows the tree of today; `make diagrams` renews it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs" / "diagrams" / "import-layers.d2").read_text("utf-8")
PROGRAMS = ("rowfleet", "submitter", "worker")


def drawn(program: str) -> dict[str, int]:
    """Return part → its layer, counted from the highest, as the picture has them."""
    block = TEXT.split(f"\n{program}: {{\n")[1].split("\n}\n")[0]
    layers = re.findall(r"layer\d+: .*", block)
    names = [re.findall(r'"([^"]+)": \{class: part\}', layer) for layer in layers]
    return {part: number for number, parts in enumerate(names) for part in parts}


def parts(program: str) -> set[str]:
    """Return the names of the program's modules and folders."""
    folder = ROOT / program
    files = {file.stem for file in folder.glob("*.py")} - {"__init__"}
    return files | {found.parent.name for found in folder.glob("*/__init__.py")}


def imports(program: str) -> Iterator[tuple[str, str]]:
    """Yield (part, part of the same program that it imports) for each import in the sources."""
    for file in (ROOT / program).rglob("*.py"):
        part = file.relative_to(ROOT / program).parts[0].removesuffix(".py")
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            modules = []
            if isinstance(node, ast.Import):
                modules = [name.name for name in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules = [f"{node.module}.{name.name}" for name in node.names]
            for module in modules:
                names = module.split(".")
                if names[0] == program and len(names) > 1 and names[1] in parts(program):
                    yield part, names[1]


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_part_is_drawn_once(program: str) -> None:
    assert set(drawn(program)) == parts(program)
    assert len(re.findall(r"class: part", TEXT)) == sum(len(drawn(p)) for p in PROGRAMS)


@pytest.mark.parametrize("program", PROGRAMS)
def test_each_import_leads_to_a_lower_layer(program: str) -> None:
    layer = drawn(program)
    pairs = {pair for pair in imports(program) if pair[0] != pair[1] and pair[0] != "__init__"}
    assert pairs
    assert {(a, b) for a, b in pairs if layer[a] >= layer[b]} == set()


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_architecture_page_names_each_folder(program: str) -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    folders = {found.parent.name for found in (ROOT / program).glob("*/__init__.py")}
    assert {name for name in folders if f"`{program}/{name}/`" not in page} == set()
