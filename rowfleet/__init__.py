"""Rowfleet's core: what the submitter and the worker share."""
