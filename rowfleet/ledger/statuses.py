"""The statuses of rows and batches, and the tiers, as named sets."""

from __future__ import annotations

#: Where a row is. Every row ends in exactly one of the last three.
ROW_STATUSES = ("pending", "queued", "running", "done", "failed", "cancelled")

#: Rows that no worker has taken; rows with a message in the queue or a worker; rows to come to an
#: end; rows that have.
ROW_UNCLAIMED = ("pending", "queued")
ROW_IN_FLIGHT = ("queued", "running")
ROW_OPEN = ("pending", "queued", "running")
ROW_ENDED = ("done", "failed", "cancelled")

#: Where a batch is: its rows are being recorded; they run; all have ended; a person cancelled it;
#: a wrong key or the like stopped it, with the reason beside it; its sample has ended, the rest
#: waits; or the rest of its budget does not pay for another row.
BATCH_STATUSES = (
    "loading",
    "running",
    "finished",
    "cancelled",
    "stopped",
    "sampled",
    "budget_exhausted",
)

#: The runners of a batch's rows.
TIERS = ("workers", "batch")

#: Batches whose rows may start.
ACTIVE = ("loading", "running")

#: States of a batch that waits for a person to let it go on.
WAITING = ("sampled", "budget_exhausted")

#: States of a batch that starts no rows, although some may be left.
HELD = ("cancelled", "stopped", *WAITING)

#: States in which a batch goes nowhere by itself, so that a command stops following it.
FOLLOWED_TO = ("finished", *HELD)
