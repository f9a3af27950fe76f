"""Rowfleet from a Python program."""
