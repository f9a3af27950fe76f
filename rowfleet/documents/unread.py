"""The reasons why a document is not read, as a named set, each with its sentence."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Unread(StrEnum):
    """The reasons why a document is not read. The ledger stores the members' values."""

    # Of its place.
    MISSING = "missing"
    OUTSIDE_ROOT = "outside_root"
    FORBIDDEN_ADDRESS = "forbidden_address"
    UNREACHABLE = "unreachable"
    # Of its content.
    EMPTY = "empty"
    TOO_LARGE = "too_large"
    ENCRYPTED = "encrypted"
    CORRUPT = "corrupt"
    WRONG_EXTENSION = "wrong_extension"
    UNKNOWN_KIND = "unknown_kind"
    NO_TEXT = "no_text"
    TOO_DEEP = "too_deep"
    # Of its opening.
    TOO_MUCH_MEMORY = "too_much_memory"
    TOO_MUCH_TIME = "too_much_time"
    LOST_WORKERS = "lost_workers"
    NOT_INSTALLED = "not_installed"


#: Each reason as the end of a sentence that begins with the document's name and a colon. A message
#: may go on with a detail of ours, never with the document's own text.
SENTENCES: Final = MappingProxyType(
    {
        Unread.MISSING: "there is no such file",
        Unread.OUTSIDE_ROOT: "it lies outside the folder of documents",
        Unread.FORBIDDEN_ADDRESS: "documents are not fetched from such an address",
        Unread.UNREACHABLE: "its storage could not be reached",
        Unread.EMPTY: "the file is empty",
        Unread.TOO_LARGE: "it is too large to be read",
        Unread.ENCRYPTED: "it is encrypted; save it without a password",
        Unread.CORRUPT: "it is damaged or cut off, and can't be read",
        Unread.WRONG_EXTENSION: "it does not hold what its name's extension says",
        Unread.UNKNOWN_KIND: "it is of no kind that is read",
        Unread.NO_TEXT: "no text is found in it",
        Unread.TOO_DEEP: "its parts are nested too deep",
        Unread.TOO_MUCH_MEMORY: "it takes more memory than a document may",
        Unread.TOO_MUCH_TIME: "it takes more time than a document may",
        Unread.LOST_WORKERS: "several workers were lost while they read it",
        Unread.NOT_INSTALLED: "what reads it is not installed where documents are read",
    }
)


class UnreadableError(Exception):
    """A document is not read. ``detail`` is in our words, such as a limit that it passes."""

    def __init__(self, reason: Unread, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        sentence = SENTENCES[reason]
        super().__init__(f"{sentence}: {detail}" if detail else sentence)
