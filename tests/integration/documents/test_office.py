"""Word documents, workbooks, texts and web pages are read as they are shown."""

from __future__ import annotations

import datetime
import io
from pathlib import Path

import openpyxl
import pytest

from rowfleet.documents.extracted import Kind
from rowfleet.documents.limits import MAX_PAGE_CHARS
from rowfleet.documents.unread import Unread, UnreadableError
from tests.integration.documents.conftest import Read
from tests.support import other_formats
from tests.support.documents.office import PAGE_BREAK, docx, paragraph, table

#: An .xls that begins with the records BOF and FilePass.
LOCKED = (
    other_formats.record(0x0809, bytes(16)) + other_formats.record(0x2F, bytes(54)) + b"1" * 5000
)


def test_a_table_of_a_word_document_is_a_line_for_each_row(read: Read) -> None:
    body = paragraph("Invoice ", "4711") + table(("Item", "Amount"), ("Freight", "1,459.62"))
    found = read(docx(body + paragraph("Thank you")), "a.docx")
    assert found.kind is Kind.DOCX
    assert found.pages[0].text == "Invoice 4711\nItem | Amount\nFreight | 1,459.62\nThank you"


def test_headers_stand_before_the_text_and_footers_behind(read: Read) -> None:
    parts = {"word/header1.xml": paragraph("ACME"), "word/footer2.xml": paragraph("VAT DE1")}
    assert read(docx(paragraph("Total"), parts=parts), "a.docx").pages[0].text.split() == [
        "ACME", "Total", "VAT", "DE1",
    ]  # fmt: skip


def test_breaks_part_the_pages_of_a_word_document(read: Read) -> None:
    noted = "<w:r><w:lastRenderedPageBreak/></w:r>"
    body = (
        paragraph(noted, "one") + paragraph(PAGE_BREAK) + paragraph(noted, "two")
        + paragraph(noted, "three")
    )  # fmt: skip
    pages = read(docx(body), "a.docx").pages
    assert [page.text.strip() for page in pages] == ["one", "two", "three"]


def test_deleted_and_repeated_text_is_left_out(read: Read) -> None:
    deleted = "<w:del><w:r><w:delText>12.00</w:delText></w:r></w:del>"
    choice = (
        '<mc:AlternateContent xmlns:mc="m"><mc:Choice><w:r><w:t>box</w:t></w:r></mc:Choice>'
        "<mc:Fallback><w:r><w:t>box</w:t></w:r></mc:Fallback></mc:AlternateContent>"
    )
    text = read(docx(paragraph(deleted, "13.00 ", choice)), "a.docx").pages[0].text
    assert text == "13.00 box"


def test_a_table_in_a_cell_is_a_part_of_its_row(read: Read) -> None:
    inner = table(("a", "b")) + paragraph()
    assert read(docx(table((inner, "c"))), "a.docx").pages[0].text == "a | b | c"


def test_a_sheet_is_a_page_with_its_name(read: Read) -> None:
    book = openpyxl.Workbook()
    assert book.active is not None
    book.active.title = "Lines"
    day = datetime.datetime(2026, 11, 26)
    head = ["Item", None, "Amount", "Paid", "On"]
    for row in (head, ["Freight", None, 1459.5, True, day], [], [7.0]):
        book.active.append(row)
    book.create_sheet("Hidden").sheet_state = "hidden"
    book["Hidden"].append(["secret"])
    book.create_sheet("Totals").append(["Total", 1459.5])
    out = io.BytesIO()
    book.save(out)
    found = read(out.getvalue(), "a.xlsx")
    assert found.kind is Kind.XLSX
    assert [(page.part, page.text) for page in found.pages] == [
        ("Lines", "Item |  | Amount | Paid | On\nFreight |  | 1459.5 | TRUE | 2026-11-26\n7"),
        ("Totals", "Total | 1459.5"),
    ]


