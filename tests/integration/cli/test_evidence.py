"""The demo's second sheet: each contradiction is found, and each claim leads to its page."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from PIL import Image

ROOT = Path(__file__).parents[3]
SHEET = "Refunds_with_Invoices"


@dataclass
class Demo:
    """A folder with a copy of the example, in which the demo's command has run."""

    folder: Path
    rows: list[dict[str, Any]]

    def call(self, *words: object) -> subprocess.CompletedProcess[str]:
        return call(self.folder, *words)


def call(folder: Path, *words: object) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROWFLEET", "OPENAI"))}
    return subprocess.run(
        [sys.executable, "-m", "submitter", *map(str, words)],
        env={**kept, "XDG_STATE_HOME": str(folder), "PYTHONPATH": str(ROOT)},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Demo:
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(ROOT / "examples" / "invoices", folder / "examples" / "invoices")
    shutil.copy(ROOT / "examples" / f"{SHEET}.xlsx", folder / "examples")
    made = subprocess.run(
        ["make", "-n", "demo"],
        env={"PATH": os.environ["PATH"]},  # not as a part of the make that runs the tests
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (command,) = (line for line in made.stdout.splitlines() if f"{SHEET}.xlsx" in line)
    words = shlex.split(command)
    ran = call(folder, *words[words.index("local") :])
    assert ran.returncode == 0, ran.stderr
    sheet = openpyxl.load_workbook(folder / "examples" / f"{SHEET}.results.xlsx").worksheets[0]
    header, *rows = ([cell.value for cell in row] for row in sheet.iter_rows())
    named = [dict(zip(map(str, header), row, strict=True)) for row in rows]
    return Demo(folder, named)


def test_the_demo_finds_each_contradiction_that_figures_show(demo: Demo) -> None:
    kinds = json.loads((ROOT / "examples" / f"{SHEET.lower()}_defects.json").read_text())
    shown = {number for number, kind in kinds.items() if kind != "goods_returned"}
    found = {str(number) for number, row in enumerate(demo.rows) if row["AI_Basis"] != "none"}
    assert (len(demo.rows), len(shown)) == (26, 11)
    assert found == shown


def test_each_claim_in_the_sheet_has_its_page_its_quote_and_a_link(demo: Demo) -> None:
    for row in demo.rows:
        for name in ("AI_Invoice_Number", "AI_Invoice_Amount"):
            source = [row[f"{name}_{part}"] for part in ("Page", "Quote", "Document")]
            assert [part is None for part in source] == [row[name] is None] * 3
            if row[name] is not None:
                path = demo.folder / "examples" / "invoices" / row["Invoice_File"]
                link = f'=HYPERLINK("file://{path}","{row["Invoice_File"]}")'
                assert source[2] == link
        assert row["AI_Review"] is None


def test_evidence_shows_a_rows_sources_and_draws_its_pages(demo: Demo) -> None:
    row = next(row for row in demo.rows if row["Invoice_File"] == "atelier/FAC01128.pdf")
    number = row["AI_Row"]
    ran = demo.call("evidence", "refunds", number, "--json", "--png", "pages")
    assert ran.returncode == 0, ran.stderr
    first, second = json.loads(ran.stdout)
    assert (first["field"], first["value"]) == ("invoice_number", "FAC01128")
    assert second["source"]["page"] == row["AI_Invoice_Amount_Page"] == 3
    assert second["source"]["quote"] == row["AI_Invoice_Amount_Quote"]
    drawn = demo.folder / "pages" / f"row-{number}-invoice_amount.png"
    assert f"written: pages/{drawn.name}" in ran.stderr + ran.stdout
    with Image.open(drawn) as picture:
        assert picture.format == "PNG"
    shown = demo.call("evidence", "refunds", number).stdout
    assert "invoice_amount" in shown


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("refunds", 999), "has no row 999"),
        (("refunds", 1), "has no row 1"),
        (("refunds", 0), "0 is not in the range x>=1"),
        (("nothing", 3), "nothing"),
    ],
)
def test_a_row_that_is_not_there_is_said(
    demo: Demo, words: tuple[object, ...], sentence: str
) -> None:
    ran = demo.call("evidence", *words)
    assert ran.returncode == 2
    assert sentence in ran.stderr
    assert "Traceback" not in ran.stderr
