"""Flower with the chart's configuration: nothing without the password, all of it under a prefix."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowfleet.settings import Settings
from tests.support.flower import ACCOUNT, Flower, running


@pytest.fixture
def flower(fleet: Settings, tmp_path: Path) -> Iterator[Flower]:
    """Flower under the prefix `fleet`."""
    with running(fleet, tmp_path, "fleet") as flower:
        yield flower


def test_flower_asks_for_its_password_and_works_under_its_prefix(flower: Flower) -> None:
    for path in ("/fleet/", "/fleet/tasks", "/fleet/metrics", "/fleet/api/workers"):
        assert flower.get(path)[0] == 401, path
        assert flower.get(path, "fleet:wrong")[0] == 401, path
    status, page, _ = flower.get("/fleet/", ACCOUNT)
    assert status == 200
    status, metrics, _ = flower.get("/fleet/metrics", ACCOUNT)
    assert (status, "flower_" in metrics) == (200, True)
    assert flower.get("/fleet/api/workers", ACCOUNT)[:2] == (200, "{}")

    status, _, leads = flower.get("/fleet")
    assert (status, leads) == (301, "/fleet/")

    here = re.findall(r'(?:href|src)="(/[^"]*)"', page)
    assets = [path for path in here if "/static/" in path]
    assert len(assets) >= 3
    assert [path for path in here if not path.startswith("/fleet/") and path != "/fleet"] == []
    for path in assets:
        assert flower.get(path, ACCOUNT)[0] == 200, path
