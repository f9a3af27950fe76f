"""The files of an invoice: PDF, scans, e-mail, Word, HTML and text."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from email.message import EmailMessage
from html import escape
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

import pypdfium2
from make_master_refunds import STAMP, Vendor, cents
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

#: Points of A5. Invoices are short, and pictures of small pages are small files.
WIDTH, HEIGHT = 420, 595
#: Where the columns of figures end.
RIGHT_EDGES = (250, 300, 332, WIDTH - 36)
#: Dots per inch of the scans.
DPI = 200


@dataclass(frozen=True)
class Line:
    """A line of an invoice."""

    description: str
    quantity: int
    price: Decimal

    @property
    def amount(self) -> Decimal:
        """Quantity times price."""
        return self.quantity * self.price


@dataclass(frozen=True)
class Invoice:
    """What an invoice says."""

    vendor: Vendor
    number: str
    day: date
    lines: tuple[Line, ...]
    tax_rate: Decimal
    currency: str
    notes: tuple[str, ...] = ()

    @property
    def net(self) -> Decimal:
        """The sum of the lines."""
        return sum((line.amount for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        """The tax on all lines."""
        return cents(self.net * self.tax_rate)


def pages_of(invoice: Invoice, most: int = 20) -> Iterator[list[tuple[str, ...]]]:
    """Yield each page's lines; a line is one text, or the cells of the table."""
    parts = [invoice.lines[at : at + most] for at in range(0, len(invoice.lines), most)]
    for number, part in enumerate(parts, start=1):
        page: list[tuple[str, ...]] = [
            (invoice.vendor.name,),
            (f"Invoice no. {invoice.number}",),
            (f"Date {invoice.day.isoformat()}",),
            (f"Currency {invoice.currency}",),
            ("",),
            ("Description", "Quantity", "Price", "Tax", "Amount"),
        ]
        page.extend(
            (
                line.description,
                f"{line.quantity}",
                f"{line.price:,.2f}",
                f"{(invoice.tax_rate * 100).normalize():f} %",
                f"{line.amount:,.2f}",
            )
            for line in part
        )
        page.append(("",))
        if number == len(parts):
            page.append(("Net", f"{invoice.net:,.2f}"))
            page.append(("Tax", f"{invoice.tax:,.2f}"))
            page.append(("Total", f"{invoice.currency} {invoice.net + invoice.tax:,.2f}"))
            page.extend((note,) for note in invoice.notes)
        else:
            page.append((f"Continued on page {number + 1}",))
        yield page


def pdf(invoice: Invoice) -> bytes:
    """Return the invoice as a digital PDF."""
    file = io.BytesIO()
    canvas = Canvas(file, (WIDTH, HEIGHT), invariant=True)
    for page in pages_of(invoice):
        y = HEIGHT - 50
        for cells in page:
            canvas.setFont("Helvetica-Bold" if y == HEIGHT - 50 else "Helvetica", 9)
            canvas.drawString(36, y, cells[0])
            rights = RIGHT_EDGES[len(RIGHT_EDGES) - len(cells) + 1 :]
            for right, cell in zip(rights, cells[1:], strict=True):
                canvas.drawRightString(right, y, cell)
            y -= 16
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def scans(rng: random.Random, digital: bytes, *, is_gray: bool = False) -> Iterator[Image.Image]:
    """Yield each page as a scanner sees it: a little turned, with specks, in black and white."""
    document = pypdfium2.PdfDocument(digital)
    for page in document:
        image = page.render(scale=DPI / 72, grayscale=True).to_pil()
        turned = image.rotate(
            rng.choice((-1, 1)) * rng.uniform(0.4, 1.2), Image.Resampling.BICUBIC, fillcolor=255
        )
        for _ in range(600):
            turned.putpixel(
                (rng.randrange(turned.width), rng.randrange(turned.height)), rng.randrange(160)
            )
        yield turned if is_gray else turned.point(lambda dot: 255 if dot > 150 else 0).convert("1")


def on_paper(rng: random.Random, invoice: Invoice, suffix: str, paper: str) -> bytes:
    """Return the invoice as a file of the kind ``suffix``: digital, scanned or mixed paper."""
    match suffix:
        case "docx":
            return docx(invoice)
        case "eml":
            return eml(invoice)
        case "html":
            return html(invoice).encode()
        case "txt":
            return txt(invoice).encode()
    digital = pdf(invoice)
    if paper == "digital":
        return digital
    images = list(scans(rng, digital, is_gray=suffix == "jpg"))
    file = io.BytesIO()
    if suffix == "tiff":
        images[0].save(
            file, "TIFF", save_all=True, append_images=images[1:], compression="group4",
            dpi=(DPI, DPI),
        )  # fmt: skip
    elif suffix == "jpg":
        images[0].save(file, "JPEG", quality=25, dpi=(DPI, DPI))
    elif suffix == "png":
        images[0].save(file, "PNG", optimize=True, dpi=(DPI, DPI))
    else:
        return pdf_of_scans(digital, images, paper == "mixed")
    return file.getvalue()


