"""Relations between the parts of a package, and the list of their content types."""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rowfleet.errors import InputError
from submitter.results.write_back import xml_bytes
from submitter.results.write_back.xml_bytes import Edit, Element
from submitter.sheets.package import Members, opened_raw
from submitter.sheets.workbook import CONTENTS, MAX_ENTRIES

#: The folder of a package's signatures (ECMA-376 part 2, 12.2.1 names only their relation).
SIGNATURES = "_xmlsignatures/"

#: Bytes of a part that is changed in memory (40 MiB). A stylesheet of 65,490 formats and as many
#: named styles, each with all attributes, has 39 MB.
MAX_CHANGED_BYTES = 40 << 20

#: Relations of a part, links to the web among them: Excel keeps up to 65,530 links of a sheet.
MAX_RELATIONS = 65_530 + MAX_ENTRIES

_RELATION = "http://schemas.openxmlformats.org/package/2006/relationships}Relationship"
#: The attributes of a relation that say something here.
_KEPT = ("Type", "Target", "TargetMode")
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types}"

#: Content type of a template's workbook → that of a workbook.
_WORKBOOK_OF_TEMPLATE = {
    "application/vnd.openxmlformats-officedocument.spreadsheetml.template.main+xml": (
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"
    ),
    "application/vnd.ms-excel.template.macroEnabled.main+xml": (
        "application/vnd.ms-excel.sheet.macroEnabled.main+xml"
    ),
}


class Parts(Members):
    """The parts of a package: their names, and their bytes."""

    def __init__(self, package: zipfile.ZipFile, name: str) -> None:
        """``name`` is what errors call the file."""
        super().__init__(package.namelist())
        self.package = package
        self.name = name

    def read(self, member: str) -> bytes:
        """Return a part that is changed in memory."""
        with opened_raw(self.package, member, self.name, MAX_CHANGED_BYTES) as stream:
            return stream.read()

    def where(self, member: str) -> str:
        """Return how errors about a part begin."""
        return f"{self.name}: the part {member[:100]!r}"


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation of a part: its kind, the last word of its type, and the part it leads to."""

    kind: str
    target: str
    element: Element


def is_signature(part: str) -> bool:
    """Tell whether a part is one of a signature, which a changed workbook does without."""
    return part.casefold().startswith(SIGNATURES)


def relations_part(part: str) -> str:
    """Return the path of the part that holds the relations of ``part``; of the package if empty."""
    folder, file = posixpath.split(part)
    return posixpath.join(folder, "_rels", f"{file}.rels")


def relations_of(parts: Parts, part: str) -> list[Relation]:
    """Return the relations of a part to other parts of the package."""
    path = parts.find(relations_part(part))
    if path is None:
        return []
    where = parts.where(path)
    xml, _ = xml_bytes.decoded(parts.read(path), where)
    found = [
        element
        for element in xml_bytes.elements(xml, where, {_RELATION}, MAX_RELATIONS, _KEPT)
        if element.attributes.get("TargetMode") != "External"
    ]
    if len(found) > MAX_ENTRIES:
        raise InputError(f"{where} has more than {MAX_ENTRIES:,} relations to other parts")
    return [
        Relation(
            element.attributes.get("Type", "").rpartition("/")[2],
            _resolved(posixpath.dirname(part), element.attributes.get("Target", "")),
            element,
        )
        for element in found
    ]


def _resolved(folder: str, target: str) -> str:
    if target.startswith("/"):
        return posixpath.normpath(target).lstrip("/")
    return posixpath.normpath(posixpath.join(folder, target))


def first(relations: Sequence[Relation], kind: str) -> str:
    """Return the part that the first relation of a kind leads to, empty if there is none."""
    return next((relation.target for relation in relations if relation.kind == kind), "")


def without(parts: Parts, part: str, dropped: Collection[str]) -> dict[str, bytes]:
    """Return the relations of ``part``, as path → content, without those to ``dropped`` parts."""
    if not dropped:
        return {}  # a part that is not needed may be damaged
    gone = [each for each in relations_of(parts, part) if parts.find(each.target) in dropped]
    path = parts.find(relations_part(part))
    if path is None or not gone:
        return {}
    xml, codec = xml_bytes.decoded(parts.read(path), parts.where(path))
    edits = [Edit(relation.element.start, relation.element.end, b"") for relation in gone]
    return {path: xml_bytes.encoded(xml_bytes.edited(xml, edits), codec)}


class ContentTypes:
    """The list of content types, and what it says of the workbook."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        #: The member that holds the list, None if there is none.
        self.member = parts.find(CONTENTS)
        self._xml, self._codec, self._entries = b"", None, list[Element]()
        if self.member is not None:
            where = parts.where(self.member)
            self._xml, self._codec = xml_bytes.decoded(parts.read(self.member), where)
            wanted = {f"{_TYPES}Override", f"{_TYPES}Default"}
            self._entries = xml_bytes.elements(self._xml, where, wanted)

    @property
    def has_macros(self) -> bool:
        """Whether the workbook may hold macros, so that its file must be an .xlsm."""
        kinds = (entry.attributes.get("ContentType", "").lower() for entry in self._entries)
        return any("macroenabled" in kind and kind.endswith(".main+xml") for kind in kinds)

    def changed(self, dropped: Collection[str]) -> bytes | None:
        """Return the list without ``dropped`` parts and with a template as a workbook; None if
        nothing changes."""
        edits = []
        for entry in self._entries:
            if self._parts.find(entry.attributes.get("PartName")) in dropped:
                edits.append(Edit(entry.start, entry.end, b""))
            kind = _WORKBOOK_OF_TEMPLATE.get(entry.attributes.get("ContentType", ""))
            if kind is not None:
                tag = self._xml[entry.start : entry.inner]
                new = xml_bytes.with_attribute(tag, "ContentType", kind)
                edits.append(Edit(entry.start, entry.inner, new))
        return xml_bytes.encoded(xml_bytes.edited(self._xml, edits), self._codec) if edits else None

    def with_parts(self, parts: Iterable[tuple[str, str]]) -> bytes:
        """Return the list with new parts, each as its absolute path and its content type."""
        last = self._entries[-1] if self._entries else None
        if last is None:
            raise InputError(f"{self._parts.where(CONTENTS)} lists nothing")
        prefix = xml_bytes.prefix_of(self._xml[last.start : last.inner])
        new = b"".join(
            xml_bytes.prefixed(f'<Override PartName="{path}" ContentType="{kind}"/>', prefix)
            for path, kind in parts
        )
        edited = xml_bytes.edited(self._xml, [Edit(last.end, last.end, new)])
        return xml_bytes.encoded(edited, self._codec)
