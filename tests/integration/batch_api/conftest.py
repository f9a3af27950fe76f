"""What a test has made at the stand-in of the Batch API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.standin import Standin


@pytest.fixture
def made(standin: Standin) -> Callable[[], list[dict[str, Any]]]:
    """The remote batches that the test made, in order."""
    before = len(standin.batches())
    return lambda: standin.batches()[before:]
