"""The `rowfleet` command line."""
