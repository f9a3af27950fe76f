"""Parts that only writing answers reads may be hostile too: one sentence, and bounded work."""

from __future__ import annotations

import copy
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from rowfleet.errors import InputError
from rowfleet.recipes.loading import parse
from rowfleet.settings import load_settings
from submitter.cli.asked import Asked
from submitter.cli.setup import opened_sheet
from submitter.results import columns
from submitter.results.export import Target
from submitter.results.write_back import header_texts, relations, survey, tables, xml_bytes
from submitter.results.write_back.refusals import check_parts
from submitter.results.write_back.relations import MAX_CHANGED_BYTES, Parts
from submitter.results.write_back.survey import HeaderCell
from submitter.sheets.package import open_package
from tests.support import packages
from tests.support.odd_workbooks import BODY, HEADER, TYPES, sheet, values, written
from tests.support.workbooks import NS, SHEET_PART, rewrite, shared, with_rows, with_shared

OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
RELATIONS_PART = "xl/worksheets/_rels/sheet1.xml.rels"
TABLE_PART = "xl/tables/table1.xml"
#: Begins as UTF-16, and ends within half a surrogate pair.
BROKEN_UTF_16 = b"\xff\xfe<\0t\0a\0\x00\xd8b"


def relation(kind: str, target: str, mode: str = "") -> str:
    return f'<Relationship Id="r" Type="{OFFICE}/{kind}" Target="{target}"{mode}/>'


def with_relations(path: Path, xml: str, table: bytes = b"") -> Path:
    with_rows(path, BODY)
    around = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "a") as package:
        package.writestr(RELATIONS_PART, f'<Relationships xmlns="{around}">{xml}</Relationships>')
        package.writestr(TABLE_PART, table)
    return path


def table_xml(more: str = "") -> bytes:
    columns = '<tableColumn id="1" name="Vendor"/><tableColumn id="2" name="Amount"/>'
    return (
        f'<table xmlns="{NS}" id="1" name="T" displayName="T" ref="A1:B2">'
        f'<tableColumns count="2">{columns}</tableColumns>{more}</table>'
    ).encode()


def tables_in(path: Path) -> list[tables.Table]:
    with path.open("rb") as file, open_package(file, path.name) as package:
        return tables.tables_of(Parts(package, path.name), SHEET_PART)


def test_utf_16_that_is_none_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"^the part 'x' is not well-formed UTF-16$"):
        xml_bytes.decoded(BROKEN_UTF_16, "the part 'x'")


def test_a_table_and_relations_that_are_no_utf_16_stay_as_they_are(tmp_path: Path) -> None:
    source = with_relations(
        tmp_path / "in.xlsx", relation("table", "../tables/table1.xml"), BROKEN_UTF_16
    )
    assert packages.parts_of(out := written(source))[TABLE_PART] == BROKEN_UTF_16
    assert ">late</t>" in sheet(out)
    rewrite(source, RELATIONS_PART, lambda _: BROKEN_UTF_16)
    assert packages.parts_of(out := written(source))[RELATIONS_PART] == BROKEN_UTF_16
    assert ">late</t>" in sheet(out)


LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("</row><row", f'<c r="D1" t="s"><v>{LONG}</v></c></row><row'),
        ('<row r="2">', f'<row r="2" spans="1:{LONG}" >'),
        ("<sheetData>", f'<cols><col min="1" max="{LONG}" width="9"/></cols><sheetData>'),
    ],
    ids=["index of a string", "spans of a row", "last column of a width"],
)
def test_a_number_of_many_digits_is_none(tmp_path: Path, old: str, new: str) -> None:
    source = with_shared(tmp_path / "in.xlsx", BODY, ["x"])
    rewrite(source, SHEET_PART, lambda xml: xml.replace(old.encode(), new.encode(), 1))
    assert ">late</t>" in sheet(written(source))


