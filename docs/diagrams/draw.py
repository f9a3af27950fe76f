"""Draw each D2 text of this folder as an SVG beside it: `make diagrams`.

D2 gives the same bytes for the same text, so a drawing changes only with its text or with D2. Each
SVG ends with the SHA-256 of its text and of itself; tests/unit/repository/test_front_page.py checks
both.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: Theme 0 and 200 are D2's plain themes for light and dark pages. A scale makes the size explicit;
#: without one, a browser draws it as wide as the page.
OPTIONS = [
    "--layout=dagre",
    "--scale=0.8",
    "--theme=0",
    "--dark-theme=200",
    "--pad=12",
    "--omit-version",
]


def draw(d2: str, text: Path) -> None:
    """Write the text's drawing beside it, under the same name.

    Raises:
        subprocess.CalledProcessError: D2 does not take the text; it has said why.
    """
    command = [d2, *OPTIONS, str(text), "-"]
    drawing = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.strip() + b"\n"
    text.with_suffix(".svg").write_bytes(drawing + stamp(text.read_bytes(), drawing))


def stamp(text: bytes, drawing: bytes) -> bytes:
    """Return the comment that ties a drawing to its text."""
    sums = [hashlib.sha256(content).hexdigest() for content in (text, drawing)]
    return f"<!-- text {sums[0]}, drawing {sums[1]} -->\n".encode()


if __name__ == "__main__":
    for one in sorted(HERE.glob("*.d2")):
        draw(sys.argv[1], one)
