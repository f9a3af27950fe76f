"""The program as a user runs it, and the commands that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

#: Runs the program within the test; returns its exit code, its output and its errors.
Call = Callable[..., tuple[int, str, str]]

#: The password in every URL here: no output may have it.
PASSWORD = "hunter2"

#: The program as it is in a checkout: not on the PATH.
ROWFLEET = Path(sys.executable).with_name("rowfleet")


def run(
    *words: object, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROWFLEET, *map(str, words)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def typed(
    line: str, *, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a printed command in a shell that knows of no ledger."""
    bare = {k: v for k, v in os.environ.items() if k not in ("XDG_STATE_HOME", "DATABASE_URL")}
    return subprocess.run(
        ["sh", "-c", line],
        cwd=cwd,
        env={**bare, **(env or {})},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def after(marker: str, said: str) -> str:
    (line,) = re.findall(rf"^.*{marker}(.*)$", said, re.MULTILINE)
    return str(line)
