"""What a worksheet says above and below its rows, where it says which columns there are."""

from __future__ import annotations

from collections.abc import Sequence

from submitter.results.write_back import ranges, xml_bytes
from submitter.results.write_back.ranges import Range
from submitter.results.write_back.survey import Place, Survey
from submitter.results.write_back.xml_bytes import Edit


def grown_filter(survey: Survey, header_row: int, edge: int, last: int) -> tuple[str, Range] | None:
    """Return the filter's range as written, and the one with the new columns, None if it stays.

    ``edge`` is the last column that was used, ``last`` the last new one.
    """
    text = _ref(survey.filter)
    place = ranges.parse(text)
    if place is None or place.top != header_row or not place.left <= edge <= place.right < last:
        return None
    return text, place.reaching(right=last)


def edits(survey: Survey, widths: Sequence[tuple[int, float]], filter_: Range | None) -> list[Edit]:
    """Return the edits for new columns, given as (column, width in characters), ascending.

    ``filter_`` is the filter's new range, None if it stays.
    """
    if not widths:
        return []
    found = _column_edits(survey, widths)
    covered = ranges.parse(_ref(survey.dimension))
    if survey.dimension is not None and covered is not None:
        whole = covered.reaching(bottom=survey.last_row, right=widths[-1][0])
        found.append(_with_ref(survey.dimension, whole))
    if survey.filter is not None and filter_ is not None:
        found.append(_with_ref(survey.filter, filter_))
    return found


def _ref(place: Place | None) -> str:
    value = xml_bytes.attribute(place.tag, "ref") if place else None
    return place.tag[value[0] : value[1]].decode() if place and value else ""


def _with_ref(place: Place, range_: Range) -> Edit:
    new = xml_bytes.with_attribute(place.tag, "ref", str(range_))
    return Edit(place.start, place.start + len(place.tag), new)


def _column_edits(survey: Survey, widths: Sequence[tuple[int, float]]) -> list[Edit]:
    """Give the new columns a width of their own; an element over more columns is divided."""
    first, last = widths[0][0], widths[-1][0]
    over = [col for col in survey.cols if col[0] <= last and col[1] >= first]
    new = b"".join(_column(survey, over, column, width) for column, width in widths)
    if not survey.cols:
        assert survey.rows is not None
        holder = b"<%scols>%s</%scols>"
        start = end = survey.rows.start
        if survey.empty_cols is not None:
            start, end = survey.empty_cols.start, survey.empty_cols.end
        return [Edit(start, end, holder % (survey.prefix, new, survey.prefix))]
    found = []
    for index, (left, right, place) in enumerate(over):
        before = _part(place.tag, left, first - 1) if left < first else b""
        behind = _part(place.tag, last + 1, right) if right > last else b""
        found.append(Edit(place.start, place.end, before + (b"" if index else new) + behind))
    if not over:
        behind_ = [place.start for left, _, place in survey.cols if left > last]
        at = behind_[0] if behind_ else survey.cols[-1][2].end
        found.append(Edit(at, at, new))
    return found


def _column(
    survey: Survey, over: Sequence[tuple[int, int, Place]], column: int, width: float
) -> bytes:
    """Return the element of a new column; it keeps a style that was there, and is not hidden."""
    style = ""
    for left, right, place in over:
        value = xml_bytes.attribute(place.tag, "style")
        if left <= column <= right and value is not None:
            style = f' style="{place.tag[value[0] : value[1]].decode()}"'
    xml = f'<col min="{column + 1}" max="{column + 1}" width="{width}"{style} customWidth="1"/>'
    return xml_bytes.prefixed(xml, survey.prefix)


def _part(tag: bytes, first: int, last: int) -> bytes:
    """Return a `col` for only some of its columns."""
    new = xml_bytes.with_attribute(tag, "min", str(first + 1))
    new = xml_bytes.with_attribute(new, "max", str(last + 1))
    return new if new.endswith(b"/>") else new[:-1] + b"/>"
