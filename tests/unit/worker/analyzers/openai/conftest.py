"""A stand-in for the API, reached without the proxies of the machine's owner."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.standin import Standin


@pytest.fixture(scope="module")
def running() -> Iterator[Standin]:
    with Standin.lent() as standin:
        yield standin


@pytest.fixture
def standin(running: Standin) -> Standin:
    running.configure(faults=[])
    running.clear()
    return running


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
