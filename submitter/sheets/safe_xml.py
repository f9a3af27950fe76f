"""XML of a workbook's parts, parsed by bare expat within bounds of memory.

expat keeps every open element, every different name and one whole tag. So a part is fed to it in
slices, and after each slice those are counted.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any
from xml.parsers import expat

from openpyxl.xml.constants import SHEET_MAIN_NS

from rowfleet.errors import InputError

#: Begins the name of each of a workbook's tags as `Parser` gives it: the namespace.
MAIN = f"{SHEET_MAIN_NS}}}"

#: Bytes given to expat at once: the bounds may be passed by so much.
SLICE = 64 << 10
#: Elements within each other; a worksheet's extensions reach a dozen.
MAX_DEPTH = 100
#: Different names of elements and attributes in a part, and their characters. Excel's schemas have
#: some 2,000 in all.
MAX_NAMES, MAX_NAME_CHARS = 5_000, 1 << 20
#: Different namespace prefixes in a part.
MAX_PREFIXES = 1_000
#: Encodings of a part; the packages of ECMA-376 (part 2) have no others.
ENCODINGS = frozenset({"utf-8", "utf-16", "utf-16le", "utf-16be"})
#: Bytes of one XML token (512 KiB); expat keeps a token in memory until it ends.
MAX_TOKEN_BYTES = 512 << 10


class Parser:
    """Feeds XML to handlers. ``where`` begins each error, and names the file and the part."""

    def __init__(
        self,
        where: str,
        start: Callable[[str, dict[str, str]], None],
        characters: Callable[[str], None] | None = None,
        end: Callable[[str], None] | None = None,
        *,
        encoding: str | None = None,
    ) -> None:
        """Tags are given as ``namespace}name``, attributes of no namespace by their name alone.

        ``encoding`` wins over the one that the part declares.
        """
        self._where = where
        self._names: dict[str, str] = {}
        self._counted = self._name_chars = 0
        self._prefixes: set[str | None] = set()
        self._fed = self._depth = 0
        self._starts: list[Any] = []
        #: Tags of the slice at hand that have ended, if no handler takes them.
        self.ends: list[str] = []
        parser = expat.ParserCreate(encoding, "}", self._names)
        if hasattr(parser, "SetReparseDeferralEnabled"):
            # Otherwise a new expat may report a tag later than with the bytes that complete it.
            parser.SetReparseDeferralEnabled(False)
        parser.buffer_text = True
        parser.StartElementHandler = start
        # A method of a list costs a tenth of a handler in Python.
        parser.EndElementHandler = end or self.ends.append
        if characters is not None:
            parser.CharacterDataHandler = characters
        parser.XmlDeclHandler = self._check_encoding
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartNamespaceDeclHandler = self._prefix
        self._parser = parser

    def feed(self, xml: bytes, after: Callable[[int, list[str]], int]) -> None:
        """Parse more of the part. ``after`` is told each slice's bytes and the tags that ended, if
        no handler of its own takes them; it returns how many elements are open."""
        for at in range(0, len(xml), SLICE):
            piece = xml[at : at + SLICE]
            self._parse(piece)
            depth = after(len(piece), self.ends)
            self.ends.clear()
            self._check(depth)

    @property
    def offset(self) -> int:
        """Bytes before the tag that a handler is told of, or before the first incomplete one."""
        return self._parser.CurrentByteIndex

    def close(self) -> None:
        """Say that the part ends here."""
        self._parse(b"", final=True)

    def _parse(self, xml: bytes, *, final: bool = False) -> None:
        try:
            self._parser.Parse(xml, final)
        except expat.ExpatError as error:
            raise InputError(f"{self._where} is not well-formed XML: {error}") from None
        self._fed += len(xml)

    def _check(self, depth: int) -> None:
        if self._fed - self._parser.CurrentByteIndex > MAX_TOKEN_BYTES:
            raise InputError(f"{self._where} has a tag or text too long for a spreadsheet")
        if depth > MAX_DEPTH:
            raise InputError(f"{self._where} nests more than {MAX_DEPTH} XML elements")
        for name in islice(self._names, self._counted, None):
            self._name_chars += len(name or "")  # the default namespace's prefix is None
        self._counted = len(self._names)
        if self._counted > MAX_NAMES or self._name_chars > MAX_NAME_CHARS:
            raise InputError(f"{self._where} has more XML names than a spreadsheet needs")

    def _check_encoding(self, _: str, encoding: str | None, __: int) -> None:
        # For any other name, Python would look for a codec of its own.
        if encoding is not None and encoding.lower() not in ENCODINGS:
            raise InputError(
                f"{self._where} is in the encoding {encoding[:20]!r}, not in UTF-8 or UTF-16; "
                f"save it in Excel or LibreOffice"
            )

    def _refuse_doctype(self, *_: object) -> None:
        raise InputError(f"{self._where} declares an XML document type, which no spreadsheet needs")

    def _prefix(self, prefix: str | None, _: str) -> None:
        self._prefixes.add(prefix)
        if len(self._prefixes) > MAX_PREFIXES:
            raise InputError(f"{self._where} has more XML names than a spreadsheet needs")
