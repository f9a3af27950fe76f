"""What a finished workbook may differ in from its original, compared part by part.

Nothing here uses the code that writes: parts are read with ElementTree, and cells by their tags.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

from openpyxl.utils import column_index_from_string, get_column_letter, range_boundaries

STYLES = "xl/styles.xml"


def parts_of(path: Path) -> dict[str, bytes]:
    """Return every part of a package by its name."""
    with zipfile.ZipFile(path) as package:
        assert package.testzip() is None
        return {name: package.read(name) for name in package.namelist()}


def changed_parts(original: Path, finished: Path) -> set[str]:
    """Return the parts that are not the same to the byte; none may be missing or new."""
    before, after = parts_of(original), parts_of(finished)
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def check_worksheet(before: bytes, after: bytes, first: int, last: int, top: int) -> None:
    """Compare two worksheets, of which the second has answers in columns ``first`` to ``last``
    (from 0) from row ``top`` (from 1) on: element by element, and cell by cell."""
    assert _start(before) == _start(after)
    old, new = ET.fromstring(before), ET.fromstring(after)
    old_parts = {_name(part): part for part in old}
    new_parts = {_name(part): part for part in new}
    tags = [_name(part) for part in old]
    had_columns = "cols" in tags
    assert [_name(p) for p in new if had_columns or _name(p) != "cols"] == tags
    for tag in tags:
        was, now = old_parts[tag], new_parts[tag]
        if tag == "sheetData":
            _check_rows(was, now, first, last, top)
        elif tag == "dimension":
            _check_grown(was, now, last)
        elif tag == "autoFilter":
            assert was.attrib["ref"] == now.attrib["ref"] or _check_grown(was, now, last)
            assert [ET.canonicalize(ET.tostring(x)) for x in was] == [
                ET.canonicalize(ET.tostring(x)) for x in now
            ]
        elif tag == "cols":
            _check_columns(was, now, first, last)
        else:
            same = [part for part in old if _name(part) == tag]
            same_now = [part for part in new if _name(part) == tag]
            assert [ET.tostring(x) for x in same] == [ET.tostring(x) for x in same_now]
    if not had_columns:
        _check_columns(ET.Element("cols"), new_parts["cols"], first, last)


def _start(xml: bytes) -> bytes:
    """Return all before the first child of the root: the namespaces, too."""
    found = re.match(rb"(?:\xef\xbb\xbf)?(?:<\?.*?\?>)?\s*<[^>]*>", xml, re.S)
    assert found is not None
    return found[0]


def _name(element: ET.Element) -> str:
    return element.tag.rpartition("}")[2]


def _check_grown(was: ET.Element, now: ET.Element, last: int) -> bool:
    left, top, right, bottom = range_boundaries(was.attrib["ref"])
    assert range_boundaries(now.attrib["ref"]) == (left, top, max(right or 0, last + 1), bottom)
    return True


def _check_columns(was: ET.Element, now: ET.Element, first: int, last: int) -> None:
    old, new = _columns(was), _columns(now)
    for column in range(1, 16_385):
        if not first + 1 <= column <= last + 1:
            assert new.get(column) == old.get(column)
        else:
            assert 9 <= float(new[column]["width"]) <= 60
            assert "hidden" not in new[column]
            assert new[column].get("style") == old.get(column, {}).get("style")
    places = [(int(col.attrib["min"]), int(col.attrib["max"])) for col in now]
    ends = [0, *(end for _, end in places)]
    assert all(start > before for (start, _), before in zip(places, ends, strict=False))


def _columns(cols: ET.Element) -> dict[int, Mapping[str, str]]:
    found: dict[int, Mapping[str, str]] = {}
    for col in cols:
        rest = {key: value for key, value in col.attrib.items() if key not in ("min", "max")}
        for column in range(int(col.attrib["min"]), int(col.attrib["max"]) + 1):
            found[column] = rest
    return found


def _check_rows(was: ET.Element, now: ET.Element, first: int, last: int, top: int) -> None:
    assert len(was) == len(now)
    for old, new in zip(was, now, strict=True):
        number = int(new.attrib["r"])
        assert _without_spans(old) == _without_spans(new)
        if "spans" in new.attrib and number >= top:
            assert int(new.attrib["spans"].split(":")[1]) >= _rightmost(new)
        kept = [cell for cell in new if not _is_answer(cell, first, last, number >= top)]
        before = [cell for cell in old if not _is_answer(cell, first, last, number >= top)]
        assert [ET.tostring(x) for x in before] == [ET.tostring(x) for x in kept]
        # Nothing that held a value gave way to an answer.
        assert all(not len(cell) for cell in old if cell not in before)
        places = [_column(cell) for cell in new]
        assert places == sorted(set(places))


def _without_spans(row: ET.Element) -> dict[str, str]:
    return {key: value for key, value in row.attrib.items() if key != "spans"}


def _column(cell: ET.Element) -> int:
    return column_index_from_string(re.sub(r"\d", "", cell.attrib["r"])) - 1


def _rightmost(row: ET.Element) -> int:
    return max((_column(cell) + 1 for cell in row), default=0)


def _is_answer(cell: ET.Element, first: int, last: int, below: bool) -> bool:
    return below and first <= _column(cell) <= last


def check_styles(before: bytes, after: bytes, fonts: int = 0) -> None:
    """Compare two stylesheets: what the first has stands in the second, and more behind it.

    ``fonts`` is how many fonts are new.
    """
    old, new = ET.fromstring(before), ET.fromstring(after)
    assert _start(before) == _start(after)
    names = [_name(part) for part in old]
    now = [part for part in new if _name(part) in names or _name(part) != "numFmts"]
    assert [_name(part) for part in now] == names
    for was, is_ in zip(old, now, strict=True):
        if _name(was) == "fonts":
            assert len(is_) == len(was) + fonts
        if _name(was) in ("numFmts", "fonts", "fills", "cellXfs"):
            kept = [ET.tostring(x) for x in is_][: len(was)]
            assert [ET.tostring(x) for x in was] == kept
            assert is_.attrib.get("count") in (None, str(len(is_)))
        else:
            assert ET.tostring(was) == ET.tostring(is_)


def check_table(before: bytes, after: bytes, added: Collection[str]) -> None:
    """Compare two tables, of which the second has columns of those names at its right."""
    old, new = ET.fromstring(before), ET.fromstring(after)
    left, top, right, bottom = range_boundaries(old.attrib["ref"])
    assert right is not None
    wide = f"{get_column_letter(left or 1)}{top}:{get_column_letter(right + len(added))}{bottom}"
    assert new.attrib == {**old.attrib, "ref": wide}
    for was, now in zip(old, new, strict=True):
        if _name(was) == "tableColumns":
            assert now.attrib == {"count": str(len(was) + len(added))}
            assert [ET.tostring(x) for x in was] == [ET.tostring(x) for x in now][: len(was)]
            assert [x.attrib["name"] for x in now][len(was) :] == list(added)
            ids = [x.attrib["id"] for x in now]
            assert len(set(ids)) == len(ids)
        elif _name(was) == "autoFilter":
            assert range_boundaries(now.attrib["ref"])[2] == right + len(added)
        else:
            assert ET.tostring(was) == ET.tostring(now)
