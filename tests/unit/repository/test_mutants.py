"""The lists of `make mutants`: the modules that it changes, and the survivors that may be."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from tests.mutants import modules

ROOT = Path(__file__).parents[3]


def test_modules_under_mutation_are_there() -> None:
    assert "worker/row.py" in modules.modules(ROOT)


def test_a_pattern_that_matches_no_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "PATTERNS", ("worker/row.py", "worker/gone/*.py"))
    with pytest.raises(FileNotFoundError, match=r"worker/gone/\*\.py"):
        modules.modules(ROOT)


def test_a_survivor_that_may_be_is_a_change_of_what_stands_in_its_module() -> None:
    explained = tomllib.loads((ROOT / "tests/mutants/explained.toml").read_text())["survivor"]
    gone = []
    for survivor in explained:
        module, _, change = survivor["mutant"].partition(": ")
        before = change.partition(" => ")[0]
        lines = (ROOT / module).read_text().splitlines()
        if f" {before} " not in f" {' '.join(map(str.strip, lines))} ":
            gone.append(survivor["mutant"])
    assert gone == []
    assert len({survivor["mutant"] for survivor in explained}) == len(explained)
