"""Watching a batch, and showing it."""
