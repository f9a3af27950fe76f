"""The ledger: the SQL record of every batch and row. All SQL of the project is in this package."""
