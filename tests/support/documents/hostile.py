"""Documents made to fill memory, to run for ever, or to end the process that opens them."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib

import openpyxl
from PIL import Image

from tests.support.documents.messages import compound_file, mail_in_mails, outlook_mail
from tests.support.documents.office import docx, paragraph, table
from tests.support.documents.pdfs import pdf, show, stream, written

_TEXT = show([(50, 700, "Total 12.00")])


def zip_bomb() -> bytes:
    """A DOCX of 200 kB that unpacks to 200 MB."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("word/document.xml", b"<a>" + b" " * (200 << 20))
    return out.getvalue()


def entities() -> bytes:
    """A DOCX whose one entity is a billion others."""
    levels = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    doctype = f'<!DOCTYPE w:document [<!ENTITY e0 "lol">{levels}]>'
    return docx(paragraph("&e9;"), before=doctype)


def deep_tables() -> bytes:
    """A DOCX of 5,000 tables within each other."""
    return docx("<w:tbl><w:tr><w:tc>" * 5000 + "</w:tc></w:tr></w:tbl>" * 5000)


def deep_xml() -> bytes:
    """A DOCX of two million elements within each other."""
    return docx("<w:p>" * 2_000_000 + "</w:p>" * 2_000_000)


def _xlsx(sheet: bytes) -> bytes:
    honest, out = io.BytesIO(), io.BytesIO()
    openpyxl.Workbook().save(honest)
    head = b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    with zipfile.ZipFile(honest) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        for name in old.namelist():
            is_sheet = name == "xl/worksheets/sheet1.xml"
            content = head + b"<sheetData>" + sheet + b"</sheetData></worksheet>"
            package.writestr(name, content if is_sheet else old.read(name))
    return out.getvalue()


def far_cells() -> bytes:
    """A workbook of two cells, in the first and in the last place."""
    return _xlsx(
        b'<row r="1"><c r="A1"><v>1</v></c></row>'
        b'<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>'
    )


def sheet_bomb() -> bytes:
    """A workbook of 300 kB whose sheet unpacks to 300 MB of one cell's text."""
    return _xlsx(b'<row r="1"><c r="A1" t="str"><v>' + b"a" * (300 << 20) + b"</v></c></row>")


def many_pages() -> bytes:
    """A PDF of 10,000 pages."""
    return pdf(*[_TEXT] * 10_000)


def deep_array() -> bytes:
    """A PDF with a million arrays within each other."""
    return pdf(_TEXT, page=b"/Deep " + b"[" * 1_000_000 + b"]" * 1_000_000)


def deep_dictionary() -> bytes:
    """A PDF with 200,000 dictionaries within each other."""
    return pdf(_TEXT, page=b"/Deep " + b"<</A" * 200_000 + b" 1" + b">>" * 200_000)


def page_tree_loop() -> bytes:
    """A PDF whose pages lie within themselves."""
    return written([
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[2 0 R 3 0 R]/Count 1000000000>>",
        b"<</Type/Pages/Kids[2 0 R]/Count 3/Parent 2 0 R>>",
    ])  # fmt: skip


def form_loop() -> bytes:
    """A PDF whose page draws a form that draws itself, twice."""
    form = (
        b"<</Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</F 4 0 R>>>>/Length 11>>"
        b"stream\n/F Do /F Do\nendstream"
    )
    return pdf(b"/F Do", resources=b"/XObject<</F 4 0 R>>", objects=[form])


def xref_loop() -> bytes:
    """A PDF whose table of objects goes on in itself."""
    content = pdf(_TEXT)
    start = int(content.split(b"startxref\n")[1].split()[0])
    return content.replace(b"/Root 1 0 R", b"/Root 1 0 R/Prev %d" % start)


def length_loop() -> bytes:
    """A PDF whose stream is as long as it says itself."""
    return pdf(_TEXT, objects=[b"<</Length 4 0 R>>stream\nabc\nendstream"], page=b"/A 4 0 R")


def content_bomb() -> bytes:
    """A PDF of 400 kB whose page's content unpacks to 400 MB, packed twice."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(b" " * (1 << 20)) for _ in range(400)) + packer.flush()
    return written([
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R>>",
        stream(packed).replace(b"/FlateDecode", b"[/FlateDecode/FlateDecode]"),
    ])  # fmt: skip


def _pictured(head: bytes, content: bytes) -> bytes:
    picture = b"<</Type/XObject/Subtype/Image%s/Length %d>>stream\n%s\nendstream" % (
        head,
        len(content),
        content,
    )
    return pdf(
        b"q 595 0 0 842 0 0 cm /I Do Q", resources=b"/XObject<</I 4 0 R>>", objects=[picture]
    )


def picture_bomb() -> bytes:
    """A PDF with a picture of 40,000 x 40,000 pixels in colour, packed into nearly nothing."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(300)) + packer.flush()
    head = b"/Width 40000/Height 40000/ColorSpace/DeviceRGB/BitsPerComponent 8/Filter/FlateDecode"
    return _pictured(head, packed)


def broken_pictures(kind: bytes) -> bytes:
    """A PDF with a picture of a kind of compression, whose data are none."""
    head = b"/Width 30000/Height 30000/ColorSpace/DeviceGray/BitsPerComponent 1/Filter/" + kind
    return _pictured(head, bytes(range(256)) * 40)


