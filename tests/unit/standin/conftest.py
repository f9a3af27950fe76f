"""A stand-in for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standin import Standin
from tests.standin.config import Config


@pytest.fixture(scope="module")
def running() -> Iterator[Standin]:
    with Standin.start() as standin:
        yield standin


@pytest.fixture
def standin(running: Standin) -> Standin:
    running.configure(**Config().as_json())
    running.clear()
    return running
