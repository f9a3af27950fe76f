"""Read a .csv file under the same rules as a worksheet.

Text is UTF-8, UTF-16 or UTF-32, with or without a byte order mark; a file that is none of them is
taken as Windows cp1252, which is what Excel's plain "CSV" writes. NUL is refused: no text has it,
and the ledger can't hold it. A first line `sep=;` names the delimiter, as Excel understands it, and
is no row. Else fields are divided by the one of comma, semicolon, tab and pipe that divides the
most of the first rows alike.

A cell is text, unless its whole column is plain decimals that lose nothing as numbers: no leading
zero (`00123` is a name), no plus sign, exponent or thousands separator, at most 15 digits, and the
same number of decimals throughout or none that end in 0. Then the column is numbers, so that sums
can be checked, and its number format shows each just as it was written. Dates stay text: 03/04/2024
is two different days, and only the one who wrote it knows which.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rowfleet.cells import Cell
from rowfleet.errors import InputError
from submitter.excel import MAX_CELL_CHARS, MAX_COLUMNS
from submitter.sheets import values
from submitter.sheets.package import CHUNK

#: Characters of one row, with its delimiters: 128 of the longest cells that Excel holds.
MAX_ROW_CHARS = 4 << 20
#: Rows by which the delimiter is found, as many as the header may lie below the top.
SNIFFED_ROWS = 25

#: Text of two or four bytes a character, if no byte order mark says which.
_WIDE_ENCODINGS = ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
#: Byte order marks. That of UTF-32 begins as that of UTF-16 does.
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}

_DELIMITERS = ",;\t|"
#: The first line by which a file says its delimiter.
_SEPARATOR = re.compile(r'"?sep=([^"\r\n])"?[\r\n]*', re.IGNORECASE)
_DECIMAL = re.compile(r"-?(0|[1-9][0-9]*)(?:\.([0-9]+))?")
#: Decimal digits that a float always gives back as they were.
_EXACT_DIGITS = 15


@dataclass(slots=True)
class _Numbers:
    """Whether a column is numbers so far, and how many decimals its cells have."""

    exact: bool = True
    bare: bool = True
    decimals: int | None = None
    alike: bool = True

    def see(self, text: str) -> None:
        match = _DECIMAL.fullmatch(text)
        if not match or len(text) > _EXACT_DIGITS or text == "-0":
            self.exact = False
            return
        decimals = match[2] or ""
        if decimals.endswith("0"):
            self.bare = False
        if self.decimals is None:
            self.decimals = len(decimals)
        elif self.decimals != len(decimals):
            self.alike = False
        self.exact = self.alike or self.bare

    def number_format(self) -> str:
        if not self.decimals or not self.alike:
            return "General"
        return "0." + "0" * self.decimals


@dataclass(slots=True)
class CsvScan:
    """What a walk through the whole file found. Rows and columns are indexes from 0."""

    filled: bytearray = field(default_factory=bytearray)
    first: dict[int, int] = field(default_factory=dict)
    #: Number format of each column that is numbers; the others are text.
    formats: dict[int, str] = field(default_factory=dict)


class _Lines:
    """The lines of a text, none of which is taken into memory when it is too long for a row."""

    def __init__(self, text: io.TextIOWrapper, name: str, skipped: int) -> None:
        """``skipped`` is how many lines the rows begin below."""
        self._text = text
        self._name = name
        for _ in range(skipped):
            text.readline(MAX_ROW_CHARS)
        #: Lines that were read, as an editor numbers them.
        self.line = skipped
        #: Characters since it was last set to 0, which is when a row ends.
        self.chars = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(MAX_ROW_CHARS + 1):
            self.line += 1
            self.chars += len(line)
            if self.chars > MAX_ROW_CHARS:
                raise InputError(
                    f"{self._name}, line {self.line}: the row there has more than "
                    f"{MAX_ROW_CHARS:,} characters"
                )
            if "\0" in line:
                raise InputError(
                    f"{self._name}, line {self.line}: holds a NUL character, which no text has; "
                    f"save it as UTF-8"
                )
            yield line


class CsvTable:
    """A .csv file whose text is known to decode."""

    def __init__(self, file: io.BufferedReader, name: str) -> None:
        self.file = file
        self.name = name
        self.encoding = self._find_encoding()
        declared = self._declared_delimiter()
        #: Lines above the first row: the one that says the delimiter.
        self._skipped = int(declared is not None)
        self.delimiter = declared or self._find_delimiter()

    def head(self, count: int) -> list[tuple[int, list[Cell]]]:
        """Return the first ``count`` rows that hold a value, as (row, texts)."""
        found: list[tuple[int, list[Cell]]] = []
        for row, fields in self._records():
            if any(map(str.strip, fields)):
                found.append((row, list(fields)))
            if len(found) == count:
                break
        return found

    def check(self, below: int) -> CsvScan:
        """Read the file to its end and return what the rows below ``below`` hold."""
        found = CsvScan()
        numbers: dict[int, _Numbers] = {}
        for row, fields in self._records():
            held = [(column, text) for column, text in enumerate(fields) if text.strip()]
            found.filled.append(bool(held))
            if row <= below:
                continue
            for column, text in held:
                found.first.setdefault(column, row)
                kind = numbers.get(column)
                if kind is None:
                    kind = numbers[column] = _Numbers()
                if kind.exact:
                    kind.see(text)
        found.formats = {
            column: kind.number_format() for column, kind in numbers.items() if kind.exact
        }
        return found

    def rows(self, found: CsvScan, start: int, stop: int) -> Iterator[tuple[int, list[Cell]]]:
        """Yield (row, cells) of the filled rows from ``start`` up to ``stop``."""
        for row, fields in self._records():
            if row >= stop:
                return
            if row >= start and found.filled[row]:
                yield row, [_cell(text, found, column) for column, text in enumerate(fields)]

    def _records(self, delimiter: str | None = None) -> Iterator[tuple[int, list[str]]]:
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, self.encoding, newline="")
        csv.field_size_limit(MAX_CELL_CHARS)
        lines = _Lines(text, self.name, self._skipped)
        reader = csv.reader(lines, delimiter=delimiter or self.delimiter)
        row = 0
        try:
            for row, fields in enumerate(reader):
                lines.chars = 0
                if len(fields) > MAX_COLUMNS:
                    raise InputError(f"{self.name}, row {row + 1}: has {len(fields):,} columns")
                yield row, fields
        except csv.Error as error:
            raise InputError(f"{self.name}, line {lines.line}: not readable: {error}") from None
        finally:
            text.detach()  # else closing the wrapper would close the file

    def _find_encoding(self) -> str:
        self.file.seek(0)
        start = self.file.read(CHUNK)
        marked = next((name for mark, name in _MARKS.items() if start.startswith(mark)), None)
        if marked is not None:
            encodings = [marked]
        else:
            encodings = [*_wide_encodings(start), "utf-8-sig", "cp1252"]
        for encoding in encodings:
            if self._decodes(encoding):
                return encoding
        if marked is not None:
            raise InputError(f"{self.name}: its text is not the {marked.upper()} it begins as")
        raise InputError(f"{self.name}: its text is neither UTF-8 nor cp1252; save it as UTF-8")

    def _decodes(self, encoding: str) -> bool:
        self.file.seek(0)
        decoder = codecs.getincrementaldecoder(encoding)()
        try:
            while chunk := self.file.read(CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeError:
            return False
        return True

    def _declared_delimiter(self) -> str | None:
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, self.encoding, newline="")
        try:
            found = _SEPARATOR.fullmatch(text.readline(20))
        finally:
            text.detach()
        return found[1] if found else None

    def _find_delimiter(self) -> str:
        def alike(delimiter: str) -> tuple[int, int]:
            widths = []
            for _, fields in self._records(delimiter):
                if any(map(str.strip, fields)):
                    widths.append(len(fields))
                if len(widths) == SNIFFED_ROWS:
                    break
            divided = [width for width in widths if width > 1]
            usual = max(divided, key=divided.count, default=0)
            return divided.count(usual), usual

        return max(_DELIMITERS, key=alike)


def _cell(text: str, found: CsvScan, column: int) -> Cell:
    if not text:
        return None
    if column in found.formats and (stripped := text.strip()):
        return values.real(stripped) if "." in stripped else int(stripped)
    return text


def _wide_encodings(start: bytes) -> list[str]:
    """Return the encodings of two or four bytes a character that a file's ``start`` may be in.

    Text in them has a NUL byte, beside each line break if nowhere else. A narrow text with a NUL
    here and there decodes as a wide one, too, but has hardly any line breaks then. Those encodings
    come first in which more of the characters are ASCII's: read the wrong way round, few are.
    """
    if 0 not in start:
        return []
    few = _breaks(start.decode("latin-1")) / 3 if _is_utf_8(start) else 0
    ascii_characters: dict[str, int] = {}
    for encoding in _WIDE_ENCODINGS:
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(start)
        except UnicodeError:
            continue
        if "\0" not in text and _breaks(text) > few:
            ascii_characters[encoding] = sum(map(str.isascii, text))
    return sorted(ascii_characters, key=ascii_characters.__getitem__, reverse=True)


def _breaks(text: str) -> int:
    return text.count("\n") + text.count("\r")


def _is_utf_8(start: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)
    except UnicodeDecodeError:
        return False
    return True
