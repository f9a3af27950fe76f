"""The rules of the tree: `make lint` refuses an import that goes up or across."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PACKAGES = ("rowfleet", "submitter", "worker", "tests", "benchmarks")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the tree's Python files, to change."""
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package,
            tmp_path / package,
            ignore=shutil.ignore_patterns("__pycache__", "*.xlsx"),
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def check(tree: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"], cwd=tree, capture_output=True, text=True, check=False, timeout=120
    )


def test_tree_keeps_its_rules(copy: Path) -> None:
    result = check(copy)
    assert result.returncode == 0, result.stdout


#: A file, and an import that it must not have.
WRONG = (
    ("worker/row.py", "submitter.excel"),
    ("rowfleet/errors.py", "rowfleet.prices"),
    ("rowfleet/ledger/queries/rows.py", "rowfleet.ledger.transitions.settling"),
    ("submitter/sheets/header.py", "submitter.submission.recording"),
    ("worker/steps/health.py", "worker.bookkeeper"),
    ("submitter/results/writer.py", "click"),
    ("submitter/cli/main.py", "kubernetes"),
    ("worker/row.py", "openai"),
    ("rowfleet/services/service_urls.py", "sqlalchemy"),
    ("submitter/submission/recording.py", "celery"),
    ("rowfleet/settings.py", "tests.conftest"),
)


def test_each_wrong_import_breaks_a_contract(copy: Path) -> None:
    for file, module in WRONG:
        with (copy / file).open("a") as source:
            source.write(f"\nimport {module}\n")
    result = check(copy)
    assert result.returncode == 1
    missing = [
        f"{importer} -> {module}"
        for importer, module in (
            (file.removesuffix(".py").replace("/", "."), module) for file, module in WRONG
        )
        if f"{importer} -> {module} " not in result.stdout
    ]
    assert missing == []
