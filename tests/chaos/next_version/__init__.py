"""Rowfleet's next version: this one, and a revision after its last that adds to the schema.

`python -m tests.chaos.next_version` is its command line, `celery -A
tests.chaos.next_version.worker worker` its worker. To it, this one is the previous version.
"""

from __future__ import annotations

from pathlib import Path

from alembic.config import Config

from rowfleet.ledger import schema

#: This version's newest revision, and the one that comes after it.
PREVIOUS, NEXT = schema.SCHEMA, "next"

_config = schema._config


def _with_one_more() -> Config:
    config = _config()
    folders = ["rowfleet.ledger:migrations/versions", str(Path(__file__).parent / "versions")]
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(folders))
    return config


schema.SCHEMA = NEXT
schema._config = _with_one_more
