"""The life of the process that opens one document: limits first, then its bytes."""

from __future__ import annotations

import encodings
import importlib
import json
import os
import pkgutil
import resource
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from rowfleet.documents.encoding import encode
from rowfleet.documents.extracted import Extracted
from rowfleet.documents.limits import MAX_FILE_BYTES, QUICK_SECONDS
from rowfleet.documents.opener import PICTURES, TEXT, UNREAD
from rowfleet.documents.opening import kinds
from rowfleet.documents.opening.detection import kind_of
from rowfleet.documents.opening.ocr import Ocr
from rowfleet.documents.opening.pictures import Gallery
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.processes.own_limits import bound

#: Reading this e-mail imports all that Python's own reader imports only when it meets the need.
_MAIL = b"""\
From: =?utf-8?q?A?= <a@example.com>
Date: Thu, 26 Nov 2026 10:00:00 +0000
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=b

--b
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: quoted-printable

<p>text
--b
Content-Type: message/rfc822
Content-Disposition: attachment; filename*=utf-8''a.eml

From: a@example.com
To: a@example.com
Subject: x
Content-Transfer-Encoding: base64

dGV4dA==
--b--
"""

#: Reading this spares each fork what PDFium prepares once.
_PDF = b"""\
%PDF-1.4
1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj
2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj
3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>
endobj
4 0 obj<</Length 27>>stream
BT /F 9 Tf (a word b) Tj ET
endstream endobj
5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj
trailer<</Root 1 0 R>>
"""


def load() -> None:
    """Import what would otherwise be imported under the limits, where no file can be opened."""
    Image.preinit()
    for encoding in pkgutil.iter_modules(encodings.__path__):
        with suppress(ImportError):  # two are Windows' own
            importlib.import_module(f"encodings.{encoding.name}")
    for rehearsed in (_MAIL, _PDF):
        kinds.read(rehearsed, "", Reading(kinds.read, None))


def run(file: int, out: int, request: dict[str, Any], engine: Ocr, data_bytes: int) -> None:
    """Open the document, and write what is wanted of it, or the reason why not.

    ``data_bytes`` is the memory that this process begins with, as `data_bytes` counts it.
    """
    limits = request["limits"]
    for kind, most in (
        (resource.RLIMIT_DATA, data_bytes + limits["memory_bytes"]),
        (resource.RLIMIT_CPU, limits["cpu_seconds"]),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 0),  # no file or socket can be opened; open ones stay
    ):
        bound(kind, most)
    quick = min(QUICK_SECONDS, limits["cpu_seconds"])
    resource.setrlimit(resource.RLIMIT_CPU, (quick, limits["cpu_seconds"] + 1))  # OCR raises it
    try:
        reply = _reply(file, request, engine)
    except UnreadableError as error:
        reply = UNREAD + json.dumps([error.reason, error.detail]).encode()
    except MemoryError:
        reply = UNREAD + json.dumps([Unread.TOO_MUCH_MEMORY, ""]).encode()
    except RecursionError:
        reply = UNREAD + json.dumps([Unread.TOO_DEEP, ""]).encode()
    except Exception:  # a library's, of which each has several kinds
        reply = UNREAD + json.dumps([Unread.CORRUPT, ""]).encode()
    while reply:
        reply = reply[os.write(out, reply) :]


def data_bytes() -> int:
    """Return the bytes that RLIMIT_DATA counts of this process now."""
    try:
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    except OSError:  # no Linux
        pass
    return 1 << 30


def _reply(file: int, request: dict[str, Any], engine: Ocr) -> bytes:
    content = _content(file)
    name = request["name"]
    if request["do"] == "render":
        marks = {int(page): boxes for page, boxes in request["marks"].items()}
        gallery = Gallery(
            set(request["pages"]), request["max_side"], png=request["png"], marks=marks
        )
        kinds.read(content, name, Reading(kinds.read, None, gallery))
        pictures = (struct.pack("!II", number, len(of)) + of for number, of in gallery.pictures)
        return PICTURES + b"".join(pictures)
    reading = Reading(kinds.read, engine)
    kinds.read(content, name, reading)
    pages = tuple(reading.pages)
    extracted = Extracted(kind_of(content, name), pages, reading.page_count, tuple(reading.unread))
    return TEXT + encode(extracted)


def _content(file: int) -> bytes:
    size = os.fstat(file).st_size
    if not size:
        raise UnreadableError(Unread.EMPTY)
    if size > MAX_FILE_BYTES:
        raise UnreadableError(Unread.TOO_LARGE, f"over {MAX_FILE_BYTES >> 20} MiB")
    pieces, at = [], 0
    while at < size and (piece := os.pread(file, size - at, at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)
