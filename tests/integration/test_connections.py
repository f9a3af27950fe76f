"""How many connections to PostgreSQL a fleet keeps: fifty workers must fit a default server."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

from pydantic import SecretStr
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from rowfleet.settings import Settings
from tests.ledger_helpers import make_batch
from tests.standin import Standin
from tests.workers import Start, all_done

WORKERS = 4


def named(settings: Settings, name: str) -> Settings:
    """Return the settings with connections that show by ``name`` whose they are."""
    assert settings.database_url
    url = make_url(settings.database_url.get_secret_value())
    url = url.update_query_dict({"application_name": name})
    secret = SecretStr(url.render_as_string(hide_password=False))
    return settings.model_copy(update={"database_url": secret})


def connections(ledger: Engine) -> Counter[str]:
    """Return how many connections each worker has."""
    with ledger.connect() as connection:
        return Counter(
            connection.execute(
                text("SELECT application_name FROM pg_stat_activity WHERE application_name ~ '^w'")
            ).scalars()
        )


def test_a_worker_keeps_one_connection_and_never_has_more_than_two(
    fleet: Settings,
    ledger: Engine,
    standin: Standin,
    start: Start,
    eventually: Callable[..., None],
) -> None:
    standin.configure(latency=0.1)
    for number in range(WORKERS):
        start(named(fleet, f"w{number}"))
    make_batch(ledger, 400, queue=fleet.queue)
    most: Counter[str] = Counter()

    def ended() -> bool:
        nonlocal most
        most |= connections(ledger)
        return all_done(ledger)

    eventually(ended, 60)
    eventually(lambda: len(connections(ledger)) == WORKERS, 60)  # the last to start, too
    until = time.monotonic() + 3  # the feeder goes on to look once a second
    idle = Counter[str]()
    while time.monotonic() < until:
        seen = connections(ledger)
        most |= seen
        idle = idle & seen or seen
    assert max(most.values()) <= 2
    assert idle == dict.fromkeys((f"w{number}" for number in range(WORKERS)), 1)
