"""One module for each kind of document, with a function ``read(content, reading)``."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final

from rowfleet.documents.extracted import Kind
from rowfleet.documents.opening.detection import kind_of
from rowfleet.documents.opening.kinds import (
    mail,
    outlook,
    pdf,
    plain_text,
    raster,
    spreadsheet,
    web_page,
    word,
)
from rowfleet.documents.opening.reading import Reading

_READERS: Final = MappingProxyType[Kind, Callable[[bytes, Reading], None]](
    {
        Kind.PDF: pdf.read,
        Kind.PNG: raster.read,
        Kind.JPEG: raster.read,
        Kind.TIFF: raster.read,
        Kind.WEBP: raster.read,
        Kind.DOCX: word.read,
        Kind.XLSX: spreadsheet.read,
        Kind.XLSB: spreadsheet.read,
        Kind.XLS: spreadsheet.read,
        Kind.ODS: spreadsheet.read,
        Kind.CSV: plain_text.read,
        Kind.TEXT: plain_text.read,
        Kind.HTML: web_page.read,
        Kind.EML: mail.read,
        Kind.MSG: outlook.read,
    }
)


def read(content: bytes, name: str, reading: Reading) -> None:
    """Read a document, or an attachment, whatever its kind.

    Raises UnreadableError, or what the kind's library raises for a damaged one.
    """
    _READERS[kind_of(content, name)](content, reading)
