"""Answers find their place in workbooks of any program, however it writes XML and zips."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import openpyxl
import pytest
from openpyxl.styles import Font

from rowfleet.errors import InputError
from submitter.results.write_back.answer_cells import AnsweredRow
from submitter.results.write_back.finished import Written, write_back
from tests.support import packages, workbooks
from tests.support.odd_workbooks import (
    BODY,
    EXPECTED,
    HEADER,
    TYPES,
    re_cells,
    re_find,
    sheet,
    values,
    written,
)
from tests.support.workbooks import NS, SHEET_PART, rewrite, save, shared, text, with_rows


def test_prefixed_tags_get_prefixed_answers(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", "")

    def prefix(_: bytes) -> bytes:
        body = BODY.replace("<", "<x:").replace("<x:/", "</x:")
        return (
            f'<x:worksheet xmlns:x="{NS}"><x:sheetData>{body}</x:sheetData></x:worksheet>'.encode()
        )

    rewrite(source, SHEET_PART, prefix)
    out = written(source)
    root = ET.fromstring(sheet(out))
    assert {element.tag.partition("}")[0] for element in root.iter()} == {f"{{{NS}"}
    assert "<c " not in sheet(out)
    assert values(out) == EXPECTED


@pytest.mark.parametrize("codec", ["utf-16", "utf-16-le", "utf-16-be"])
def test_a_part_in_utf_16_stays_one(tmp_path: Path, codec: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY.replace("Acme", "Acmé \U0001f600"))
    declared = f'<?xml version="1.0" encoding="{codec[:6]}"?>'

    def encode(old: bytes) -> bytes:
        return ("\ufeff" * (codec != "utf-16") + declared + old.decode()).encode(codec)

    rewrite(source, SHEET_PART, encode)
    out = written(source)
    part = packages.parts_of(out)[SHEET_PART].decode(codec)
    assert part.lstrip("\ufeff").startswith(declared)
    assert ET.fromstring(packages.parts_of(out)[SHEET_PART]).find(f".//{{{NS}}}row") is not None
    assert "Acmé \U0001f600" in part
    assert "late" in part


ODD_ROWS = {
    "rows and cells without places": (
        "<row><c t='inlineStr'><is><t>Vendor</t></is></c>"
        "<c t='inlineStr'><is><t>Amount</t></is></c></row>"
        "<row><c t='inlineStr'><is><t>Acme</t></is></c><c><v>1</v></c></row>"
    ),
    "CDATA and comments": (
        f'<row r="1">{HEADER}</row><!-- <row r="2"></row> --><row r="2">'
        '<c r="A2" t="inlineStr"><is><t><![CDATA[Acme]]></t></is></c><!-- > -->'
        '<c r="B2"><v>1</v></c><?app </row>?></row>'
    ),
    "apostrophes, blanks and brackets in tags": (
        f"<row  r='1' >{HEADER}</row\n><row r = '2' spans='1:2' ><c r='A2' t='inlineStr' ><is><t>"
        "Acme</t></is></c ><c r='B2' ><v>1</v></c></row >"
    ),
    "cells with rich text": (
        f'<row r="1">{HEADER}</row><row r="2"><c r="A2" t="inlineStr"><is><r><t>Ac</t></r>'
        '<r><rPr><b/></rPr><t>me</t></r></is></c><c r="B2"><v>1</v></c></row>'
    ),
}


@pytest.mark.parametrize("name", ODD_ROWS)
def test_odd_rows_get_answers_and_stay_as_they_are(tmp_path: Path, name: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", ODD_ROWS[name])
    out = written(source)
    assert values(out) == EXPECTED
    # All that was there is there, to the byte: take the answers out again.
    new = sheet(out)
    for cell in re_cells(new, "CD"):
        new = new.replace(cell, "")
    new = new.replace(re_find(r"<cols>.*</cols>", new), "").replace("spans='1:4'", "spans='1:2'")
    assert new == sheet(source)


def test_an_empty_row_element_takes_answers(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", f'{BODY}<row r="3" ht="20" customHeight="1"/>')
    out = written(source, {2: [True, "late"], 3: [False, None]}, last_row=2)
    assert '<row r="3" ht="20" customHeight="1"><c r="C3"' in sheet(out)
    assert values(out)[2] == (None, None, False, None)


def test_rows_without_answers_stay_to_the_byte(tmp_path: Path) -> None:
    odd = '<row r="3"><c r="A3" ><v>5</v></c></row><row r="4"/>'
    plain = f'<row r="5">{text("A5", "Last")}</row>'
    source = with_rows(tmp_path / "in.xlsx", BODY + odd + plain)
    assert odd + plain in sheet(written(source))


def test_a_row_that_is_not_there_is_said(tmp_path: Path) -> None:
    for rows in (BODY, BODY + f'<row r="4">{text("A4", "x")}</row>'):
        source = with_rows(tmp_path / "in.xlsx", rows)
        with pytest.raises(InputError, match="has no row 3, which was read from it"):
            written(source, {2: [True, "a"], 3: [True, "b"]})


@pytest.mark.parametrize("beside", ['<c r="D2" s="0"/>', '<c r="D2" ><v></v></c>'])
def test_a_blank_cell_gives_way_and_a_value_does_not(tmp_path: Path, beside: str) -> None:
    row = f'<row r="2">{text("A2", "Acme")}<c r="B2"><v>1</v></c><c r="C2" s="0"/>{beside}</row>'
    source = with_rows(tmp_path / "in.xlsx", f'<row r="1">{HEADER}</row>{row}')
    found = values(written(source, {2: [None, "late"]}))
    is_value = "<v>" in beside
    assert found[0][4 if is_value else 2 :] == ("AI_Refund", "AI_Why")
    assert found[1][5 if is_value else 3] == "late"


def test_answers_are_filled_again_and_a_persons_column_stays(tmp_path: Path) -> None:
    """The columns stand anywhere, in any order; an answer that is gone leaves a blank cell."""

    def with_answers(sheet: Any) -> None:
        rows = [("AI_Why", "Vendor", "Checked", "AI_Refund"), ("old", "Acme", "by Eva", True)]
        for row, cells in enumerate([*rows, ("kept", "Other", "no", False)], 1):
            for column, cell in enumerate(cells, 1):
                sheet.cell(row, column, cell)

    source = save(tmp_path / "in.xlsx", (), with_answers)
    headers = ("AI_Refund", "AI_Why", "AI_Status")
    out = written(
        source,
        {2: [None, "new", "done"]},
        headers,
        answers_in=lambda texts: {text: at for at, text in texts.items() if text in headers},
    )
    assert values(out) == [
        ("AI_Why", "Vendor", "Checked", "AI_Refund", "AI_Status"),
        ("new", "Acme", "by Eva", None, "done"),
        ("kept", "Other", "no", False, None),
    ]


def test_a_header_that_is_taken_gets_a_number(tmp_path: Path) -> None:
    source = save(tmp_path / "in.xlsx", [["ai why", "AI_Why_2"], ["a", "b"]])
    assert values(written(source))[0] == ("ai why", "AI_Why_2", "AI_Refund", "AI_Why_3")


def with_calculation_chain(path: Path) -> Path:
    def formulas(sheet: Any) -> None:
        sheet["C1"], sheet["C2"] = "AI_Why", "=A2"

    save(path, [["Vendor", "Amount"], ["Acme", 1]], formulas)
    rewrite(
        path,
        TYPES,
        lambda old: old.replace(
            b"</Types>", b'<Override PartName="/xl/calcChain.xml" ContentType="c"/></Types>'
        ),
    )
    rewrite(
        path,
        "xl/_rels/workbook.xml.rels",
        lambda old: old.replace(
            b"</Relationships>",
            b'<Relationship Id="rId99" Type="http://schemas.openxmlformats.org/officeDocument/2006/'
            b'relationships/calcChain" Target="calcChain.xml"/></Relationships>',
        ),
    )
    with zipfile.ZipFile(path, "a") as package:
        package.writestr(
            "xl/calcChain.xml", f'<calcChain xmlns="{NS}"><c r="C2" i="1"/></calcChain>'
        )
    return path


def test_the_order_of_calculation_goes_only_with_a_formula_that_an_answer_replaces(
    tmp_path: Path,
) -> None:
    """Excel repairs a workbook whose chain names a cell without a formula."""
    source = with_calculation_chain(tmp_path / "in.xlsx")
    beside = packages.parts_of(written(source, {2: ["late"]}, ("AI_Refund",)))
    assert "xl/calcChain.xml" in beside
    over = packages.parts_of(
        written(source, {2: ["late"]}, ("AI_Why",), answers_in=lambda _: {"AI_Why": 2})
    )
    assert "xl/calcChain.xml" not in over
    assert b"calcChain" not in over[TYPES] + over["xl/_rels/workbook.xml.rels"]


def test_a_signature_is_dropped_and_that_is_said(tmp_path: Path) -> None:
    source = save(tmp_path / "in.xlsx", [["Vendor", "Amount"], ["Acme", 1]])
    relation = (
        b'<Relationship Id="s" Type="http://schemas.openxmlformats.org/package/2006/relationships/'
        b'digital-signature/origin" Target="_xmlsignatures/origin.sigs"/></Relationships>'
    )
    rewrite(source, "_rels/.rels", lambda old: old.replace(b"</Relationships>", relation))
    override = b'<Override PartName="/_xmlsignatures/sig1.xml" ContentType="s"/></Types>'
    rewrite(source, TYPES, lambda old: old.replace(b"</Types>", override))
    with zipfile.ZipFile(source, "a") as package:
        package.writestr("_xmlsignatures/origin.sigs", "")
        package.writestr("_xmlsignatures/sig1.xml", "<Signature/>")
    out = tmp_path / "out.xlsx"
    with out.open("w+b") as file:
        result = write_back(
            source,
            file,
            name="in.xlsx",
            sheet="Refunds",
            header_row=0,
            last_row=1,
            headers=["AI_Why"],
            rows=iter([AnsweredRow(1, "done", ["late"])]),
        )
    sentence = (
        "in.xlsx was digitally signed; the finished workbook is not, since it has more in it "
    )
    assert result == Written(1, (sentence + "than was signed",))
    parts = packages.parts_of(out)
    assert not [name for name in parts if "xmlsignatures" in name]
    assert b"sig" not in parts["_rels/.rels"] + parts[TYPES]
    assert values(out)[1] == ("Acme", 1, "late")


SPREADSHEET = "openxmlformats-officedocument.spreadsheetml"


@pytest.mark.parametrize(
    ("kind", "workbook"),
    [
        (f"{SPREADSHEET}.template", f"{SPREADSHEET}.sheet"),
        ("ms-excel.template.macroEnabled", "ms-excel.sheet.macroEnabled"),
    ],
)
def test_a_template_becomes_a_workbook(tmp_path: Path, kind: str, workbook: str) -> None:
    source = save(tmp_path / "in.xltx")
    sheet_kind = b"openxmlformats-officedocument.spreadsheetml.sheet.main"
    rewrite(source, TYPES, lambda old: old.replace(sheet_kind, f"{kind}.main".encode()))
    types = packages.parts_of(written(source))[TYPES].decode()
    assert f"application/vnd.{workbook}.main+xml" in types
    assert "template" not in types


@pytest.mark.parametrize("macros", [True, False])
def test_the_name_says_whether_there_may_be_macros(tmp_path: Path, macros: bool) -> None:
    source = save(tmp_path / "in.xlsx")
    if macros:
        kind = b"openxmlformats-officedocument.spreadsheetml.sheet.main"
        enabled = b"ms-excel.sheet.macroEnabled.main"
        rewrite(source, TYPES, lambda old: old.replace(kind, enabled))
    written(source, macros=macros)
    suffix = ".xlsm" if macros else ".xlsx"
    with pytest.raises(InputError, match=f"so the finished one is an {suffix} file"):
        written(source, macros=not macros)


def test_shared_strings_of_the_header_are_read(tmp_path: Path) -> None:
    rows = f'<row r="1">{shared("A1", 1)}{shared("B1", 2)}</row><row r="2">{shared("A2", 0)}</row>'
    source = workbooks.with_shared(tmp_path / "in.xlsx", rows, ["Acme", "AI_Why", " AI_Refund\n"])
    seen: list[Mapping[int, str]] = []

    def note(texts: Mapping[int, str]) -> dict[str, int]:
        seen.append(texts)
        return {}

    written(source, answers_in=note)
    assert seen == [{0: "AI_Why", 1: "AI_Refund"}]


def test_answers_past_the_last_column_are_refused(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY.replace('"B', '"XFC'))
    with pytest.raises(InputError, match="reach beyond the last column"):
        written(source)


def test_text_is_never_a_formula_nor_markup(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    worst = ["=1+1", "@SUM(A1)", "<c r='A1'/>]]>&amp;", "_x0041_\x0b\x00", "\ud800"]
    for value in worst:
        out = written(source, {2: [value, value]})
        found = openpyxl.load_workbook(out)["Refunds"]["C2"]
        assert found.data_type in ("s", "inlineStr")
        part = sheet(out)
        assert "<f>" not in part
        ET.fromstring(part)


def test_a_package_with_large_sizes_and_with_sizes_behind_is_copied(tmp_path: Path) -> None:
    """Members written as a stream have flags and fields that a plain copy would make wrong."""
    source = tmp_path / "in.xlsx"
    parts = packages.parts_of(with_rows(tmp_path / "small.xlsx", BODY))

    class Unseekable:
        def __init__(self, file: object) -> None:
            self.write, self.flush = file.write, file.flush

    with source.open("wb") as file, zipfile.ZipFile(Unseekable(file), "w", 8) as package:  # type: ignore[call-overload]  # a file that only writes
        for name, content in parts.items():
            with package.open(name, "w", force_zip64=True) as part:
                part.write(content)
    out = written(source)
    assert packages.changed_parts(source, out) == {SHEET_PART, packages.STYLES}
    assert values(out) == EXPECTED
    with zipfile.ZipFile(out) as package, out.open("rb") as file:
        for member in package.infolist():
            file.seek(member.header_offset)
            flags, packed = struct.unpack("<6xH10xI", file.read(22))
            if member.filename != SHEET_PART:  # it is streamed itself
                assert not flags & 0x08
                assert packed == member.compress_size


def test_a_header_is_never_a_formula(tmp_path: Path) -> None:
    def bold(sheet: Any) -> None:
        sheet["A1"].font = Font(bold=True)

    source = save(tmp_path / "in.xlsx", [["Vendor"], ["Acme"]], bold)
    out = written(source, headers=("=1+1", "AI_Why"))
    row = openpyxl.load_workbook(out)["Refunds"][1]
    assert [(cell.value, bool(cell.quotePrefix), cell.font.b) for cell in row] == [
        ("Vendor", False, True),
        ("=1+1", True, True),
        ("AI_Why", False, True),
    ]


@pytest.mark.parametrize(
    "rows",
    [
        "<row",
        '<row r="2"></row><row r="1"></row>',
        '<row r="1"><c r="B1"/><c r="A1" ></c></row>',
        f'<row r="1"><c r="A1" ><v>{"9" * 9_000_000}</v></c></row>',
        "</sheetData></worksheet><!DOCTYPE a>",
    ],
    ids=["cut off", "rows out of order", "cells out of order", "a long value", "a document type"],
)
def test_hostile_rows_are_one_sentence(tmp_path: Path, rows: str) -> None:
    source = with_rows(tmp_path / "in.xlsx", rows)
    with pytest.raises(InputError) as caught:
        written(source)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("in.xlsx")


def test_a_worksheet_without_rows_is_one_sentence(tmp_path: Path) -> None:
    source = with_rows(tmp_path / "in.xlsx", BODY)
    rewrite(source, SHEET_PART, lambda _: f'<worksheet xmlns="{NS}"/>'.encode())
    with pytest.raises(InputError, match="holds no table of rows"):
        written(source)
