"""A batch goes on: the new submission's terms are checked against it, and recorded."""

from __future__ import annotations

from rowfleet.errors import InputError
from rowfleet.ledger.engine import Connection
from rowfleet.ledger.records import BatchRecord
from rowfleet.ledger.statuses import BatchStatus, Tier
from rowfleet.ledger.transitions import recording, stopping
from submitter.submission.submission import Submission, new_batch
from submitter.submission.takeover import QueueFor


def resume(
    connection: Connection,
    found: BatchRecord,
    submission: Submission,
    queue_for: QueueFor | None,
) -> str:
    """Let the batch go on, on the queue that is returned."""
    if found.status == BatchStatus.CANCELLED:
        raise InputError(
            f"batch {found.id} was cancelled; submit with another --batch-id to start it anew"
        )
    terms = submission.terms
    if terms.dedupe and not found.dedupe:
        raise InputError(
            f"--dedupe: batch {found.id} was recorded without it; leave it out, or start anew with "
            "another --batch-id"
        )
    drawn = None if found.sample is None else len(found.sample)
    if terms.sample is not None and drawn and not found.dedupe:
        wanted = min(terms.sample, found.total)
        if drawn != wanted:
            raise InputError(
                f"--sample {terms.sample}: the sample of batch {found.id} has {drawn} rows, which "
                "can't be changed; leave --sample out to run all of them"
            )
    if terms.sample is None:
        stopping.end_sample(connection, found.id)
    if terms.max_cost is not None and terms.max_cost != found.max_cost:
        stopping.set_budget(connection, found.id, terms.max_cost)
    if terms.max_failures is not None:
        stopping.set_max_failures(connection, found.id, terms.max_failures)
    if submission.tier not in (None, found.tier):
        raise InputError(
            f"--tier {submission.tier}: batch {found.id} was submitted with --tier {found.tier}, "
            "which can't be changed; to run its sheet anew, choose another --batch-id"
        )
    queue = found.queue
    if found.tier == Tier.WORKERS:
        queue = submission.queue
        if queue_for is not None:
            queue = queue_for(connection, found.id, found)
        stopping.move_queue(connection, found.id, queue, urgent=submission.urgent)
    recording.found_in(connection, new_batch(submission), found.id)
    snapshot = submission.recipe.snapshot()
    if found.recipe != snapshot:  # other headers of result columns, say
        recording.describe(connection, found.id, {**snapshot, "model": found.model})
    stopping.reopen(connection, found.id)
    return queue
