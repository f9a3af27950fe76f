"""Questions to the ledger, by subject. None of them changes it."""
