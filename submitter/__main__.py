"""`python -m submitter` is `rowfleet`."""

from submitter.cli import main

main()
