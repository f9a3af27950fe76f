"""The docs' pictures and transcripts show a run of today: the output, and the finished sheet."""

from __future__ import annotations

import html
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PICTURES = ROOT / "docs" / "pictures"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """Run the demo's command on a copy of its sheet; return its output and the finished sheet."""
    folder = tmp_path_factory.mktemp("demo")
    (folder / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "Master_Refunds.xlsx", folder / "examples")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROWFLEET", "OPENAI"))}
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "submitter", "local"),
            *("examples/Master_Refunds.xlsx", "--analyzer", "rules"),
        ],
        env={**kept, "XDG_STATE_HOME": str(folder)},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    )
    return ran.stdout, folder / "examples" / "Master_Refunds.results.xlsx"


def test_the_sheet_is_the_one_that_the_demo_writes(demo: tuple[str, Path], tmp_path: Path) -> None:
    drawn = tmp_path / "sheet.svg"
    command = [sys.executable, PICTURES / "sheet.py", demo[1], drawn]
    subprocess.run(command, check=True)
    assert drawn.read_text("utf-8") == (PICTURES / "sheet.svg").read_text("utf-8")


def test_the_recorded_terminal_shows_what_the_demo_prints(demo: tuple[str, Path]) -> None:
    recorded = html.unescape(re.sub(r"<[^>]+>", "", (PICTURES / "demo.svg").read_text("utf-8")))
    printed = [line for line in demo[0].splitlines() if "follow it" not in line]
    first, last = printed[0], printed[-1]
    assert first in recorded
    assert last in recorded
    assert "finished · done 250 · failed 0" in recorded


@pytest.mark.parametrize(
    "page", ["tutorial/first-spreadsheet", "how-to/run-on-one-machine", "how-to/control-cost"]
)
def test_the_estimate_in_the_docs_is_the_one_that_is_printed(page: str, tmp_path: Path) -> None:
    text = (ROOT / "docs" / f"{page}.md").read_text("utf-8")
    [shown] = re.findall(r"^examples/[^`]*?measures it$", text, re.MULTILINE)
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "submitter", "local"),
            *("examples/Master_Refunds.xlsx", "--analyzer", "openai", "--dry-run"),
        ],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("ROWFLEET", "OPENAI"))},
            **{"OPENAI_API_KEY": "any", "XDG_STATE_HOME": str(tmp_path)},
        },
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert "submit" in shown
    left_out = re.escape(shown).replace("…", ".+")
    assert re.fullmatch(left_out, ran.stdout.rstrip(), re.DOTALL)
