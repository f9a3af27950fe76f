"""The analyzer on the page "Add an analyzer", installed as a distribution, answers rows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import openpyxl

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "extend" / "add-an-analyzer.md").read_text("utf-8")
RECIPE = """\
name: lengths
analyzer: lengths
columns: [Description]
prompt: "-"
output:
  type: object
  properties:
    length: {type: integer}
"""


def install(folder: Path) -> None:
    """Install the page's module and its entry point into ``folder``, as pip does."""
    [module] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    [project] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    [(group, points)] = tomllib.loads(project)["project"]["entry-points"].items()
    (folder / "lengths.py").write_text(module)
    about = folder / "lengths-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: lengths\nVersion: 1.0\n")
    listed = "".join(f"{name} = {value}\n" for name, value in points.items())
    (about / "entry_points.txt").write_text(f"[{group}]\n{listed}")


def test_the_analyzer_of_the_page_answers_rows(tmp_path: Path) -> None:
    install(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    shutil.copy(ROOT / "examples" / "Master_Refunds.xlsx", tmp_path / "sheet.xlsx")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROWFLEET", "OPENAI"))}
    subprocess.run(
        [
            *(sys.executable, "-m", "submitter", "local", "sheet.xlsx"),
            *("--recipe", "recipe.yaml", "--num-rows", "10"),
        ],
        env={**kept, "XDG_STATE_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        check=True,
    )
    sheet = openpyxl.load_workbook(tmp_path / "sheet.results.xlsx").worksheets[0]
    header, *rows = sheet.iter_rows(values_only=True)
    at = {str(name): place for place, name in enumerate(header)}
    assert len(rows) == 10
    for row in rows:
        assert row[at["AI_Length"]] == len(str(row[at["Description"]]))
        assert row[at["AI_Analyzer"]] == "lengths"
        assert row[at["AI_Status"]] == "done"
