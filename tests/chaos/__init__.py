"""Faults at every joint, in real processes: nothing is lost, and nothing is paid for twice.

`make chaos` runs all of it and writes build/chaos.json;
docs/explanation/reliability.md says what it shows.
"""
