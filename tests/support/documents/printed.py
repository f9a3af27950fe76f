"""Pages of invoices and prose, printed: what stands on them, as a PDF and as scans."""

from __future__ import annotations

import io
import random
from collections.abc import Iterator

import pypdfium2
from PIL import Image
from reportlab.lib.pagesizes import A4
from reportlab.pdfgen.canvas import Canvas

_GOODS = (
    "Pallet delivery Leeds–Bristol",
    "Customs clearance, per entry",
    "Wartung Förderband, Stunde",
    "Photographie produit, demi-journée",
    "Ergonomic chair, height adjustable",
    "Office cleaning, week",
    "Compute, reserved instance month",
)
_CLAUSES = (
    "The deposit is not refundable after the goods have left our warehouse.",
    "Goods that were returned within 14 days are credited at 90 % of the net price.",
    "No discount is granted for orders below 500.00 without our written consent.",
    "Payment is due within 30 days; interest of 1.5 % a month is charged afterwards.",
    "This invoice replaces invoice no. HLF00931 of 2025-01-14, which was cancelled.",
    "Delivery is free of charge unless the customer's site can't be reached by lorry.",
)


def lines_of_a_page(rng: random.Random) -> list[str]:
    """Return the lines of one page: a heading, a table of twenty lines, clauses, totals."""
    lines = [f"Harbourline Freight Ltd, invoice no. HLF{rng.randrange(10**5):05}"]
    total = 0
    for _ in range(20):
        count, price = rng.randint(1, 40), rng.randint(900, 250_000)
        total += count * price
        good = rng.choice(_GOODS)
        lines.append(f"{good}  {count}  {price / 100:,.2f}  20 %  {count * price / 100:,.2f}")
    lines += rng.sample(_CLAUSES, 4)
    lines += [f"Net amount  {total / 100:,.2f}", f"Total due  EUR {total * 1.2 / 100:,.2f}"]
    return lines


def pdf(pages: list[list[str]]) -> bytes:
    """Return the pages as a PDF; columns, parted by two spaces, end at fixed places."""
    file = io.BytesIO()
    canvas = Canvas(file, A4)
    for lines in pages:
        canvas.setFont("Helvetica", 10)
        for at, line in enumerate(lines):
            first, *cells = line.split("  ")
            y = 790 - 26 * at
            canvas.drawString(50, y, first)
            for right, cell in zip((300, 380, 430, 545)[4 - len(cells) :], cells, strict=True):
                canvas.drawRightString(right, y, cell)
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def scans(digital: bytes, rng: random.Random) -> Iterator[bytes]:
    """Yield each page as a scan at 200 dpi: a little turned, with specks, as a JPEG."""
    for page in pypdfium2.PdfDocument(digital):
        image = page.render(scale=200 / 72, grayscale=True).to_pil()
        image = image.rotate(rng.uniform(-1, 1), Image.Resampling.BICUBIC, fillcolor=255)
        for _ in range(1_000):
            image.putpixel((rng.randrange(image.width), rng.randrange(image.height)), 90)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=60)
        yield file.getvalue()
