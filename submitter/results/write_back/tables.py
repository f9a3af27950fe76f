"""Tables of a worksheet, and the columns that they get."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from rowfleet.errors import InputError
from submitter.results.cell_xml import escaped
from submitter.results.write_back import ranges, xml_bytes
from submitter.results.write_back.ranges import Range
from submitter.results.write_back.relations import Parts, Relation, relations_of
from submitter.results.write_back.xml_bytes import MAX_FOUND, Edit, Element

#: Bytes that the tables of one sheet unpack to (8 MiB); one of 16,384 columns has some 2 MB.
MAX_TABLES_BYTES = 8 << 20


@dataclass(frozen=True, slots=True)
class Table:
    """A table part."""

    path: str
    range: Range
    columns: tuple[str, ...]
    #: Whether its first row holds its header, and no query fills it.
    can_grow: bool


def tables_of(parts: Parts, sheet_path: str) -> list[Table]:
    """Return the tables of a worksheet; what is damaged of them is none, and stays as it is."""
    relations: Sequence[Relation] = ()
    with suppress(InputError):
        relations = relations_of(parts, sheet_path)
    # Many relations may lead to one part.
    targets = dict.fromkeys(parts.find(each.target) for each in relations if each.kind == "table")
    members = {member.filename: member.file_size for member in parts.package.infolist()}
    paths = [path for path in targets if path in members]
    unpacked = sum(members[path] for path in paths)
    if unpacked > MAX_TABLES_BYTES:
        raise InputError(
            f"{parts.name}: the sheet's tables unpack to {unpacked:,} bytes, more than "
            f"{MAX_TABLES_BYTES >> 20} MiB"
        )
    found: list[Table] = []
    columns = 0
    for path in paths:
        with suppress(InputError):
            found += (read := _read(parts, path))
            columns += sum(len(table.columns) for table in read)
        if columns > MAX_FOUND:
            break  # more columns than a worksheet can have
    return found


def _read(parts: Parts, path: str) -> list[Table]:
    where = parts.where(path)
    xml, _ = xml_bytes.decoded(parts.read(path), where)
    elements = xml_bytes.elements(xml, where, {"table", "tableColumn"})
    place = ranges.parse(elements[0].attributes.get("ref", "")) if elements else None
    return [] if place is None else [_table(path, place, elements)]


def _table(path: str, place: Range, elements: Sequence[Element]) -> Table:
    attributes = elements[0].attributes
    names = tuple(e.attributes.get("name", "") for e in elements if e.tag == "tableColumn")
    can_grow = (
        attributes.get("tableType", "worksheet") == "worksheet"
        and attributes.get("headerRowCount", "1") == "1"
        and len(names) == place.right - place.left + 1
    )
    return Table(path, place, names, can_grow)


def grown(part: bytes, where: str, names: Sequence[str]) -> bytes:
    """Return a table's part with columns of these names at its right."""
    xml, codec = xml_bytes.decoded(part, where)
    wanted = {"table", "autoFilter", "tableColumns", "tableColumn"}
    elements = xml_bytes.elements(xml, where, wanted)
    columns = [element for element in elements if element.tag == "tableColumn"]
    has_grown = False  # a table holds its columns once; what repeats them stays as it is
    edits = []
    for element in elements:
        tag = xml[element.start : element.inner]
        if element.tag == "table" or (element.tag == "autoFilter" and element.parent == "table"):
            place = ranges.parse(element.attributes.get("ref", ""))
            if place is not None:
                right = place.right + len(names)
                ref = str(place.reaching(right=right))
                edits.append(
                    Edit(element.start, element.inner, xml_bytes.with_attribute(tag, "ref", ref))
                )
        elif element.tag == "tableColumns" and not has_grown:
            edits += _columns(xml, element, columns, names)
            has_grown = True
    return xml_bytes.encoded(xml_bytes.edited(xml, edits), codec)


def _columns(
    xml: bytes, holder: Element, columns: Sequence[Element], names: Sequence[str]
) -> list[Edit]:
    tag = xml[holder.start : holder.inner]
    count = str(len(columns) + len(names))
    ids = (xml_bytes.number(column.attributes.get("id", "")) for column in columns)
    last = max((each for each in ids if each is not None), default=len(columns))
    added = "".join(
        f'<tableColumn id="{number}" name="{_name(name)}"/>'
        for number, name in enumerate(names, last + 1)
    )
    at = holder.inner_end
    return [
        Edit(holder.start, holder.inner, xml_bytes.with_attribute(tag, "count", count)),
        Edit(at, at, xml_bytes.prefixed(added, xml_bytes.prefix_of(tag))),
    ]


def _name(text: str) -> str:
    # An attribute's line breaks are read as blanks, so they are escaped as Excel does it.
    return re.sub(r"[\t\n\r]", lambda found: f"_x{ord(found[0]):04x}_", escaped(text)).replace(
        '"', "&quot;"
    )
