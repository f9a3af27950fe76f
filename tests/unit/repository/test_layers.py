"""The picture of the import layers, and the table of folders, show the tree of today."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DIAGRAMS = ROOT / "docs" / "diagrams"


def test_the_picture_shows_the_layers_of_the_contracts() -> None:
    """`make diagrams` renews it."""
    text = runpy.run_path(str(DIAGRAMS / "layers.py"))["text"]()
    assert (DIAGRAMS / "import-layers.d2").read_text("utf-8") == text


@pytest.mark.parametrize("program", ["rowfleet", "submitter", "worker"])
def test_the_architecture_page_names_each_folder(program: str) -> None:
    page = (ROOT / "docs" / "explanation" / "architecture.md").read_text("utf-8")
    folders = {found.parent.name for found in (ROOT / program).glob("*/__init__.py")}
    assert {name for name in folders if f"`{program}/{name}/`" not in page} == set()
