"""The workbook's own part, whose names may hold the range of a filter."""

from __future__ import annotations

from submitter.results.write_back import ranges, xml_bytes
from submitter.results.write_back.ranges import Range
from submitter.results.write_back.relations import Parts
from submitter.results.write_back.xml_bytes import Edit

#: The name under which a workbook keeps what a sheet's filter covers; LibreOffice goes by it.
_FILTER = "_xlnm._FilterDatabase"


def with_filter(parts: Parts, path: str, title: str, old: str, new: Range) -> dict[str, bytes]:
    """Return the part, as path → content, with the grown filter of the sheet ``title``.

    Nothing is returned if the part does not say the ``old`` range of that sheet.
    """
    where = parts.where(path)
    xml, codec = xml_bytes.decoded(parts.read(path), where)
    found = xml_bytes.elements(xml, where, {"sheet", "definedName"})
    sheets = [e.attributes.get("name") for e in found if e.tag == "sheet" and e.parent == "sheets"]
    before = ranges.parse(old)
    if title not in sheets or before is None:
        return {}
    index = str(sheets.index(title))
    edits = []
    for element in found:
        attributes = element.attributes
        if attributes.get("name") == _FILTER and attributes.get("localSheetId") == index:
            text = xml[element.inner : element.inner_end]
            sheet, _, place = text.rpartition(b"!")
            if ranges.parse(place.decode()) == before:
                grown = sheet + b"!" + new.absolute.encode()
                edits.append(Edit(element.inner, element.inner_end, grown))
    if not edits:
        return {}
    return {path: xml_bytes.encoded(xml_bytes.edited(xml, edits), codec)}
