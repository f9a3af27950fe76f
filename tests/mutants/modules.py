"""The modules under mutation: their mistakes lose a row, pay for one twice or overrun a limit."""

from __future__ import annotations

from pathlib import Path

#: Files, or patterns of files, below the repository.
PATTERNS = (
    "rowfleet/ledger/transitions/*.py",
    "rowfleet/feeding/*.py",
    "worker/analyzers/openai/lane.py",
    "worker/analyzers/openai/limiter.py",
    "worker/analyzers/openai/shared_lanes.py",
    "worker/assignment.py",
    "worker/batch_cache.py",
    "worker/bookkeeper.py",
    "worker/claims.py",
    "worker/group_commit.py",
    "worker/row.py",
    "worker/running_rows.py",
    "worker/slot_requests.py",
    "worker/transport.py",
)


def modules(root: Path) -> list[str]:
    """Return the modules below ``root``. Raises FileNotFoundError if a pattern matches no file."""
    found: list[str] = []
    for pattern in PATTERNS:
        files = sorted(path.relative_to(root).as_posix() for path in root.glob(pattern))
        if not files:
            raise FileNotFoundError(f"no file matches {pattern}; see tests/mutants/modules.py")
        found += files
    return found
