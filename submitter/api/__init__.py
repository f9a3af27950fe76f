"""Rows of a Python program instead of a sheet: what `rowfleet.run` calls."""