def pdf_of_scans(digital: bytes, images: list[Image.Image], first_is_digital: bool) -> bytes:
    """Return a PDF of pictures; its first page is digital where that is wanted."""
    scanned = io.BytesIO()
    stamp = STAMP.timetuple()
    images[first_is_digital:][0].save(
        scanned, "PDF", resolution=DPI, save_all=True, append_images=images[first_is_digital:][1:],
        creationDate=stamp, modDate=stamp,
    )  # fmt: skip
    if not first_is_digital:
        return scanned.getvalue()
    mixed = pypdfium2.PdfDocument.new()
    mixed.import_pages(pypdfium2.PdfDocument(digital), [0])
    mixed.import_pages(pypdfium2.PdfDocument(scanned.getvalue()))
    file = io.BytesIO()
    mixed.save(file)
    # PDFium writes an id by chance, and the time.
    content = re.sub(rb"(?<=<)[0-9A-F]{32}(?=>)", b"0" * 32, file.getvalue())
    return re.sub(rb"(?<=\(D:)\d{14}", f"{STAMP:%Y%m%d%H%M%S}".encode(), content)


def eml(invoice: Invoice) -> bytes:
    """Return an e-mail with the invoice as a PDF."""
    mail = EmailMessage()
    mail["From"] = "billing@example.com"
    mail["To"] = "payables@example.org"
    mail["Date"] = invoice.day.strftime("%a, %d %b %Y 08:00:00 +0000")
    mail["Subject"] = f"Your invoice {invoice.number}"
    mail.set_content(f"Please find our invoice attached.\n\n{invoice.vendor.name}\n")
    mail.add_attachment(
        pdf(invoice), maintype="application", subtype="pdf", filename=f"{invoice.number}.pdf"
    )
    mail.set_boundary("=-invoice-boundary")
    return mail.as_bytes()


def txt(invoice: Invoice) -> str:
    """Return the invoice as plain text."""
    return "\n".join(
        cells[0].ljust(44) + "".join(cell.rjust(14) for cell in cells[1:])
        for page in pages_of(invoice, most=len(invoice.lines))
        for cells in page
    )


def html(invoice: Invoice) -> str:
    """Return the invoice as a web page."""
    rows = [
        f"<p>{escape(cells[0])}</p>"
        if len(cells) == 1
        else "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for page in pages_of(invoice, most=len(invoice.lines))
        for cells in page
        if cells != ("",)
    ]
    first = next(at for at, row in enumerate(rows) if row.startswith("<tr>"))
    last = max(at for at, row in enumerate(rows) if row.startswith("<tr>"))
    rows[first] = "<table>\n" + rows[first]
    rows[last] += "\n</table>"
    return (
        "<!DOCTYPE html>\n<html><head><meta charset='utf-8'><title>Invoice</title></head><body>\n"
        + "\n".join(rows)
        + "\n</body></html>\n"
    )


_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def docx(invoice: Invoice) -> bytes:
    """Return the invoice as a Word document: paragraphs, and a table."""

    def paragraph(text: str) -> str:
        return f'<w:p><w:r><w:t xml:space="preserve">{escape(text)}</w:t></w:r></w:p>'

    body, table = [], []
    for page in pages_of(invoice, most=len(invoice.lines)):
        for cells in page:
            if len(cells) == 5:
                cells_xml = "".join(f"<w:tc>{paragraph(cell)}</w:tc>" for cell in cells)
                table.append(f"<w:tr>{cells_xml}</w:tr>")
                continue
            if table:
                body.append(f"<w:tbl>{''.join(table)}</w:tbl>")
                table = []
            body.append(paragraph("  ".join(cells)))
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{_PACKAGE}/content-types">'
        '<Default Extension="rels" '
        'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Override PartName="/word/document.xml" ContentType="application/vnd.openxmlformats-'
        'officedocument.wordprocessingml.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{_PACKAGE}/relationships"><Relationship Id="rId1" '
        f'Type="{_OFFICE}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f'<w:document xmlns:w="{_WORD}"><w:body>{"".join(body)}'
        "</w:body></w:document>",
    }
    file = io.BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as package:
        for name, text in parts.items():
            entry = ZipInfo(name, STAMP.timetuple()[:6])
            entry.compress_type = ZIP_DEFLATED
            package.writestr(entry, _XML + text)
    return file.getvalue()