def jpeg_2000_bomb() -> bytes:
    """A PDF with a JPEG 2000 picture that claims 60,000 x 60,000 pixels of 4 components."""
    size = struct.pack(">HIIIIIIIIH", 0, 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0, 4)
    size += b"\x07\x01\x01" * 4
    code = b"\xff\x4f\xff\x51" + struct.pack(">H", len(size) + 2) + size
    code += b"\xff\x52\0\x0c\0\0\0\x01\0\x05\4\4\0\0" + b"\xff\x5c\0\x13\x40" + b"\x40" * 16
    code += b"\xff\x90\0\x0a\0\0\0\0\0\x20\0\1\xff\x93" + bytes(200) + b"\xff\xd9"
    return _pictured(b"/Width 60000/Height 60000/Filter/JPXDecode", code)


def broken_font() -> bytes:
    """A PDF whose embedded font is none."""
    font = (
        b"<</Type/Font/Subtype/TrueType/BaseFont/A/FirstChar 0/LastChar 255/FontDescriptor 5 0 R>>"
    )
    descriptor = b"<</Type/FontDescriptor/FontName/A/Flags 4/FontFile2 6 0 R>>"
    data = stream(b"\0\1\0\0\xff\xff" + bytes(range(256)) * 100)
    content = b"BT /F2 9 Tf 50 50 Td (Total 12.00) Tj ET"
    return pdf(content, resources=b"/Font<</F2 4 0 R>>", objects=[font, descriptor, data])


def large_page() -> bytes:
    """A PDF whose page measures 2,000 kilometres."""
    return pdf(b"0 0 m 9 9 l S", page=b"/MediaBox[0 0 2000000000 2000000000]/UserUnit 1000")


def much_drawn() -> bytes:
    """A PDF of 2 MB that draws half a million transparent curves over each other, and no text."""
    return pdf(
        b"0 0 m " + b"9 9 900 9 9 900 c " * 100_000 + b"B " + b"q 9 9 m 99 9 l B Q " * 20_000
    )


def png_bomb() -> bytes:
    """A PNG that claims 60,000 x 60,000 pixels in colour."""
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    data = zlib.compress(bytes(1 << 20), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_chunk_bomb() -> bytes:
    """A PNG of one pixel with 300 MB of packed text beside it."""
    out = io.BytesIO()
    Image.new("L", (1, 1)).save(out, "PNG")
    content = b"a\0\0" + zlib.compress(b"a" * (300 << 20), 9)
    chunk = struct.pack(">I", len(content)) + b"zTXt" + content
    chunk += struct.pack(">I", zlib.crc32(b"zTXt" + content))
    png = out.getvalue()
    return png[:33] + chunk + png[33:]


def tiff_loop() -> bytes:
    """A TIFF whose second page is its first."""
    out = io.BytesIO()
    Image.new("L", (60, 60), 255).save(out, "TIFF")
    content = bytearray(out.getvalue())
    first = struct.unpack_from("<I", content, 4)[0]
    count = struct.unpack_from("<H", content, first)[0]
    struct.pack_into("<I", content, first + 2 + 12 * count, first)
    return bytes(content)


def noise() -> bytes:
    """A picture of noise, in which OCR finds marks everywhere."""
    out = io.BytesIO()
    Image.effect_noise((2400, 3400), 120).save(out, "PNG")
    return out.getvalue()


def nested_tags() -> bytes:
    """A web page of a million elements within each other."""
    return b"<html><body>" + b"<div>" * 1_000_000 + b"Total 12.00"


def nested_tables() -> bytes:
    """A web page of 100,000 tables within each other."""
    return b"<html><body>" + b"<table><tr><td>" * 100_000 + b"Total 12.00"


def long_tag() -> bytes:
    """A web page of one tag with a million attributes, and of a million that do not end."""
    return b"<html><body " + b"a=1 " * 1_000_000 + b">Total 12.00" + b"<b " * 1_000_000


def open_comments() -> bytes:
    """A web page with 300,000 beginnings of comments."""
    return b"<html><body>Total 12.00" + b"<!--" * 300_000 + b"<![CDATA[" * 100_000


def nested_mails() -> bytes:
    """An e-mail within 60 others."""
    return mail_in_mails(60)


def nested_parts() -> bytes:
    """An e-mail of 3,000 multiparts within each other."""
    head = b"From: a@b.c\nTo: a@b.c\nSubject: x\nMIME-Version: 1.0\n"
    parts = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3_000)
    )
    return head + parts + b"Content-Type: text/plain\n\nTotal 12.00"


def broken_fields() -> bytes:
    """An e-mail whose fields end Python's reader in several ways."""
    return (
        b"From: =?utf-8?q?=?= <@[\nTo: \xff\xfe;:<>,,@\nDate: Thu, 99 Foo 99999 99:99:99 +9999\n"
        b"Subject: =?no-such-charset?b?////?= =?utf-8?b?a?=\nMIME-Version: 1.0\n"
        b"Content-Type: text/plain; charset=no-such-charset; name*0*=a'b\n"
        b"Content-Disposition: attachment; filename*=utf-16''%ff%; filename*1*=\n"
        b"Content-Transfer-Encoding: base64\n\n!!!not base64!!!\n"
    )


def cyclic_message(*, directory: bool) -> bytes:
    """An MSG whose sectors, of its directory or of its streams, follow each other in a circle."""
    content = bytearray(compound_file(outlook_mail({0x37: "x", 0x1000: "text " * 2_000})))
    fat = struct.unpack_from("<I", content, 76)[0]
    start = struct.unpack_from("<I", content, 48)[0] if directory else 0
    struct.pack_into("<I", content, 512 * (fat + 1) + 4 * start, start)
    return bytes(content)


def wide_table() -> bytes:
    """A DOCX of one row with 200,000 cells."""
    return docx(table(("1",) * 200_000))
