"""PDF by PDFium: digital pages by their text, others by OCR."""

from __future__ import annotations

import ctypes
import re
from typing import Any

import pypdfium2 as pdfium
from pypdfium2 import raw

from rowfleet.documents.limits import MAX_PAGE_CHARS
from rowfleet.documents.opening.layout import Placed
from rowfleet.documents.opening.ocr import DPI, OCR_PIXELS
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError

#: Letters and digits below which a page that shows a picture is taken for a scan: a stamp or a
#: page number may lie over one.
_FEW = 100
#: Of a page's letters, the share that no font explains from which on the text is of no use.
_UNKNOWN = 0.3
#: Annotations that show no text of their own.
_NO_TEXT = frozenset({raw.FPDF_ANNOT_LINK, raw.FPDF_ANNOT_POPUP})
#: Objects of a page among which a picture is looked for, and its annotations.
_LOOKED_AT = 200
#: Damaged pages from which on the whole document is taken for damaged.
_ALL_DAMAGED = 50
#: Hyphens that PDFium puts at the end of a line in the middle of a word.
_HYPHENS = str.maketrans({"\x02": "-", "\ufffe": "-"})
_NO_LETTERS = re.compile(r"[\ufffd\ue000-\uf8ff]")
#: Steps of the grid on which a page's corners are placed; PDFium gives whole numbers.
_GRID = 1_000_000

#: An affine map of points: x = a + b·x + c·y, and y = d + e·x + f·y.
_Affine = tuple[float, float, float, float, float, float]


def read(content: bytes, reading: Reading) -> None:
    """Read each page. Raises UnreadableError for a PDF that can't be opened."""
    try:
        document = pdfium.PdfDocument(content)
        if document.get_formtype() != raw.FORMTYPE_NONE:
            document.init_forms()
    except pdfium.PdfiumError as error:
        is_locked = getattr(error, "err_code", None) == raw.FPDF_ERR_PASSWORD
        raise UnreadableError(Unread.ENCRYPTED if is_locked else Unread.CORRUPT) from None
    count = len(document)
    if not count:
        raise UnreadableError(Unread.CORRUPT)
    damaged = 0
    for index in range(count):
        if reading.is_full:
            reading.skip(count - index)
            return
        try:
            page = _page(document, index)
        except pdfium.PdfiumError:  # this page is damaged, and the others may not be
            damaged += 1
            if damaged == min(count, _ALL_DAMAGED):
                raise UnreadableError(Unread.CORRUPT) from None
            reading.add_words([], 0, 0)
            continue
        _read_page(page, reading)
        page.close()


def _page(document: pdfium.PdfDocument, index: int) -> pdfium.PdfPage:
    """Return a page whose filled fields and notes are part of its text."""
    page = document[index]
    if _has_notes(page) and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == (
        raw.FLATTEN_SUCCESS
    ):
        page.close()
        page = document[index]
    return page


def _has_notes(page: pdfium.PdfPage) -> bool:
    for at in range(min(raw.FPDFPage_GetAnnotCount(page), _LOOKED_AT)):
        note = raw.FPDFPage_GetAnnot(page, at)
        subtype = raw.FPDFAnnot_GetSubtype(note)
        raw.FPDFPage_CloseAnnot(note)
        if subtype not in _NO_TEXT:
            return True
    return False


def _read_page(page: pdfium.PdfPage, reading: Reading) -> None:
    width, height = page.get_size()
    gallery = reading.gallery
    if gallery is not None:
        if gallery.wants(reading.number):
            gallery.add(reading.number, _picture(page, gallery.max_side / max(width, height, 1)))
        reading.add_words([], 0, 0)
        return
    words = _words(page, _shown(page, width, height))
    if reading.engine is None or not _needs_ocr(page, words):
        reading.add_words(words, width, height)
        return
    image = _picture(page, DPI / 72, grey=True)
    found = reading.engine.read(image, image.width * 72 / max(width, 1))
    if _letters(found.words) > 2 * _letters(words):
        reading.add_recognized(found, width, height)
    else:  # a picture beside the text, or a page in a language that the OCR does not know
        reading.add_words(words, width, height)


