"""The text of a page from its words and their places: lines as a person reads them.

Words of one height are a line, and a wide gap in it becomes as many spaces as it is wide, so that
the columns of a table stay under each other.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

from rowfleet.documents.extracted import SCALE

#: Of the usual height of words, by how much the middles of words of one line may differ.
_LINE = 0.6
#: Of the usual width of a letter, the gap from which on two words are of different columns.
_GAP = 1.8
#: Of the usual height of words, the distance of lines from which on an empty line parts them.
_PARAGRAPH = 3.2
#: Letters that a line is wide at most; a page of tiny letters would give longer runs of spaces.
_MAX_COLUMNS = 240


class Placed(NamedTuple):
    """A word, and its rectangle in points from the page's top left corner."""

    text: str
    left: float
    top: float
    right: float
    bottom: float


def laid_out(
    words: Sequence[Placed], width: float, height: float, slope: float = 0.0
) -> tuple[str, array[int]]:
    """Return the page's text and the boxes of its words; see `Page`.

    ``words`` have no white space in them; ``slope`` is that of the lines of a crooked scan.
    """
    if not words:
        return "", array("H")
    tall = median([word.bottom - word.top for word in words]) or 1.0
    letter = median([(word.right - word.left) / len(word.text) for word in words]) or 1.0
    letter = max(letter, width / _MAX_COLUMNS)
    margin = min(word.left for word in words)
    text: list[str] = []
    order: list[Placed] = []
    above = None
    for middle, line in _lines(words, tall * _LINE, slope):
        if above is not None:
            text.append("\n\n" if middle - above > tall * _PARAGRAPH else "\n")
        above = middle
        at, right = 0, margin
        for word in line:
            gap = word.left - right
            column = int((word.left - margin) / letter)
            if at == 0:
                spaces = min(column, _MAX_COLUMNS)
            elif gap < letter * _GAP:
                spaces = 1
            else:
                spaces = min(max(column - at, 2), _MAX_COLUMNS)
            text.append(" " * spaces + word.text)
            at += spaces + len(word.text)
            right = max(word.right, right)
        order.extend(line)
    return "".join(text), _edges(order, width, height)


def _lines(
    words: Sequence[Placed], tolerance: float, slope: float
) -> list[tuple[float, list[Placed]]]:
    """Return the lines from above, each with its middle, and their words from the left."""
    placed = sorted(((w.top + w.bottom) / 2 - slope * (w.left + w.right) / 2, w) for w in words)
    lines: list[tuple[float, list[Placed]]] = []
    for middle, word in placed:
        if not lines or middle - lines[-1][0] > tolerance:
            lines.append((middle, []))
        lines[-1][1].append(word)
    for _, line in lines:
        line.sort(key=_left)
    return lines


def _left(word: Placed) -> float:
    return word.left


def _edges(words: Sequence[Placed], width: float, height: float) -> array[int]:
    across, down = SCALE / (width or 1), SCALE / (height or 1)
    edges: list[int] = []
    for _, left, top, right, bottom in words:
        edges += (round(left * across), round(top * down), round(right * across),
                  round(bottom * down))  # fmt: skip
    if edges and (min(edges) < 0 or max(edges) > SCALE):  # words beyond the page's edge
        edges = [min(max(edge, 0), SCALE) for edge in edges]
    return array("H", edges)


def turned_back(boxes: array[int], degrees: int) -> array[int]:
    """Return boxes of a page that was turned so far, against the clock, before it was turned."""
    left, top, right, bottom = (boxes[edge::4] for edge in range(4))
    match degrees:
        case 90:
            edges = _from_far(bottom), left, _from_far(top), right
        case 180:
            edges = _from_far(right), _from_far(bottom), _from_far(left), _from_far(top)
        case 270:
            edges = top, _from_far(right), bottom, _from_far(left)
        case _:
            return boxes
    turned = array("H", bytes(len(boxes) * boxes.itemsize))
    for edge, values in enumerate(edges):
        turned[edge::4] = values
    return turned


def _from_far(edges: array[int]) -> array[int]:
    return array("H", (SCALE - edge for edge in edges))
