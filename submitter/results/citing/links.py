"""A cell that links to a document: the formula HYPERLINK, with its text as the last result.

A workbook can also hold a link as a relation of the worksheet, but of those Excel reads at most
65,530, a finished sheet has up to a million rows, and the relations would be another part of the
user's package to rewrite. A formula stands in its cell.
"""

from __future__ import annotations

import re
from urllib.parse import quote

#: Characters that Excel takes of a text in a formula, and of a link's address.
MAX_IN_FORMULA = 255

#: Neither a formula nor an address holds these.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
#: The addresses that a spreadsheet program opens.
_OPENED = ("file:///", "https://")


class Link(str):
    """A text that leads to an address. Whatever writes no links takes it for the text alone."""

    __slots__ = ("address",)

    address: str

    def __new__(cls, text: str, address: str) -> Link:
        """Return ``text`` that leads to ``address``."""
        link = super().__new__(cls, text)
        link.address = address
        return link

    @property
    def formula(self) -> str | None:
        """The formula that makes the link, without `=`; None if no cell can have it."""
        if not self.address.startswith(_OPENED):
            return None
        if len(self) > MAX_IN_FORMULA or len(self.address) > MAX_IN_FORMULA:
            return None
        if _CONTROLS.search(self) or _CONTROLS.search(self.address):
            return None
        return f"HYPERLINK({_literal(self.address)},{_literal(self)})"


def of_file(path: str) -> str:
    """Return the address of a file of this machine."""
    return "file://" + quote(path, errors="replace")


def _literal(text: str) -> str:
    """Return the text as a formula has it; a quotation mark in it can't end it."""
    return '"' + text.replace('"', '""') + '"'
