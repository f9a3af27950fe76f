"""Pictures of printed pages."""

from __future__ import annotations

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

#: Pixels of an A4 page at 200 dots per inch.
WIDTH, HEIGHT = 1654, 2339


def scan(lines: Sequence[str], *, angle: float = 0.0, size: int = 34) -> Image.Image:
    """Return a page with the lines; tabs part its columns, which are 400 pixels wide."""
    image = Image.new("L", (WIDTH, HEIGHT), 255)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for at, line in enumerate(lines):
        for column, cell in enumerate(line.split("\t")):
            draw.text((150 + 400 * column, 200 + 2 * size * at), cell, 0, font)
    return image.rotate(angle, fillcolor=255, resample=Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    """Return the picture as a file: `PNG`, `JPEG`, `TIFF` or `WEBP`."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
