"""Pictures of pages, downscaled and bounded, with quotes marked."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw

from rowfleet.documents.extracted import SCALE

#: Of 100: print stays sharp, and a page takes some 200 kB.
_QUALITY = 80
#: The colour of a mark, and how much of a pixel it covers, of 255.
_MARK, _COVER = (255, 214, 0), 110
#: Pixels of a mark beyond its words.
_MARGIN = 2


class Gallery:
    """Collects the pictures of the pages that are wanted."""

    def __init__(
        self,
        wanted: set[int],
        max_side: int,
        *,
        png: bool,
        marks: Mapping[int, Sequence[Sequence[int]]],
    ) -> None:
        self.max_side = max_side
        self.pictures: list[tuple[int, bytes]] = []
        self._wanted = wanted
        self._format = "PNG" if png else "JPEG"
        self._marks = marks

    def wants(self, number: int) -> bool:
        """Whether the picture of this page is to be added."""
        return number in self._wanted

    def add(self, number: int, image: Image.Image) -> None:
        """Add a page's picture."""
        image.thumbnail((self.max_side, self.max_side), Image.Resampling.LANCZOS)
        if number in self._marks:
            image = _marked(image.convert("RGB"), self._marks[number])
        out = io.BytesIO()
        image.save(out, self._format, quality=_QUALITY)
        self.pictures.append((number, out.getvalue()))


def _marked(image: Image.Image, boxes: Sequence[Sequence[int]]) -> Image.Image:
    cover = Image.new("L", image.size)
    draw = ImageDraw.Draw(cover)
    for left, top, right, bottom in boxes:
        across, down = image.width / SCALE, image.height / SCALE
        draw.rectangle(
            (
                left * across - _MARGIN,
                top * down - _MARGIN,
                max(left, right) * across + _MARGIN,
                max(top, bottom) * down + _MARGIN,
            ),
            fill=_COVER,
        )
    image.paste(_MARK, (0, 0, *image.size), cover)
    return image
