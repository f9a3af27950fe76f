"""The next version's command line."""

from submitter.cli.main import main

main()
