"""Write import-layers.d2: the layers of the tree, as the contracts in pyproject.toml have them.

`make lint` holds the imports to the contracts. `make diagrams` writes and draws the text, and
tests/unit/repository/test_layers.py compares it with the contracts.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
HEAD = """\
# Written by docs/diagrams/layers.py; `make diagrams` renews it.
direction: down
classes: {
  layer: {grid-rows: 1; grid-gap: 12; style: {fill: transparent; stroke-width: 0}}
  part: {style.border-radius: 4}
}
"""


def text() -> str:
    """Return the D2 text of the tree's layers."""
    project = tomllib.loads((HERE.parents[1] / "pyproject.toml").read_text("utf-8"))
    layered = [c for c in project["tool"]["importlinter"]["contracts"] if c["type"] == "layers"]
    return "".join([HEAD, *(line for contract in layered for line in _program(contract))])


def _program(contract: dict[str, list[str]]) -> Iterator[str]:
    """Yield the box of each program that the contract layers, and its arrow to the core."""
    for program in contract.get("containers", ()):
        if program != "rowfleet":
            yield f"{program} -> rowfleet\n"
        yield f"{program}: {{\n  grid-columns: 1; grid-gap: 12\n"
        for number, layer in enumerate(contract["layers"], 1):
            parts = re.split(r"\s*[|:]\s*", layer)
            boxes = "; ".join(f'"{part}": {{class: part}}' for part in parts)
            yield f'  layer{number}: "" {{class: layer; {boxes}}}\n'
        yield "}\n"


if __name__ == "__main__":
    (HERE / "import-layers.d2").write_text(text(), "utf-8")