def _picture(page: pdfium.PdfPage, scale: float, *, grey: bool = False) -> Any:
    width, height = page.get_size()
    scale = min(scale, (OCR_PIXELS / max(width * height, 1)) ** 0.5)
    return page.render(scale=scale, grayscale=grey, may_draw_forms=True).to_pil()


def _letters(words: list[Placed]) -> int:
    """Return how many letters some font explains."""
    return len(_NO_LETTERS.sub("", "".join([word.text for word in words])))


def _needs_ocr(page: pdfium.PdfPage, words: list[Placed]) -> bool:
    letters = sum(len(word.text) for word in words)
    if letters >= _FEW:
        return letters - _letters(words) > letters * _UNKNOWN
    count = raw.FPDFPage_CountObjects(page)
    if not letters:  # letters may be drawn as lines; an empty page has nothing
        return bool(count > 0)
    kinds = (
        raw.FPDFPageObj_GetType(raw.FPDFPage_GetObject(page, at))
        for at in range(min(count, _LOOKED_AT))
    )
    return raw.FPDF_PAGEOBJ_IMAGE in kinds or raw.FPDF_PAGEOBJ_FORM in kinds


def _shown(page: pdfium.PdfPage, width: float, height: float) -> _Affine:
    """Return how a point of the page is placed as it is shown: it may be turned, or cropped."""
    across, down = ctypes.c_int(), ctypes.c_int()

    def shown(x: float, y: float) -> tuple[float, float]:
        raw.FPDF_PageToDevice(page, 0, 0, _GRID, _GRID, 0, x, y, across, down)
        return across.value / _GRID * width, down.value / _GRID * height

    x0, y0 = shown(0, 0)
    x1, y1 = shown(width, 0)
    x2, y2 = shown(0, height)
    width, height = width or 1, height or 1
    return x0, (x1 - x0) / width, (x2 - x0) / height, y0, (y1 - y0) / width, (y2 - y0) / height


def _words(page: pdfium.PdfPage, shown: _Affine) -> list[Placed]:
    textpage = page.get_textpage()
    count = textpage.count_chars()
    if count > MAX_PAGE_CHARS:
        raise UnreadableError(Unread.TOO_LARGE, f"a page of over {MAX_PAGE_CHARS:,} characters")
    text = _text(textpage, count)
    x0, xx, xy, y0, yx, yy = shown
    left, top, right, bottom = (ctypes.c_double() for _ in range(4))
    edges = [ctypes.pointer(edge) for edge in (left, top, right, bottom)]
    handle = textpage.raw
    words: list[Placed] = []
    end = 0
    for word in text.split():
        start = text.index(word, end)
        end = start + len(word)
        # The first rectangle; a word that goes on in the next line has another.
        if raw.FPDFText_CountRects(handle, start, end - start) < 1:
            continue
        raw.FPDFText_GetRect(handle, 0, *edges)
        x, y, far_x, far_y = left.value, top.value, right.value, bottom.value
        x, y = x0 + xx * x + xy * y, y0 + yx * x + yy * y
        far_x, far_y = x0 + xx * far_x + xy * far_y, y0 + yx * far_x + yy * far_y
        if x > far_x:
            x, far_x = far_x, x
        if y > far_y:
            y, far_y = far_y, y
        words.append(Placed(word, x, y, far_x, far_y))
    textpage.close()
    return words


def _text(textpage: pdfium.PdfTextPage, count: int) -> str:
    """Return one character for each of PDFium's, so that it gives the place of each."""
    buffer = (ctypes.c_ushort * (count + 1))()
    written = raw.FPDFText_GetText(textpage, 0, count, buffer)
    text = bytes(buffer)[: 2 * count].decode("utf-16-le", "replace")
    text = text.translate(_HYPHENS)
    if written == count + 1 and len(text) == count:
        return text
    codes = (raw.FPDFText_GetUnicode(textpage, at) for at in range(count))
    return "".join(
        chr(code) if code and not 0xD800 <= code < 0xE000 else "\ufffd" for code in codes
    )
