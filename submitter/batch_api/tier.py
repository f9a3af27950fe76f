"""`--tier batch` for the command line: its users, and the work of its commands.

What needs the `openai` package is loaded only here: it takes half a second.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from rowfleet import analyzer_kinds
from rowfleet.analysis import AnalysisError
from rowfleet.errors import InputError
from rowfleet.ledger.engine import Engine, reading
from rowfleet.ledger.queries import batch_records
from rowfleet.ledger.records import Progress
from rowfleet.recipes.recipe import Recipe
from rowfleet.retry import RetryPolicy
from rowfleet.settings import Settings
from submitter.submission.submission import Terms

if TYPE_CHECKING:
    from submitter.batch_api.follower import Follower

log = logging.getLogger(__name__)

#: The queue that such batches are recorded with. No worker has it, so that not even one of an older
#: version, which knows of no tiers, feeds their rows.
QUEUE: Final = "openai-batch"


def check(recipe: Recipe, *, urgent: bool, terms: Terms) -> None:
    """Raise InputError unless the recipe's rows can go through the Batch API on these terms."""
    for option, is_given in (
        ("--max-cost", terms.max_cost is not None),
        ("--sample", terms.sample is not None),
        ("--dedupe", terms.dedupe),
    ):
        if is_given:
            raise InputError(f"{option}: not with --tier batch, which sends all rows at once")
    if urgent:
        raise InputError("--urgent: workers take such rows first, the Batch API knows no order")
    if recipe.documents is not None:
        raise InputError(
            "--tier batch: documents are read by the fleet's own extractors, and sent by its "
            "workers; leave it out"
        )
    assert recipe.analyzer is not None
    if not analyzer_kinds.get(recipe.analyzer).asks_openai:
        raise InputError(
            f"--tier batch: the analyzer {recipe.analyzer} computes its rows; the Batch API is "
            "OpenAI's, for --analyzer openai"
        )


def api_key(settings: Settings) -> str:
    """Return the key. Raises InputError if there is none."""
    if settings.openai_api_key is None:
        raise InputError(
            "OPENAI_API_KEY is not set; with --tier batch it is the submitter that asks the API"
        )
    return settings.openai_api_key.get_secret_value()


def follow(
    engine: Engine,
    settings: Settings,
    batch_id: str,
    *,
    wait: bool,
    show: Callable[[Progress], None],
    say: Callable[[str], None],
) -> Progress:
    """Bring the batch to its end with ``wait``, else as far as is possible now.

    Raises InputError without a key, ServiceError if without ``wait`` the API is away.
    """
    from submitter.batch_api import session

    return session.follow(
        engine, _follower(engine, settings, batch_id, say=say), wait=wait, show=show
    )


def cancel(engine: Engine, settings: Settings, batch_id: str) -> None:
    """Cancel the remote batches of a batch that is cancelled; say it if that fails."""
    try:
        _follower(engine, settings, batch_id, say=log.info).cancel_remote()
    except (AnalysisError, InputError) as error:
        log.warning(
            "%s is cancelled, but not what is with the API: %s; cancel it again", batch_id, error
        )
    else:
        log.warning(
            "the API cancels what is with it; answers that it has by then are paid for, fetch them "
            "with: rowfleet collect %s --wait",
            batch_id,
        )


def _follower(
    engine: Engine, settings: Settings, batch_id: str, *, say: Callable[[str], None]
) -> Follower:
    from submitter.batch_api.client import BatchAPI
    from submitter.batch_api.followed import Limits
    from submitter.batch_api.follower import Follower

    # They say a line a request.
    for chatty in ("httpx2", "httpcore2", "openai"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    with reading(engine) as connection:
        model = batch_records.get_batch(connection, batch_id).model
    limits = Limits(
        file_rows=settings.batch_file_rows,
        file_bytes=round(settings.batch_file_mb * 1_000_000),
        poll=settings.batch_poll,
        retries=RetryPolicy(settings.max_retries, settings.retry_delay),
    )
    api = BatchAPI(api_key(settings), settings.openai_base_url, model=model)
    return Follower(engine, api, batch_id, limits, say=say)
