"""The finished sheet names document, page and quote of each field that needs a source."""

from __future__ import annotations

import html
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import openpyxl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl.formula import Tokenizer

from rowfleet.recipes.loading import bundled
from submitter.results import columns, writer
from submitter.results.cell_xml import cell_xml
from submitter.results.citing.links import MAX_IN_FORMULA, Link, of_file
from submitter.results.columns import FinishedRow
from submitter.results.styles import ColumnStyles
from submitter.results.target import atomic
from tests.unit.submitter.results.test_columns import BATCH

RECIPE = bundled("refunds-with-invoices")
CITING = replace(BATCH, recipe=RECIPE.snapshot(), documents="/srv/invoices")

SOURCE = {
    "document": 1,
    "name": "acme/INV 42.pdf",
    "page": 3,
    "quote": "=Pallets 1,020.00",
    "found": True,
    "share": 1.0,
    "boxes": [[1, 2, 3, 4]],
}
ROW = FinishedRow(
    0,
    ["ACME"],
    "done",
    {"invoice_amount": 1020.0, "evidence": {"invoice_number": None, "invoice_amount": SOURCE}},
    None,
)


class _NoStyles:
    def style(
        self, number_format: str, fill: str | None, *, quoted: bool = False, header: bool = False
    ) -> int:
        return 0


def shown(row: FinishedRow, root: str | None = "/srv/invoices") -> dict[str, object]:
    batch = replace(CITING, documents=root)
    return {column.header: column.value(row) for column in columns.added_to(batch)}


def test_each_field_that_needs_a_source_has_three_columns_right_behind_the_answers() -> None:
    cells = shown(ROW)
    assert list(cells)[:7] == [
        *(f"AI_Invoice_Number_{part}" for part in ("Document", "Page", "Quote")),
        *(f"AI_Invoice_Amount_{part}" for part in ("Document", "Page", "Quote")),
        "AI_Analyzer",
    ]
    assert [cells[f"AI_Invoice_Number_{part}"] for part in ("Document", "Page", "Quote")] == [
        *(None, None, None)
    ]
    assert cells["AI_Invoice_Amount_Document"] == "acme/INV 42.pdf"
    assert cells["AI_Invoice_Amount_Page"] == 3
    assert cells["AI_Invoice_Amount_Quote"] == "=Pallets 1,020.00"


@pytest.mark.parametrize("output", [None, {}, {"evidence": None}, {"evidence": {}}])
def test_a_row_without_sources_has_blank_cells(output: Any) -> None:
    assert shown(replace(ROW, output=output))["AI_Invoice_Amount_Quote"] is None


def test_the_columns_are_counted_and_known_again() -> None:
    beside = columns.most_beside_the_original(RECIPE)
    assert beside == len(RECIPE.headers()) + 6 + len(columns.ADDED)
    assert "AI_Invoice_Amount_Page" in columns.answer_headers(RECIPE).always


def test_a_finished_sheet_links_to_the_document(tmp_path: Path) -> None:
    out = tmp_path / "out.xlsx"
    with atomic(out) as file:
        writer.write_sheet(
            file,
            out,
            title="S",
            header=["Vendor"],
            formats=["General"],
            result_headers=RECIPE.headers(),
            added=columns.added_to(CITING),
            rows=[ROW],
        )
    for data_only in (False, True):
        sheet = openpyxl.load_workbook(out, data_only=data_only).worksheets[0]
        header, cells = ([cell.value for cell in row] for row in sheet.iter_rows())
        found = dict(zip(header, cells, strict=True))
        assert found["AI_Invoice_Amount_Page"] == 3
        assert found["AI_Invoice_Amount_Quote"] == "=Pallets 1,020.00"
        assert found["AI_Invoice_Amount_Document"] == (
            "acme/INV 42.pdf"
            if data_only
            else '=HYPERLINK("file:///srv/invoices/acme/INV%2042.pdf","acme/INV 42.pdf")'
        )


@pytest.mark.parametrize(
    "address",
    ["s3://bucket/a.pdf", "file:///" + "a" * MAX_IN_FORMULA, "javascript:alert(1)", "cmd|' /C'"],
)
def test_an_address_that_no_cell_opens_is_text(address: str) -> None:
    assert Link("a.pdf", address).formula is None


def test_documents_in_an_object_store_are_named() -> None:
    cell = shown(ROW, "s3://bucket/invoices")["AI_Invoice_Amount_Document"]
    assert type(cell) is str


@given(st.text(min_size=1, max_size=80))
@example('",1)&cmd("')
@example("<f>&amp;\N{RIGHT-TO-LEFT OVERRIDE}'\\")
def test_no_name_of_a_file_leaves_its_literal(name: str) -> None:
    link = Link(name, of_file(f"/srv/{name}".encode("utf-8", "replace").decode()))
    xml = cell_xml("A1", link, ColumnStyles(_NoStyles(), "General", None))
    if link.formula is None:
        assert "<f>" not in xml
        return
    formula = html.unescape(xml.split("<f>")[1].split("</f>")[0])
    tokens = [token.value for token in Tokenizer("=" + formula).items]
    assert [tokens[0], tokens[2], tokens[4]] == ["HYPERLINK(", ",", ")"]
    literals = [text[1:-1].replace('""', '"') for text in (tokens[1], tokens[3])]
    assert unquote(literals[0]) == f"file:///srv/{name}"
    assert literals[1] == name
