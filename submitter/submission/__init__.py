"""A sheet becomes a batch: what is asked, its identity, and its rows in the ledger."""
