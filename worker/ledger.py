"""This process's one way to the ledger: bookkeeper and keeper share an engine.

Fifty workers fit a default PostgreSQL that way: each keeps one connection, and for a moment opens
a second when both write at once. A forked child (`prefork`) has an engine of its own.
"""

from __future__ import annotations

import os
import threading

from rowfleet.ledger.engine import Engine, open_ledger
from rowfleet.settings import Settings

_lock = threading.Lock()
_engine: Engine | None = None


def engine(settings: Settings) -> Engine:
    """Return this process's engine; the first call makes it, and it connects when it is used."""
    global _engine  # noqa: PLW0603 (one per process, made on first use)
    with _lock:
        if _engine is None:
            assert settings.database_url is not None
            _engine = open_ledger(settings.database_url.get_secret_value())
        return _engine


def second_engine(settings: Settings) -> Engine:
    """Return another engine, so that reading large texts holds no result up.

    Made by those processes alone whose rows name documents.
    """
    assert settings.database_url is not None
    return open_ledger(settings.database_url.get_secret_value())


def _forget_parents() -> None:
    """A forked child must not speak on its parent's connections, nor close them."""
    global _engine, _lock  # noqa: PLW0603 (of the child)
    _lock = threading.Lock()
    if _engine is not None:
        _engine.dispose(close=False)
    _engine = None


os.register_at_fork(after_in_child=_forget_parents)
