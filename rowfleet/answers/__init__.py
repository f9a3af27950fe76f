"""Answers are judged by what the recipe says of them, before the ledger has them."""