def test_a_column_of_a_table_with_an_id_of_many_digits_grows() -> None:
    part = table_xml().replace(b'id="2"', f'id="{LONG}"'.encode())
    assert b'<tableColumn id="2" name="x"/>' in tables.grown(part, "the part 'x'", ["x"])


def test_a_member_with_too_long_a_field_is_one_sentence(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("xl/media/x.png", b"abc")
        member = package.getinfo("xl/media/x.png")
        member.extra = struct.pack("<HH", 0x9999, 65_523) + b"x" * 65_523
        member.file_size = (1 << 31) - 1
    with pytest.raises(InputError, match=r"^in.xlsx: the part 'xl/media/x.png' has too long a"):
        written(source)


def test_members_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("xl/media/0.png", bytes(10_000))
        again = copy.copy(package.getinfo("xl/media/0.png"))
        again.filename = "xl/media/1.png"
        package.filelist.append(again)
    with pytest.raises(InputError, match=r"^in.xlsx: the zip holds members that lie over each"):
        written(source)


def test_a_member_that_reaches_into_the_directory_is_refused(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("xl/media/0.png", b"abc")
        package.getinfo("xl/media/0.png").compress_size = 5_000
    with pytest.raises(InputError, match=r"^in.xlsx: truncated or damaged"):
        written(source)


def test_a_table_part_is_read_once_however_many_relations_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = relation("table", "../tables/table1.xml") + relation("table", "/xl/Tables/TABLE1.xml")
    source = with_relations(tmp_path / "in.xlsx", many * 50, table_xml())
    read = []
    original = Parts.read
    monkeypatch.setattr(Parts, "read", lambda self, part: read.append(part) or original(self, part))
    assert [table.path for table in tables_in(source)] == [TABLE_PART]
    assert read == [RELATIONS_PART, TABLE_PART]


def test_tables_that_unpack_to_too_much_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = relation("table", "../tables/table1.xml")
    source = with_relations(tmp_path / "in.xlsx", target, table_xml())
    monkeypatch.setattr(tables, "MAX_TABLES_BYTES", len(table_xml()))
    assert len(tables_in(source)) == 1
    monkeypatch.setattr(tables, "MAX_TABLES_BYTES", len(table_xml()) - 1)
    with pytest.raises(InputError, match=r"^in.xlsx: the sheet's tables unpack to \d+ bytes, more"):
        tables_in(source)


def test_relations_are_bounded_and_links_to_the_web_are_not_counted_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    links = relation("hyperlink", "https://example.com", ' TargetMode="External"') * 5
    source = with_relations(tmp_path / "in.xlsx", links + relation("drawing", "x") * 3)
    monkeypatch.setattr(relations, "MAX_ENTRIES", 3)
    with source.open("rb") as file, open_package(file, "in.xlsx") as package:
        parts = Parts(package, "in.xlsx")
        assert len(relations.relations_of(parts, SHEET_PART)) == 3
        monkeypatch.setattr(relations, "MAX_ENTRIES", 2)
        with pytest.raises(InputError, match="has more than 2 relations to other parts"):
            relations.relations_of(parts, SHEET_PART)
        monkeypatch.setattr(relations, "MAX_RELATIONS", 7)
        with pytest.raises(InputError, match="has more elements than a spreadsheet needs"):
            relations.relations_of(parts, SHEET_PART)


def test_columns_of_a_table_are_added_once(tmp_path: Path) -> None:
    part = table_xml("<tableColumns/>" * 1_000)
    grown = tables.grown(part, "the part 'x'", ["AI_Why"])
    assert grown.count(b'name="AI_Why"') == 1
    assert len(grown) < len(part) + 100


class Piece(str):
    """A text that counts how often it is joined to another one by `+`."""

    sums = 0

    def __add__(self, other: str) -> Piece:
        Piece.sums += 1
        return Piece(str(self) + other)

    def __radd__(self, other: str) -> Piece:
        return self + other


def test_the_pieces_of_a_header_are_not_added_one_by_one(tmp_path: Path) -> None:
    strings = header_texts._Strings("the part 'x'", {0})
    strings._path = ["sst", "si", "t"]
    surveyor = survey._Surveyor("the part 'x'", 0, 1)
    surveyor._path = ["worksheet", "sheetData", "row", "c", "v"]
    surveyor._cell = HeaderCell()
    for _ in range(10):
        strings._text(Piece("a"))
        surveyor._text(Piece("a"))
    assert Piece.sums == 0


def test_a_header_in_pieces_is_read_whole(tmp_path: Path) -> None:
    runs = "".join(f"<r><t>{letter}</t></r>" for letter in "AI_Why")
    rows = f'<row r="1">{HEADER}<c r="C1" t="inlineStr" ><is>{runs}</is></c>{shared("D1", 0)}</row>'
    source = with_shared(tmp_path / "in.xlsx", rows + BODY[BODY.index('<row r="2"') :], ["x"])
    rewrite(
        source,
        "xl/sharedStrings.xml",
        lambda old: old.replace(b"<t>x</t>", runs.encode()),
    )
    header = values(written(source))[0]
    assert header[2] == "AI_Why"
    assert header[-1] == "AI_Why_2"


def opened_for(path: Path, **options: Any) -> None:
    """Open the sheet as `rowfleet local` and `submit --export` do, a dry run included."""
    recipe = parse("name: r\nprompt: p\noutput: {type: object, properties: {a: {}}}", "r.yaml")
    target = Target(path.with_name("out.xlsx"), path, **options)
    with opened_sheet(path, Asked(), recipe, load_settings({}), finished=target):
        pass


def with_macros(path: Path) -> Path:
    kind = b"openxmlformats-officedocument.spreadsheetml.sheet.main"
    rewrite(path, TYPES, lambda old: old.replace(kind, b"ms-excel.sheet.macroEnabled.main"))
    return path


def test_what_stops_a_finished_workbook_is_found_before_the_first_row(tmp_path: Path) -> None:
    good = with_relations(tmp_path / "in.xlsx", relation("table", "x"), table_xml())
    opened_for(good)
    bad = with_macros(good)
    with pytest.raises(InputError, match=r"in.xlsx: is a workbook with macros, so .* --plain$"):
        opened_for(bad)
    opened_for(bad, plain=True)
    too_much = with_rows(tmp_path / "in.xlsx", BODY)
    rewrite(too_much, packages.STYLES, lambda old: old + b" " * MAX_CHANGED_BYTES)
    with pytest.raises(InputError, match=r"'xl/styles.xml' unpacks to 40 MiB, more than 40 MiB"):
        opened_for(too_much)
    opened_for(too_much, plain=True)


def test_a_part_that_only_a_copy_reads_is_looked_at_before_the_first_row(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("xl/media/x.png", b"abc")
        at = package.getinfo("xl/media/x.png").header_offset
    with source.open("r+b") as file:
        file.seek(at)
        file.write(b"XX")
    with pytest.raises(InputError, match="truncated or damaged"):
        opened_for(source)
    opened_for(source, plain=True)


def test_damage_that_write_back_lives_with_is_not_refused(tmp_path: Path) -> None:
    source = with_relations(tmp_path / "in.xlsx", "<", b"<")
    rewrite(source, "_rels/.rels", lambda _: b"<")
    opened_for(source)
    assert ">late</t>" in sheet(written(source))


def test_the_rows_are_not_walked_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    opened = []
    original = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile,
        "open",
        lambda self, name, *args: opened.append(name) or original(self, name, *args),
    )
    check_parts(
        source,
        name="in.xlsx",
        sheet="Refunds",
        header_row=0,
        edge=1,
        new_columns=1,
        macros=False,
    )
    assert packages.STYLES in opened
    assert SHEET_PART not in opened


def test_a_part_in_utf_16_is_decoded_in_pieces_whole() -> None:
    text = "<a>\U0001f600" + "\u4e00\U0001f600" * 400_000 + "</a>"
    xml, codec = xml_bytes.decoded(b"\xff\xfe" + text.encode("utf-16-le"), "x")
    assert (xml.decode(), codec) == ("\ufeff" + text, "utf-16-le")


def test_only_the_attributes_that_matter_are_kept() -> None:
    xml = b'<a b="1" c="2"><a c="3"/></a>'
    assert [each.attributes for each in xml_bytes.elements(xml, "x", {"a"}, kept=("b",))] == [
        {"b": "1"},
        {},
    ]


def test_utf_16_is_bounded_before_it_is_decoded() -> None:
    blanks = bytes.fromhex("2000") * (xml_bytes.MAX_UTF_16_BYTES // 2 - 1)
    assert len(xml_bytes.decoded(b"\xff\xfe" + blanks, "x")[0]) == len(blanks) // 2 + 3
    with pytest.raises(InputError, match=r"^the part 'x' has more than 16 MiB in UTF-16$"):
        xml_bytes.decoded(b"\xff\xfe" + blanks + b" \0", "the part 'x'")


@pytest.mark.parametrize(("place", "fits"), [("A1:XFC2", True), ("A1:XFD2", False)])
def test_a_table_that_leaves_no_room_is_found_before_the_first_row(
    tmp_path: Path, place: str, fits: bool
) -> None:
    target = relation("table", "../tables/table1.xml")
    table = table_xml().replace(b"A1:B2", place.encode())
    source = with_relations(tmp_path / "in.xlsx", target, table)

    def check(header_row: int, new_columns: int) -> None:
        check_parts(
            source,
            name="in.xlsx",
            sheet="Refunds",
            header_row=header_row,
            edge=1,
            new_columns=new_columns,
            macros=False,
        )

    check(header_row=2, new_columns=2)  # the table ends above the answers
    check(header_row=0, new_columns=0)
    if fits:
        check(header_row=0, new_columns=1)
    else:
        with pytest.raises(InputError, match=r"reach beyond the last column .* --plain$"):
            check(header_row=0, new_columns=1)
    with pytest.raises(InputError, match="reach beyond the last column"):
        opened_for(source)
    opened_for(source, plain=True)


@pytest.mark.parametrize(
    ("rows", "below", "fits"),
    [
        ("{}", '<mergeCells><mergeCell ref="D2:XEZ2"/></mergeCells>', False),
        ("{}", '<mergeCells><mergeCell ref="D1:XEZ1"/></mergeCells>', False),
        ("{}", '<mergeCells><mergeCell ref="D2:XEX2"/></mergeCells>', True),
        ("{}", '<mergeCells><mergeCell ref="A4:XFD4"/></mergeCells>', True),
        ('{}<row r="3"><c r="XEZ3"><v>1</v></c></row>', "", False),
        ('{}<row r="3"><c r="XEX3"><v>1</v></c></row>', "", True),
        ('{}<row r="3"><c r="A3"><v>1</v></c><c r="XEZ3"><f>1+1</f></c></row>', "", False),
        ('{}<row r="9"><c r="XEZ9" s="1"/></row>', "", True),
    ],
)
def test_cells_that_leave_no_room_are_found_before_the_first_row(
    tmp_path: Path, rows: str, below: str, fits: bool
) -> None:
    """Beside five answers there is room up to column XEY."""
    source = with_rows(tmp_path / "in.xlsx", rows.format(BODY))
    rewrite(
        source,
        SHEET_PART,
        lambda old: old.replace(b"</sheetData>", b"</sheetData>" + below.encode()),
    )
    recipe = parse("name: r\nprompt: p\noutput: {type: object, properties: {a: {}}}", "r.yaml")
    headers = columns.least_headers(recipe)
    for put in (opened_for, lambda path: written(path, {}, headers=headers)):
        if fits:
            put(source)
        else:
            with pytest.raises(InputError, match="reach beyond the last column"):
                put(source)
