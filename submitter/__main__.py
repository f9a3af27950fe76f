"""The program's start: `python -m submitter`, and `rowfleet`."""

from __future__ import annotations

from submitter.cli.main import main

if __name__ == "__main__":
    main()
