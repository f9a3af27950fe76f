"""The process of `rowfleet local` that reads documents. It has no API key, and a process a core."""

from __future__ import annotations

from pathlib import Path

from rowfleet.settings import Settings
from submitter.local.standby import Standby
from submitter.local.worker import LocalWorker, Run, environment_of


class LocalExtractor(LocalWorker):
    """An extractor, started again if it dies."""

    app = "worker.extraction.extractor"
    word = "extractor"

    def __init__(self, settings: Settings, logs: Path, run: Run, documents: str) -> None:
        """``documents`` is the only folder that it reads."""
        own = {"openai_api_key": None, "slots": None, "pool": "prefork", "documents": documents}
        super().__init__(settings.model_copy(update=own), logs, run, [])

    def _numbered(self, start: int) -> int | str:
        return f"x{start}"

    def _anew(self, errors: int) -> Standby:
        return Standby(errors, environment_of(self._settings))
