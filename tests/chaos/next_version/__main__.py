"""The next version's command line."""

from submitter.cli import main

main()
