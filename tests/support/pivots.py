"""Pivot tables for a workbook that XlsxWriter made, which can't make any."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from xml.sax.saxutils import quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006/relationships"
KIND = "application/vnd.openxmlformats-officedocument.spreadsheetml."
CACHE = "xl/pivotCache/pivotCacheDefinition1.xml"
RECORDS = "xl/pivotCache/pivotCacheRecords1.xml"

#: A vendor, the number of the invoice, its date, its amount, whether it is paid.
Invoice = tuple[str, str, date, float, bool]


def add_pivots(path: Path, source: str, rows: Sequence[Invoice], places: Sequence[str]) -> None:
    """Add a pivot table of the sums of each vendor to the sheets 1, 2, … at ``places``.

    ``source`` is the range of the table on the sheet `Invoices`. The cells of the pivots are there.
    """
    parts = {
        CACHE: _cache(source, rows),
        RECORDS: _records(rows),
        _relations_of(CACHE): _relations(("pivotCacheRecords", "pivotCacheRecords1.xml")),
    }
    for number, place in enumerate(places, 1):
        pivot = f"xl/pivotTables/pivotTable{number}.xml"
        parts[pivot] = _pivot(f"Pivot{number}", place, rows)
        cache = ("pivotCacheDefinition", "../pivotCache/pivotCacheDefinition1.xml")
        parts[_relations_of(pivot)] = _relations(cache)
        sheet = ("pivotTable", f"../pivotTables/pivotTable{number}.xml")
        parts[_relations_of(f"xl/worksheets/sheet{number}.xml")] = _relations(sheet)
    with zipfile.ZipFile(path) as package:
        old = {name: package.read(name).decode() for name in package.namelist()}
    kinds = {CACHE: "pivotCacheDefinition", RECORDS: "pivotCacheRecords"}
    listed = "".join(
        f'<Override PartName="/{part}" ContentType="{KIND}{kinds.get(part, "pivotTable")}+xml"/>'
        for part in parts
        if not part.endswith(".rels")
    )
    old["[Content_Types].xml"] = old["[Content_Types].xml"].replace("</Types>", f"{listed}</Types>")
    related = _relation(99, "pivotCacheDefinition", "pivotCache/pivotCacheDefinition1.xml")
    of_book = "xl/_rels/workbook.xml.rels"
    old[of_book] = old[of_book].replace("</Relationships>", f"{related}</Relationships>")
    caches = '<pivotCaches><pivotCache cacheId="7" r:id="rId99"/></pivotCaches></workbook>'
    old["xl/workbook.xml"] = old["xl/workbook.xml"].replace("</workbook>", caches)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in (old | parts).items():
            package.writestr(name, content)


def _relations_of(part: str) -> str:
    folder, _, file = part.rpartition("/")
    return f"{folder}/_rels/{file}.rels"


def _relation(number: int, kind: str, target: str) -> str:
    return f'<Relationship Id="rId{number}" Type="{OFFICE}/{kind}" Target="{target}"/>'


def _relations(*found: tuple[str, str]) -> str:
    each = "".join(_relation(number, *one) for number, one in enumerate(found, 1))
    return f'<Relationships xmlns="{PACKAGE}">{each}</Relationships>'


def _vendors(rows: Sequence[Invoice]) -> list[str]:
    return sorted({row[0] for row in rows})


def _cache(source: str, rows: Sequence[Invoice]) -> str:
    vendors = "".join(f"<s v={quoteattr(name)}/>" for name in _vendors(rows))
    amounts = [row[3] for row in rows]
    days = [row[2].isoformat() for row in rows]
    fields = (
        f'<sharedItems count="{len(_vendors(rows))}">{vendors}</sharedItems>',
        "<sharedItems/>",
        '<sharedItems containsSemiMixedTypes="0" containsNonDate="0" containsDate="1" '
        f'containsString="0" minDate="{min(days)}T00:00:00" maxDate="{max(days)}T00:00:00"/>',
        '<sharedItems containsSemiMixedTypes="0" containsString="0" containsNumber="1" '
        f'minValue="{min(amounts)}" maxValue="{max(amounts)}"/>',
        "<sharedItems/>",
    )
    names = ("Vendor", "Invoice", "Date", "Amount", "Paid")
    listed = "".join(
        f'<cacheField name="{name}" numFmtId="0">{items}</cacheField>'
        for name, items in zip(names, fields, strict=True)
    )
    return (
        f'<pivotCacheDefinition xmlns="{MAIN}" xmlns:r="{OFFICE}" r:id="rId1" refreshedBy="Eva" '
        'refreshedDate="46000" createdVersion="6" refreshedVersion="6" minRefreshableVersion="3" '
        f'recordCount="{len(rows)}"><cacheSource type="worksheet"><worksheetSource ref="{source}" '
        f'sheet="Invoices"/></cacheSource><cacheFields count="{len(names)}">{listed}</cacheFields>'
        "</pivotCacheDefinition>"
    )


def _records(rows: Sequence[Invoice]) -> str:
    vendors = _vendors(rows)
    listed = "".join(
        f'<r><x v="{vendors.index(vendor)}"/><s v="{invoice}"/><d v="{day}T00:00:00"/>'
        f'<n v="{amount}"/><b v="{int(paid)}"/></r>'
        for vendor, invoice, day, amount, paid in rows
    )
    return f'<pivotCacheRecords xmlns="{MAIN}" count="{len(rows)}">{listed}</pivotCacheRecords>'


def _pivot(name: str, place: str, rows: Sequence[Invoice]) -> str:
    count = len(_vendors(rows))
    items = "".join(f'<item x="{number}"/>' for number in range(count))
    lines = "".join(f'<i><x v="{number}"/></i>' for number in range(count))
    return (
        f'<pivotTableDefinition xmlns="{MAIN}" name="{name}" cacheId="7" dataCaption="Values" '
        'applyNumberFormats="0" applyBorderFormats="0" applyFontFormats="0" '
        'applyPatternFormats="0" applyAlignmentFormats="0" applyWidthHeightFormats="1" '
        'updatedVersion="6" minRefreshableVersion="3" createdVersion="6" indent="0" outline="1" '
        f'outlineData="1"><location ref="{place}" firstHeaderRow="1" firstDataRow="1" '
        'firstDataCol="1"/><pivotFields count="5"><pivotField axis="axisRow" showAll="0">'
        f'<items count="{count + 1}">{items}<item t="default"/></items></pivotField>'
        '<pivotField showAll="0"/><pivotField numFmtId="14" showAll="0"/>'
        '<pivotField dataField="1" showAll="0"/><pivotField showAll="0"/></pivotFields>'
        f'<rowFields count="1"><field x="0"/></rowFields><rowItems count="{count + 1}">{lines}'
        '<i t="grand"><x/></i></rowItems><colItems count="1"><i/></colItems>'
        '<dataFields count="1"><dataField name="Sum of Amount" fld="3" baseField="0" '
        'baseItem="0"/></dataFields><pivotTableStyleInfo name="PivotStyleLight16" '
        'showRowHeaders="1" showColHeaders="1" showRowStripes="0" showColStripes="0"/>'
        "</pivotTableDefinition>"
    )
