"""A cited page is drawn from the document itself, with the quote marked."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image, ImageChops

from rowfleet.documents.extracted import SCALE
from rowfleet.documents.opener import Opener
from rowfleet.documents.quotes.sources import Source, Sources
from rowfleet.errors import InputError, ServiceError
from rowfleet.ledger.document_records import RowsDocument
from submitter.results.citing.cited_pages import MAX_SIDE, CitedField, write_pictures

INVOICES = Path(__file__).resolve().parents[3] / "examples" / "invoices"
NAMES = {
    "digital": "atelier/FAC01128.pdf",
    "scan": "harbourline/HLF01170.tiff",
    "mail": "quillon/Q01156.eml",
    "text": "tideway/TF01219.txt",
}
QUOTES = {
    "digital": (3, "Photographie produit, demi-journée, site 23"),
    "scan": (2, "Total GBP"),
    "mail": (2, "Invoice no. Q01156"),
    "text": (1, "Total EUR"),
}


def cited(kind: str, root: Path = INVOICES) -> CitedField:
    name = NAMES[kind]
    with Opener() as opener, (INVOICES / name).open("rb") as file:
        source = Sources([opener.read(file, name)]).look_up(1, *QUOTES[kind])
    assert source.is_found
    return CitedField("amount", 1.0, source, named(name, root))


def named(name: str, root: Path) -> RowsDocument:
    return RowsDocument("d", str(root), name, "Invoice_File", "ready", None, None, "t", 1)


@pytest.mark.parametrize("kind", ["digital", "scan", "mail"])
def test_the_page_is_drawn_and_only_the_quote_is_marked(kind: str, tmp_path: Path) -> None:
    marked = cited(kind)
    assert marked.source is not None
    (picture,) = write_pictures([marked], tmp_path / "pages", 7)
    assert picture.name == "row-7-amount.png"
    drawn = Image.open(picture).convert("RGB")
    assert max(drawn.size) <= MAX_SIDE
    with Opener() as opener, (INVOICES / NAMES[kind]).open("rb") as file:
        page = marked.source.page
        plain = opener.render(file, NAMES[kind], [page], max_side=MAX_SIDE, png=True)[0].content
    (tmp_path / "plain.png").write_bytes(plain)
    unmarked = Image.open(tmp_path / "plain.png").convert("RGB")
    changed = ImageChops.difference(drawn, unmarked).getbbox()
    assert changed is not None
    (box,) = marked.source.boxes
    sides = [drawn.width, drawn.height] * 2
    wanted = [edge * side / SCALE for edge, side in zip(box, sides, strict=True)]
    assert changed == pytest.approx(wanted, abs=15)


def test_what_has_no_place_on_paper_has_no_picture(tmp_path: Path) -> None:
    nothing = CitedField("tax", None, None, None)
    missing = Source(1, 1, "Rebate", False, 0.2)
    fields = [cited("text"), nothing, CitedField("tax", 1, missing, named("a.pdf", INVOICES))]
    assert list(write_pictures(fields, tmp_path, 7)) == []


def test_a_document_that_is_gone_is_said_by_its_place(tmp_path: Path) -> None:
    gone = cited("digital", tmp_path)
    with pytest.raises((InputError, ServiceError), match=NAMES["digital"]):
        list(write_pictures([gone], tmp_path / "pages", 7))


def test_a_folder_that_is_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "pages").write_text("mine")
    with pytest.raises(InputError, match="can't be made"):
        list(write_pictures([], tmp_path / "pages", 7))
