"""What a case is given: its random numbers, servers of its own, and a fleet."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.chaos import report
from tests.chaos.fleet import Fleet
from tests.chaos.servers import Broker, Database
from tests.standin import Standin

#: The same for a whole run; every case draws from it and its own name.
SEED = os.environ.get("CHAOS_SEED") or str(random.SystemRandom().randrange(1_000_000))

Make = Callable[..., Fleet]


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> random.Random:
    """The case's random numbers; pytest shows the seed when the case fails."""
    print(f"CHAOS_SEED={SEED}")
    return random.Random(f"{SEED} {request.node.name}")


@pytest.fixture
def standin() -> Iterator[Standin]:
    with Standin.start(latency=[0.2, 0.8]) as server:
        yield server


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the case may stop."""
    server = Broker(tmp_path / "valkey")
    yield server
    server.close()


@pytest.fixture
def database() -> Iterator[Database]:
    """A database server that the case may stop."""
    server = Database()
    yield server
    server.close()


@pytest.fixture
def make(
    request: pytest.FixtureRequest, tmp_path: Path, rng: random.Random, standin: Standin
) -> Iterator[Make]:
    """A function that makes the case's fleet on the servers it names."""
    fleets: list[Fleet] = []

    def made(*, redis_url: str, database_url: str, **changes: str) -> Fleet:
        fleets.append(
            Fleet(
                tmp_path,
                rng,
                standin,
                redis_url=redis_url,
                database_url=database_url,
                changes=changes,
            )
        )
        return fleets[0]

    yield made
    for fleet in fleets:
        fleet.close()
        request.node.user_properties.append(
            (report.PROPERTY, {"seed": SEED, **asdict(fleet.record)})
        )


@pytest.fixture
def fleet(make: Make, redis_url: str, postgres_url: str) -> Fleet:
    """A fleet on servers that stay up."""
    return make(redis_url=redis_url, database_url=postgres_url)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _report.add(report)


def pytest_sessionfinish() -> None:
    _report.write()


_report = report.Report()
