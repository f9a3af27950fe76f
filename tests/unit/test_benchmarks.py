"""The benchmarks are not run here; but what they import must be there."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys

import benchmarks
from benchmarks.__main__ import BENCHMARKS


def test_every_module_can_be_imported() -> None:
    names = [f"benchmarks.{found.name}" for found in pkgutil.iter_modules(benchmarks.__path__)]
    assert {f"benchmarks.{name}" for name in BENCHMARKS} <= set(names)
    # In a process of its own: some are workers, which read their settings when imported.
    settings = {"REDIS_URL": "redis://127.0.0.1:1/0", "DATABASE_URL": "sqlite:///unused.db"}
    settings["OPENAI_API_KEY"] = "sk-unused"
    subprocess.run(
        [sys.executable, "-c", f"import {', '.join(sorted(set(names) - {'benchmarks.__main__'}))}"],
        env={**os.environ, **settings},
        check=True,
        timeout=60,
    )
