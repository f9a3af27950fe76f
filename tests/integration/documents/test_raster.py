"""Pictures are read by OCR, whatever their format, size or orientation."""

from __future__ import annotations

import pytest
from PIL import Image

from rowfleet.documents.extracted import SCALE, Kind
from rowfleet.documents.limits import MAX_PIXELS
from rowfleet.documents.unread import Unread, UnreadableError
from tests.integration.documents.conftest import Read
from tests.support.documents.scans import saved, scan

LINES = ["INVOICE 4711", "Freight\t12\t1,459.62", "Total\t\t1,548.02"]
WORDS = " ".join(LINES).split()
#: EXIF's tag of a picture's orientation, whose value 6 says: turn it by 90 degrees.
ORIENTATION, TURNED = 0x0112, 6


@pytest.mark.parametrize(
    ("saved_as", "kind"),
    [("PNG", Kind.PNG), ("JPEG", Kind.JPEG), ("TIFF", Kind.TIFF), ("WEBP", Kind.WEBP)],
)
def test_each_format_is_read(read: Read, saved_as: str, kind: Kind) -> None:
    # The name has another extension: the content counts.
    found = read(saved(scan(LINES), saved_as, dpi=(200, 200)), "scan.pdf")
    [page] = found.pages
    assert (found.kind, page.is_ocr, page.text.split()) == (kind, True, WORDS)
    assert len(page.boxes) == 4 * len(WORDS)


def test_the_paper_size_follows_from_the_resolution(read: Read) -> None:
    [page] = read(saved(scan(LINES).resize((827, 1169)), "PNG", dpi=(100, 100)), "a.png").pages
    assert (page.width, page.height) == pytest.approx((595, 842), abs=2)
    assert page.text.split() == WORDS


def test_each_page_of_a_tiff_is_a_page(read: Read) -> None:
    pages = [scan([f"Sheet {name}"]) for name in ("north", "south", "east")]
    content = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    found = read(content, "fax.tif")
    assert [page.text for page in found.pages] == ["Sheet north", "Sheet south", "Sheet east"]


def test_a_photo_is_turned_as_its_camera_was(read: Read) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    content = saved(scan(LINES).transpose(Image.Transpose.ROTATE_90), "JPEG", exif=exif)
    [page] = read(content, "photo.jpg").pages
    assert page.text.split() == WORDS
    assert page.width < page.height


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_a_page_that_lies_on_its_side_is_turned(read: Read, turn: int) -> None:
    lines = [*LINES, *["Freight of goods\tto Bremen\t1,459.62"] * 12]
    image = scan(lines).rotate(turn, expand=True)
    [page] = read(saved(image, "PNG", dpi=(200, 200)), "a.png").pages
    assert page.text.split() == " ".join(lines).split()
    assert (page.width > page.height) == (turn != 180)
    for word in page.words():  # its box is where the picture shows it: there is ink
        assert word.box is not None
        across, down = image.width / SCALE, image.height / SCALE
        left, top, right, bottom = word.box
        inside = image.crop(
            (int(left * across), int(top * down), int(right * across), int(bottom * down))
        )
        assert inside.getextrema()[0] == 0


def test_black_on_clear_is_read(read: Read) -> None:
    clear = Image.new("RGBA", (1654, 2339), (0, 0, 0, 0))
    clear.putalpha(scan(LINES).point(lambda shade: 255 - shade))
    assert read(saved(clear, "PNG"), "a.png").pages[0].text.split() == WORDS


def test_a_picture_of_too_many_pixels_is_not_unpacked(read: Read) -> None:
    content = saved(Image.new("1", (20_000, MAX_PIXELS // 20_000 + 1)), "PNG")
    assert len(content) < 10_000
    with pytest.raises(UnreadableError, match="over 40,000,000 pixels") as refused:
        read(content, "bomb.png")
    assert refused.value.reason is Unread.TOO_LARGE


@pytest.mark.parametrize("saved_as", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_picture_cut_off_is_damaged(read: Read, saved_as: str) -> None:
    content = saved(scan(LINES), saved_as)
    with pytest.raises(UnreadableError) as refused:
        read(content[: len(content) // 2], "a.png")
    assert refused.value.reason is Unread.CORRUPT
