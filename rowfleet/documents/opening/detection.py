"""The kind of a document, by its content; the extension decides only between kinds of text."""

from __future__ import annotations

import codecs
import io
import re
import struct
import zipfile
from contextlib import suppress
from pathlib import PurePosixPath
from typing import cast

import olefile

from rowfleet.documents.extracted import Kind
from rowfleet.documents.unread import Unread, UnreadableError

#: Bytes at the start within which a PDF has its mark: readers allow for junk before it.
_PDF_HEAD = 1024
#: Bytes at the start of a text by which its kind is found.
_TEXT_HEAD = 4096

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_MAGIC = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), Kind.PNG),
    (re.compile(rb"\xff\xd8\xff"), Kind.JPEG),
    (re.compile(rb"II[\x2a\x2b]\0|MM\0[\x2a\x2b]"), Kind.TIFF),
    (re.compile(rb"RIFF....WEBP", re.DOTALL), Kind.WEBP),
)
#: A file that each package of the kind has.
_PACKAGES = (
    ("word/document.xml", Kind.DOCX),
    ("xl/workbook.xml", Kind.XLSX),
    ("xl/workbook.bin", Kind.XLSB),
)
_ODS = b"application/vnd.oasis.opendocument.spreadsheet"
#: The streams of an .xls, the bytes at its start where its records of protection are, and the
#: record of a password.
_XLS, _XLS_HEAD, _FILE_PASS = frozenset({"WORKBOOK", "BOOK"}), 512, 0x2F
#: Kinds that are only found in text, and the extensions of kinds that never are text. A download
#: that failed often leaves a web page under such a name.
_EXTENSIONS = {".csv": Kind.CSV, ".tsv": Kind.CSV, ".htm": Kind.HTML, ".html": Kind.HTML,
               ".eml": Kind.EML, ".txt": Kind.TEXT}  # fmt: skip
_NEVER_TEXT = frozenset({
    ".pdf", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".docx", ".xlsx", ".xlsm", ".xlsb",
    ".ods", ".msg",
})  # fmt: skip
_HTML = re.compile(r"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body)\b",
                   re.IGNORECASE | re.DOTALL)  # fmt: skip
_MAIL_FIELD = re.compile(
    r"^(from|to|subject|date|received|return-path|message-id|mime-version|delivered-to|content-type"
    r"|x-[\w-]+):", re.IGNORECASE | re.MULTILINE,
)  # fmt: skip
#: Different fields at its start by which a text is taken for an e-mail.
_MAIL_FIELDS = 3


def kind_of(content: bytes, name: str) -> Kind:
    """Return the kind. Raises UnreadableError if it is none that is read."""
    for magic, kind in _MAGIC:
        if magic.match(content):
            return kind
    if content.startswith(b"PK\x03\x04"):
        return _package(content)
    if content.startswith(_OLE):
        return _compound(content)
    if b"%PDF-" in content[:_PDF_HEAD]:
        return Kind.PDF
    return _text(content, PurePosixPath(name).suffix.lower())


def _package(content: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as package:
            members = set(package.namelist())
            for member, kind in _PACKAGES:
                if member in members:
                    return kind
            if "mimetype" in members:
                with package.open("mimetype") as file:
                    if file.read(100).startswith(_ODS):
                        return Kind.ODS
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        raise UnreadableError(Unread.CORRUPT) from None
    raise UnreadableError(Unread.UNKNOWN_KIND, "a zip archive")


def _compound(content: bytes) -> Kind:
    """Return the kind of a file in Microsoft's compound format. Its names have no case."""
    with olefile.OleFileIO(content) as file:
        names = {str(path[0]).upper() for path in file.listdir(storages=True)}
        if "ENCRYPTEDPACKAGE" in names:
            raise UnreadableError(Unread.ENCRYPTED)
        if "__PROPERTIES_VERSION1.0" in names:
            return Kind.MSG
        for name in _XLS & names:
            with cast("olefile.OleFileIO[str]", file).openstream(name) as stream:
                if _is_locked(stream.read(_XLS_HEAD)):
                    raise UnreadableError(Unread.ENCRYPTED)
            return Kind.XLS
        if "WORDDOCUMENT" in names:
            raise UnreadableError(Unread.UNKNOWN_KIND, "a .doc of Word 97; save it as .docx")
    raise UnreadableError(Unread.UNKNOWN_KIND)


def _is_locked(records: bytes) -> bool:
    """Whether an .xls has the record FilePass among its first: [MS-XLS] 2.4.117."""
    at = 0
    while at + 4 <= len(records):
        number, size = struct.unpack_from("<HH", records, at)
        if number == _FILE_PASS:
            return True
        at += 4 + size
    return False


def _text(content: bytes, suffix: str) -> Kind:
    if content.startswith(b"{\\rtf"):
        raise UnreadableError(Unread.UNKNOWN_KIND, "Rich Text; save it as .docx")
    if not content.strip():
        raise UnreadableError(Unread.EMPTY)
    if suffix in _NEVER_TEXT:
        raise UnreadableError(Unread.WRONG_EXTENSION)
    if not _is_text(content):
        raise UnreadableError(Unread.UNKNOWN_KIND)
    head = decoded(content[:_TEXT_HEAD])
    if _HTML.match(head):
        return Kind.HTML
    fields = {field.lower() for field in _MAIL_FIELD.findall(head.lstrip().partition("\n\n")[0])}
    if len(fields) >= _MAIL_FIELDS and _MAIL_FIELD.match(head.lstrip()):
        return Kind.EML
    return _EXTENSIONS.get(suffix, Kind.TEXT)


def _is_text(content: bytes) -> bool:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    # A form feed parts pages, and some printers' files end in Ctrl-Z.
    return not re.search(rb"[\0-\x08\x0b\x0e-\x19\x1c-\x1f]", content)


def decoded(content: bytes) -> str:
    """Return text in UTF-16 with its mark, in UTF-8, or else in the code page of Western Europe."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.start >= len(content) - 3 and error.reason == "unexpected end of data":
            return content.decode("utf-8-sig", "replace")  # the end of an excerpt
        return content.decode("cp1252", "replace")


def decoded_as(content: bytes, encoding: str) -> str:
    """Return text in an encoding that a document names, or else as `decoded` does."""
    with suppress(LookupError, ValueError):
        return content.decode(encoding)
    return decoded(content)
