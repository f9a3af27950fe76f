"""Rowfleet from Python: `from rowfleet import run`.

The engine is the submitter's, which the core never imports. So it is looked up by its place when
`run` is called, as an analyzer is.
"""

from __future__ import annotations

import pkgutil
from os import PathLike
from typing import TYPE_CHECKING, Any, Final, TypeVar

from rowfleet.errors import InputError

if TYPE_CHECKING:
    from pydantic import BaseModel

#: Where the engine is.
ENGINE: Final = "submitter.api.running:run"

#: A list of dicts, or a DataFrame.
Rows = TypeVar("Rows")


def run(
    rows: Rows,
    recipe: str | PathLike[str] | type[BaseModel] | None = None,
    *,
    prompt: str | None = None,
    model: str | None = None,
    analyzer: str | None = None,
    slots: int | None = None,
    max_cost: float | None = None,
    dedupe: bool = False,
    batch_id: str | None = None,
    documents: str | PathLike[str] | None = None,
    fleet: bool = False,
) -> Rows:
    """Ask about every row, and return the rows with the answers in columns of their own.

    It is `rowfleet local`, or with ``fleet`` `rowfleet submit --wait`, with the same settings from
    the environment: the same rows again continue the same batch, and nothing is paid for twice.

    ``rows`` is a list of dicts or a pandas DataFrame, and comes back as the same. The new columns
    are those of a finished sheet: one for each field of the answer, such as `AI_Explanation`, and
    `AI_Status` and the others behind them. A row that failed has the reason in `AI_Error`.

    ``recipe`` is a file, the name of a bundled recipe, or a pydantic model of the answer; the
    default is the bundled one. ``prompt`` is the question beside a pydantic model. ``slots`` is how
    many rows run at once on this machine. ``max_cost`` is in USD. ``documents`` is the folder of
    the files that rows name. ``fleet``: the rows are run by workers elsewhere, which REDIS_URL and
    DATABASE_URL name.

    Raises InputError for rows, recipes and settings that can't be used, and where the batch was
    stopped, as for a key that the API rejects; ServiceError if a service can't be reached.
    """
    try:
        engine: Any = pkgutil.resolve_name(ENGINE)
    except ModuleNotFoundError as error:
        raise InputError(
            f"rowfleet.run needs all of Rowfleet, and {error.name} is not installed: "
            "pip install 'rowfleet[local]'"
        ) from None
    answered: Rows = engine(
        rows,
        recipe,
        prompt=prompt,
        model=model,
        analyzer=analyzer,
        slots=slots,
        max_cost=max_cost,
        dedupe=dedupe,
        batch_id=batch_id,
        documents=documents,
        fleet=fleet,
    )
    return answered
