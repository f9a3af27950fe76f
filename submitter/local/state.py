"""Where `rowfleet local` keeps its ledger."""

from __future__ import annotations

import os
from pathlib import Path


def state_directory() -> Path:
    """Return where `rowfleet local` keeps its ledger and logs: the user's state directory."""
    from platformdirs import user_state_path

    named = os.environ.get("XDG_STATE_HOME", "").strip()
    if named and not Path(named).is_absolute():
        # The library would pass it over without a word, and another ledger would be read.
        return Path(named).absolute() / "rowfleet"
    return user_state_path("rowfleet", appauthor=False)


def default_database_url() -> str:
    """Return the URL of the SQLite ledger that is used where none is named."""
    return f"sqlite:///{state_directory() / 'ledger.db'}"
