"""Rows that OpenAI's Batch API answers."""
