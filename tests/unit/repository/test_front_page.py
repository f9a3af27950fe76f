"""The README's figures and pictures, and the diagrams, are those of their sources."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
PERFORMANCE = "docs/explanation/performance.md"
RELIABILITY = (ROOT / "docs" / "explanation" / "reliability.md").read_text("utf-8")


def lines(table: str) -> list[list[str]]:
    """Return the cells of a table's lines below its head."""
    rows = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


FIGURES = lines(README.split("## Five figures")[1].split("## ")[0])


@pytest.mark.parametrize(
    "figure", [f for f in FIGURES if PERFORMANCE in f[-1]], ids=lambda figure: figure[0]
)
def test_the_performance_page_has_the_figure(figure: list[str]) -> None:
    _, ours, beside, _ = figure
    assert f"| {ours} | {beside} |" in (ROOT / PERFORMANCE).read_text("utf-8")


def test_rows_and_faults_are_the_sums_of_the_fault_suite() -> None:
    cases = lines(RELIABILITY.split("<!-- cases:")[1].split("<!-- end of cases -->")[0])
    rows, faults, lost = (sum(int(case[at].replace(",", "")) for case in cases) for at in (3, 4, 5))
    [figure] = [f for f in FIGURES if "lost" in f[0]]
    assert f"{faults} faults" in figure[0]
    assert figure[1] == f"{lost} of {rows:,}"


def test_rows_answered_in_a_scale_in_are_those_of_the_fault_suite() -> None:
    compared = RELIABILITY.split("<!-- side by side:")[1].split("<!-- end of side by side -->")[0]
    at = compared.index("scale in while the last rows run")
    fleets = {case[1]: case for case in lines("||\n||\n| " + compared[at:])[:3]}
    ours, celerys = fleets["Rowfleet"], fleets["Celery's defaults"]
    [figure] = [f for f in FIGURES if "scales in" in f[0]]
    assert figure[1] == f"{ours[3]} of {ours[2]}"
    assert figure[2] == f"Celery's defaults: {celerys[3]} of {celerys[2]}"


@pytest.mark.parametrize(
    "text", sorted((ROOT / "docs" / "diagrams").glob("*.d2")), ids=lambda text: text.name
)
def test_a_diagram_is_drawn_from_its_text(text: Path) -> None:
    """`make diagrams` draws them anew."""
    drawing, _, stamp = text.with_suffix(".svg").read_text("utf-8").rpartition("<!-- ")
    sums = [hashlib.sha256(one).hexdigest() for one in (text.read_bytes(), drawing.encode())]
    assert stamp == f"text {sums[0]}, drawing {sums[1]} -->\n"


def test_every_picture_has_a_source() -> None:
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README)
    assert {"docs/pictures/demo.svg", "docs/pictures/sheet.svg"} <= set(pictures)