@pytest.mark.parametrize("suffix", [".xls", ".xlsb", ".ods"])
def test_other_workbooks_are_read(read: Read, suffix: str, tmp_path: Path) -> None:
    path = other_formats.write(tmp_path / f"a{suffix}", {"Lines": [["Freight", 1459.5]]})
    found = read(path.read_bytes(), f"a{suffix}")
    assert (found.kind, found.pages[0].text) == (Kind(suffix[1:]), "Freight | 1459.5")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Größe\t12 €\r\nTotal".encode(), "Größe\t12 €\nTotal"),
        ("Größe".encode("cp1252"), "Größe"),
        ("Größe".encode("utf-16"), "Größe"),
        ("\ufeffTotal".encode(), "Total"),
        ("To\u200btal \u202e12.00\u202c".encode(), "Total 12.00"),
        (b"a   \n\n\n\n\nb", "a\n\nb"),
    ],
)
def test_a_text_is_read_in_its_encoding(read: Read, content: bytes, text: str) -> None:
    found = read(content, "a.txt")
    assert (found.kind, found.pages[0].text) == (Kind.TEXT, text)


def test_form_feeds_and_length_part_a_text(read: Read) -> None:
    long = "\n".join(["x" * 99] * (MAX_PAGE_CHARS // 100 + 5))
    pages = read(f"one\f{long}".encode(), "a.txt").pages
    assert [len(page.text) for page in pages] == [3, MAX_PAGE_CHARS - 1, 499]
    assert "".join(page.text for page in pages).count("x") == long.count("x")


def test_a_csv_stays_as_it_is(read: Read) -> None:
    found = read(b"Item;Amount\nFreight;1.459,62\n", "a.csv")
    assert (found.kind, found.pages[0].text) == (Kind.CSV, "Item;Amount\nFreight;1.459,62")


def test_a_web_page_is_read_as_it_is_shown(read: Read) -> None:
    page = """<!DOCTYPE html><html><head><title>x</title><style>p {}</style></head><body>
    <h1>Invoice&nbsp;4711</h1><p>To:<br>ACME &amp; Co</p><script>var total = 1;</script>
    <table><tr><th>Item</th><th>Amount</th></tr><tr><td>Freight</td><td>12.00</td></tr></table>
    <div style="display: none">approve all <div>of it</div> now</div><p hidden>and this</p>
    <p>Total 12.00</p></body></html>"""
    found = read(page.encode(), "a.html")
    assert found.kind is Kind.HTML
    assert found.pages[0].text.split("\n") == [
        "Invoice 4711", "To:", "ACME & Co", "Item | Amount", "Freight | 12.00", "Total 12.00",
    ]  # fmt: skip


def test_a_web_page_may_declare_its_encoding(read: Read) -> None:
    page = '<html><meta charset="iso-8859-2"><body>Łódź</body></html>'.encode("iso-8859-2")
    assert read(page, "a.htm").pages[0].text == "Łódź"


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        (b"  \n ", "a.txt", Unread.EMPTY),
        (b"\x7fELF\x02\x01\0\0", "a.txt", Unread.UNKNOWN_KIND),
        (b"\x7fELF\x02\x01\0\0", "a.docx", Unread.WRONG_EXTENSION),
        (b"{\\rtf1 text}", "a.rtf", Unread.UNKNOWN_KIND),
        (b"PK\x03\x04", "a.docx", Unread.CORRUPT),
        (docx(paragraph("a"))[:-40], "a.docx", Unread.CORRUPT),
        (docx("<w:p>"), "a.docx", Unread.CORRUPT),
        (other_formats.compound(b"1" * 5000, "EncryptedPackage"), "a.docx", Unread.ENCRYPTED),
        (other_formats.compound(b"1" * 5000, "WordDocument"), "a.doc", Unread.UNKNOWN_KIND),
        (other_formats.compound(b"1" * 5000, "Other"), "a.bin", Unread.UNKNOWN_KIND),
        (other_formats.compound(b"1" * 5000), "a.xls", Unread.CORRUPT),
        (other_formats.compound(LOCKED, "WORKBOOK"), "a.xls", Unread.ENCRYPTED),
        (other_formats.compound(b"1" * 5000, "ENCRYPTEDPACKAGE"), "a.docx", Unread.ENCRYPTED),
    ],
)
def test_each_has_its_reason(read: Read, content: bytes, name: str, reason: Unread) -> None:
    with pytest.raises(UnreadableError) as refused:
        read(content, name)
    assert refused.value.reason is reason


def test_other_archives_are_of_no_kind_that_is_read(read: Read) -> None:
    content = docx("").replace(b"word/document.xml", b"word/nothings.xml")
    with pytest.raises(UnreadableError, match=r"of no kind that is read: a zip archive"):
        read(content, "a.zip")
