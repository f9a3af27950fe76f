"""Rowfleet's core: what the submitter and the worker share; and `run`, the whole from Python."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowfleet.python.run import run as run

__all__ = ["run"]


def __getattr__(name: str) -> Any:
    # On first use: the programs import this package for each of its modules, and need no `run`.
    if name == "run":
        from rowfleet.python.run import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
