"""Processes that do dangerous work within limits."""
