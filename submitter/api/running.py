"""The engine of `rowfleet.run`, which imports little before a worker's process stands by."""

from __future__ import annotations

from typing import Any

from submitter.cli.command import importing
from submitter.local.standby import standing_by


def run(rows: Any, recipe: Any, *, fleet: bool, **options: Any) -> Any:
    """Do what `rowfleet.run` says."""
    with standing_by(wanted=not fleet) as ready:
        with importing():  # while the worker's process imports
            from submitter.api import batch
        return batch.answered(rows, recipe, ready, fleet=fleet, **options)
