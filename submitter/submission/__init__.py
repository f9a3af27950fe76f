"""A sheet becomes a batch: the question, its identity, and its rows in the ledger."""
