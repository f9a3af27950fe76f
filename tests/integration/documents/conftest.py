"""One process that opens documents, for all tests of a module."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator

import pytest

from rowfleet.documents.extracted import Extracted
from rowfleet.documents.opener import Opener

Read = Callable[[bytes, str], Extracted]


@pytest.fixture(scope="module")
def opener() -> Iterator[Opener]:
    with Opener() as opener:
        yield opener


@pytest.fixture
def read(opener: Opener) -> Read:
    def read(content: bytes, name: str) -> Extracted:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            return opener.read(file, name)

    return read
