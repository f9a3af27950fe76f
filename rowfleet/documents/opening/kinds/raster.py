"""PNG, JPEG, TIFF with its pages, and WebP, by Pillow."""

from __future__ import annotations

import io

from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin

from rowfleet.documents.limits import MAX_PIXELS
from rowfleet.documents.opening.ocr import DPI, Recognized
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError

#: Only these are opened. The plug-ins are imported here, before the limits.
_FORMATS = [
    plugin.format
    for plugin in (
        JpegImagePlugin.JpegImageFile,
        PngImagePlugin.PngImageFile,
        TiffImagePlugin.TiffImageFile,
        WebPImagePlugin.WebPImageFile,
    )
]
#: Pillow's own bound only warns; ours is looked up before a picture is unpacked.
Image.MAX_IMAGE_PIXELS = None
#: Dots per inch that a file may claim of itself.
_LEAST_DPI, _MOST_DPI = 50.0, 1_200.0


def read(content: bytes, reading: Reading) -> None:
    """Read each page of a picture by OCR."""
    try:
        image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (OSError, ValueError, SyntaxError, EOFError):
        raise UnreadableError(Unread.CORRUPT) from None
    index = 0
    while True:
        if reading.is_full:
            reading.skip(getattr(image, "n_frames", index + 1) - index)
            return
        _read_page(image, reading)
        # Frames of an animation are no pages.
        if image.format != TiffImagePlugin.TiffImageFile.format:
            return
        index += 1
        try:
            image.seek(index)
        except EOFError:
            return


def _read_page(image: Image.Image, reading: Reading) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise UnreadableError(Unread.TOO_LARGE, f"over {MAX_PIXELS:,} pixels")
    dpi = _dpi(image)
    gallery = reading.gallery
    if gallery is not None:
        if gallery.wants(reading.number):
            gallery.add(reading.number, _on_white(image, "RGB"))
        reading.add_words([], 0, 0)
        return
    grey = _on_white(image, "L")
    width, height = (side * 72 / dpi for side in grey.size)
    found = reading.engine.read(grey, dpi) if reading.engine else Recognized([])
    reading.add_recognized(found, width, height)


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """Return the picture as it is shown: turned as it says, and on white where it is clear."""
    shown = ImageOps.exif_transpose(image)
    if shown.has_transparency_data:
        clear = shown.convert("RGBA")
        shown = Image.new("RGBA", clear.size, "white")
        shown.alpha_composite(clear)
    return shown.convert(mode)


def _dpi(image: Image.Image) -> float:
    try:
        dpi = float(image.info["dpi"][0])
    except (KeyError, TypeError, ValueError, IndexError, ZeroDivisionError):
        return float(DPI)
    return dpi if _LEAST_DPI <= dpi <= _MOST_DPI else float(DPI)
