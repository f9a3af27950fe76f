"""A submission is recorded, and its rows fed to workers that run elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from rowfleet.errors import InputError
from rowfleet.feeding.feeder import Feeder
from rowfleet.ledger.engine import Connection, Engine
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.statuses import Tier
from rowfleet.queue.client import Queue
from rowfleet.settings import Settings
from submitter.cli.setup import feeder_for, ledger_of
from submitter.submission import recording, takeover
from submitter.submission.submission import Submission


def recorded(
    settings: Settings,
    submission: Submission,
    *,
    tier: Tier | None = None,
    allow: Callable[[Connection, str], None] | None = None,
) -> tuple[Engine, Feeder | None, Submission, BatchRecord | None]:
    """Record the rows and feed them; return ledger, feeder, and what `recording.begin` does.

    ``settings`` must name a ledger that the workers have, too. There is no feeder on the tier of
    the Batch API. ``allow`` is that of `recording.begin`.
    """
    if settings.database_url is None:
        raise InputError(
            "DATABASE_URL is not set; write DATABASE_URL=postgresql://USER:PASSWORD@HOST/NAME, "
            "the ledger the workers use too; `rowfleet local` needs neither it nor a broker"
        )
    if tier != Tier.BATCH:
        Queue(settings).check()
    engine = ledger_of(settings, create=True)
    feeder = None if tier == Tier.BATCH else feeder_for(engine, settings)
    queue_for = None if tier == Tier.BATCH else takeover.for_fleet(engine, settings.queue)
    submission, found = recording.begin(engine, submission, queue_for, allow)
    recording.fill(engine, feeder, submission, found)
    return engine, feeder, submission, found
