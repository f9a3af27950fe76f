"""Every move of a row or a batch, as a named function over one connection.

    pending ──feed──▶ queued ──claim──▶ running ──settle──▶ done | failed | pending (retry)
       ▲                 │                 │
       └── put_back ─────┘◀── expire ──────┘           cancel, retry_failed: by a person

A row that names documents is `waiting` before it is pending: see `documents`.

In the order of a row's life: `recording`, `feeding`, `claiming`, `settling`, `followers`, and
`reviewing` for what people decide on rows that are done; for a batch `finishing` and `stopping`,
`in_chunks` for large ones; `batch_api_parts` for rows that the Batch API answers. `tallies` keeps
the sums, `sql` holds the pieces that several moves share.

Each move decides in one statement, whose WHERE says what must still hold, so that any number of
workers and submitters may call them at once. The caller owns the transaction; a tally follows its
rows in the same one. Times are the database's (see `clock`).

Where a docstring here says that a row goes back to pending, the row ends as cancelled instead if
its batch is cancelled. A statement that began before the cancel committed does not see it:
`stopping.sweep` finds the rows that it moves.
"""
