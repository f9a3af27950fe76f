"""The program's start: `python -m submitter`, and `rowfleet`."""

from __future__ import annotations

import gc
from typing import NoReturn


def main() -> NoReturn:
    """Run `rowfleet` and exit."""
    # Looking for garbage among what is being imported takes a fifth of the time until the first
    # row, and there is none.
    gc.disable()
    from submitter.cli import main as cli

    gc.freeze()
    gc.enable()
    cli.main()


if __name__ == "__main__":
    main()
