"""Text and CSV: as they are."""

from __future__ import annotations

from rowfleet.documents.opening.detection import decoded
from rowfleet.documents.opening.reading import Reading


def read(content: bytes, reading: Reading) -> None:
    """Read text; form feeds part its pages."""
    reading.add_text(decoded(content))
