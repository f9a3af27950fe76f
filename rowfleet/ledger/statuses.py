"""The statuses of rows, batches and remote batches, and the tiers, as named sets.

The ledger stores the members' values. A process may also read a status that only a newer version
knows, so records give statuses as text, which is equal to the member of that value.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Tier(StrEnum):
    """The runners of a batch's rows."""

    #: The workers of the fleet, or of `rowfleet local`.
    WORKERS = "workers"
    #: OpenAI's Batch API.
    BATCH = "batch"


class RowStatus(StrEnum):
    """The stations of a row. Every row ends in exactly one of the last three."""

    #: Documents that it names are not read yet; then it is pending.
    WAITING = "waiting"
    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DocumentState(StrEnum):
    """The stations of a document on its way to its text."""

    PENDING = "pending"
    QUEUED = "queued"
    RUNNING = "running"
    #: Its text is in the ledger.
    READY = "ready"
    #: It is not read; its reason stands beside it.
    FAILED = "failed"


class BatchStatus(StrEnum):
    """The states of a batch."""

    #: Its rows are being recorded.
    LOADING = "loading"
    RUNNING = "running"
    #: All its rows have ended.
    FINISHED = "finished"
    #: A person has cancelled it.
    CANCELLED = "cancelled"
    #: A wrong key or the like has stopped it; its reason stands beside it.
    STOPPED = "stopped"
    #: Its sample has ended, and the other rows wait.
    SAMPLED = "sampled"
    #: The rest of its budget does not pay for another row.
    BUDGET_EXHAUSTED = "budget_exhausted"


class RowReview(StrEnum):
    """What a review has to do with a row that is done; null: nothing."""

    #: There are reasons why a person should look.
    NEEDS_REVIEW = "needs_review"
    #: The recipe's rule approved it.
    AUTO_APPROVED = "auto_approved"
    #: A person has decided.
    REVIEWED = "reviewed"


class Verdict(StrEnum):
    """What a person decides on a row's answer."""

    APPROVE = "approve"
    #: Some of its values are others.
    CORRECT = "correct"
    #: It is wrong, and the row has no values.
    REJECT = "reject"


class RemoteStatus(StrEnum):
    """The states of a part of a batch that the Batch API runs.

    The last two are the ledger's own; the API has further ones, in which nothing is to be done.
    """

    VALIDATING = "validating"
    CANCELLING = "cancelling"
    COMPLETED = "completed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    #: Its file waits for room at the API.
    NO_ROOM = "no room"
    #: All its rows are settled or given back, and only its files are left.
    SETTLED = "settled"


#: Rows that no worker has taken.
ROW_UNCLAIMED: Final = (RowStatus.PENDING, RowStatus.QUEUED)

#: Rows that have a message in the queue, or a worker.
ROW_IN_FLIGHT: Final = (RowStatus.QUEUED, RowStatus.RUNNING)

#: Rows that have not ended, and rows that have.
ROW_OPEN: Final = (RowStatus.WAITING, RowStatus.PENDING, *ROW_IN_FLIGHT)
ROW_ENDED: Final = (RowStatus.DONE, RowStatus.FAILED, RowStatus.CANCELLED)

#: Documents that no extractor has, and documents that change no more by themselves.
DOCUMENT_UNCLAIMED: Final = (DocumentState.PENDING, DocumentState.QUEUED)
DOCUMENT_ENDED: Final = (DocumentState.READY, DocumentState.FAILED)

#: Batches whose rows may start.
ACTIVE: Final = (BatchStatus.LOADING, BatchStatus.RUNNING)

#: Batches that wait for a person to let them go on.
WAITING: Final = (BatchStatus.SAMPLED, BatchStatus.BUDGET_EXHAUSTED)

#: Batches that start no rows, although some may be left.
HELD: Final = (BatchStatus.CANCELLED, BatchStatus.STOPPED, *WAITING)

#: Batches that go nowhere by themselves, so that a command stops following them.
FOLLOWED_TO: Final = (BatchStatus.FINISHED, *HELD)

#: Batches that have ended.
BATCH_ENDED: Final = (BatchStatus.FINISHED, BatchStatus.CANCELLED)

#: Batches whose rows need not begin any more.
CALLED_OFF: Final = (BatchStatus.STOPPED, BatchStatus.CANCELLED)

#: Batches whose submission goes on with recording rows, and batches that may lack rows.
RECORDABLE: Final = (BatchStatus.LOADING, BatchStatus.STOPPED)
MAY_LACK_ROWS: Final = (*RECORDABLE, BatchStatus.CANCELLED)

#: Batches that a person may cancel.
CANCELLABLE: Final = (*ACTIVE, BatchStatus.STOPPED, *WAITING)

#: Batches that are finished once their last row ends.
FINISHABLE: Final = (BatchStatus.RUNNING, BatchStatus.BUDGET_EXHAUSTED)

#: Batches that run again when a person retries their failed rows.
REVIVED: Final = (*BATCH_ENDED, BatchStatus.SAMPLED)

#: Remote batches that change no more.
REMOTE_ENDED: Final = (
    RemoteStatus.COMPLETED,
    RemoteStatus.FAILED,
    RemoteStatus.EXPIRED,
    RemoteStatus.CANCELLED,
)
