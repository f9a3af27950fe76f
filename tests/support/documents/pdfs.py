"""PDF files, written object by object."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterable, Sequence

from PIL import Image

#: Points of an A4 page.
WIDTH, HEIGHT = 595, 842

#: A text, and the point where it starts, from the page's bottom left corner.
Line = tuple[float, float, str]


def show(lines: Iterable[Line], size: int = 10) -> bytes:
    """Return a page's content that shows the lines."""
    shown = (
        b"1 0 0 1 %g %g Tm (%s) Tj" % (x, y, text.encode("cp1252").translate(None, b"()\\"))
        for x, y, text in lines
    )
    return b"BT /F1 %d Tf " % size + b" ".join(shown) + b" ET"


def written(objects: Sequence[bytes], trailer: bytes = b"") -> bytes:
    """Return a PDF of the objects, of which the first is the catalogue."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    size = len(objects) + 1
    out += b"trailer\n<</Size %d/Root 1 0 R %s>>\nstartxref\n%d\n%%%%EOF" % (size, trailer, start)
    return bytes(out)


def stream(content: bytes, head: bytes = b"") -> bytes:
    """Return a compressed stream object."""
    packed = zlib.compress(content)
    return b"<<%s/Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (head, len(packed), packed)


def pdf(
    *contents: bytes, page: bytes = b"", resources: bytes = b"", objects: Sequence[bytes] = ()
) -> bytes:
    """Return a PDF with a page for each content.

    ``page`` is added to each page's dictionary, ``resources`` to its resources, and ``objects``
    get the numbers from 4 on.
    """
    first = 4 + len(objects)
    kids = b" ".join(b"%d 0 R" % (first + 2 * at) for at in range(len(contents)))
    pages = b"".join(
        b"\0%s\0%s"
        % (
            b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 %d %d]/Contents %d 0 R"
            b"/Resources<</Font<</F1 3 0 R>>%s>>%s>>"
            % (WIDTH, HEIGHT, first + 2 * at + 1, resources, page),
            b"<</Length %d>>stream\n%s\nendstream" % (len(content), content),
        )
        for at, content in enumerate(contents)
    )
    return written(
        [
            b"<</Type/Catalog/Pages 2 0 R>>",
            b"<</Type/Pages/Kids[%s]/Count %d>>" % (kids, len(contents)),
            b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>",
            *objects,
            *pages.split(b"\0")[1:],
        ]
    )


def jpeg(image: Image.Image) -> bytes:
    """Return a picture as an object that pages may draw."""
    out = io.BytesIO()
    image.convert("L").save(out, "JPEG", quality=80)
    content = out.getvalue()
    return (
        b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8"
        b"/Filter/DCTDecode/Length %d>>stream\n%s\nendstream"
        % (image.width, image.height, len(content), content)
    )


def scanned(*images: Image.Image, also: bytes = b"") -> bytes:
    """Return a PDF whose pages are pictures; ``also`` is content of each."""
    names = b"".join(b"/I%d %d 0 R" % (at, 4 + at) for at in range(len(images)))
    contents = [
        b"q %d 0 0 %d 0 0 cm /I%d Do Q " % (WIDTH, HEIGHT, at) + also for at in range(len(images))
    ]
    objects = [jpeg(image) for image in images]
    return pdf(*contents, resources=b"/XObject<<%s>>" % names, objects=objects)
