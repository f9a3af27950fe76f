"""The real extractor, which waits before each document until the file `go` is in its folder.

`celery -A tests.support.slow_extractor worker`
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from worker.extraction import contents, extractor

fetch = contents.fetched


@contextmanager
def _late(folder: Any, place: str) -> Iterator[IO[bytes]]:
    while not (Path(str(extractor.settings.documents)) / "go").exists():
        time.sleep(0.05)
    with fetch(folder, place) as file:
        yield file


contents.fetched = _late
app = extractor.app
