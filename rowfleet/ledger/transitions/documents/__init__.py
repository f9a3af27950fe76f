"""Every move of a document, as a named function over one connection.

    pending ──feed──▶ queued ──claim──▶ running ──settle──▶ ready | failed | pending (retry)
       ▲                 │                 │
       └── put_back ─────┘◀── expire ──────┘

`naming` records the documents of new rows, `wanting` brings them to the queue, `extracting` is an
extractor's, and `releasing` tells the rows that wait. A row that names documents is `waiting` until
the last of them has ended.

A document belongs to no batch. It is fed while a batch that runs needs it, so a cancelled batch's
documents stay where they are until another batch names them. The caller owns the transaction.
"""
