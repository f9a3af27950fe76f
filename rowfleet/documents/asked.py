"""A row's document as it is asked about."""

from __future__ import annotations

from dataclasses import dataclass

from rowfleet.documents.extracted import Extracted


@dataclass(frozen=True, slots=True)
class AskedDocument:
    """A document that a row names, and what there is to show of it."""

    #: Its place below the root, or the reference that leads nowhere.
    name: str
    #: The recipe's column that names it.
    column: str
    #: None: it could not be read.
    extracted: Extracted | None
    #: Why not, as a sentence.
    problem: str | None = None
    #: Its first pages as pictures, or the file itself, where the recipe sends those.
    pictures: tuple[bytes, ...] = ()
    file: bytes | None = None
