"""A pytest plugin: says to coverage.py, here and in processes a test starts, which test it is."""

from __future__ import annotations

import os
from collections.abc import Iterator

import coverage
import pytest


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Name the test in what is covered from here on."""
    os.environ["COVERAGE_TEST"] = item.nodeid
    current = coverage.Coverage.current()
    if current is not None:
        try:
            current.switch_context(item.nodeid)
        except KeyError:  # coverage.py 7.17 may drop the connection as other threads end
            current.switch_context(item.nodeid)
    yield
