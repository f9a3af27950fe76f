"""What a submission is asked on the command line, as one value.

`submission_options` declares each option once; a command that takes them gets them together, so an
option that is added reaches every command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from rowfleet.storage import location
from submitter.cli.options import submission_options
from submitter.sheets.selection import Choice, Hidden

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """The options that `submit` and `local` share, by the names of their values."""

    sheet: str | None = None
    start_row: int = 0
    num_rows: int | None = None
    header_row: int | None = None
    maps: tuple[str, ...] = ()
    where: str | None = None
    order_by: str | None = None
    hidden: Hidden | None = None
    keep_totals: bool = False
    recipe_file: Path | None = None
    model: str | None = None
    analyzer: str | None = None
    batch_id: str | None = None
    export_to: location.Location | None = None
    plain: bool = False
    overwrite: bool = False
    max_cost: float | None = None
    max_failures: float | None = None
    sample_size: int | None = None
    dedupe: bool = False
    documents: str | None = None

    @property
    def rows(self) -> Choice:
        """Which rows of the sheet are taken, and in which order."""
        return Choice(
            self.start_row,
            self.num_rows,
            self.where,
            self.order_by,
            self.hidden or "include",
            self.keep_totals,
        )


def takes_a_submission(command: Callable[Concatenate[Asked, P], T]) -> Callable[..., T]:
    """Give a command the options of a submission; it takes them together, before all others."""

    @wraps(command)
    def call(*args: P.args, **values: P.kwargs) -> T:
        asked = Asked(**{field.name: values.pop(field.name) for field in fields(Asked)})  # type: ignore[arg-type]  # click has checked them
        return command(asked, *args, **values)

    decorated: Callable[..., T] = submission_options(call)
    return decorated
