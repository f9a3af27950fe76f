"""The list of modules that `make mutants` changes."""

from __future__ import annotations

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
