"""The matrix: a test that takes one of these runs for every way to install the chart."""

from __future__ import annotations

import pytest

from tests.support.chart.cases import CASES, Case, rendered
from tests.support.chart.helm import Manifest


@pytest.fixture(params=list(CASES))
def name(request: pytest.FixtureRequest) -> str:
    """Name of a case."""
    return str(request.param)


@pytest.fixture
def case(name: str) -> Case:
    """A way to install the chart."""
    return CASES[name]


@pytest.fixture
def manifests(name: str) -> list[Manifest]:
    """What helm makes of it."""
    return rendered(name)
