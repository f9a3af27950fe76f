"""A cell is a stranger's text: its references stay below the root."""

from __future__ import annotations

import pytest

from rowfleet.documents.places import root
from rowfleet.documents.places.reference import place_below, split
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError

ROOT = "/data/invoices"
BUCKET = "s3://bucket/invoices"


@pytest.mark.parametrize(
    ("reference", "place"),
    [
        ("acme/INV-0042.pdf", "acme/INV-0042.pdf"),
        (" acme/INV 0042.pdf ", "acme/INV 0042.pdf"),
        ("acme\\INV-0042.pdf", "acme/INV-0042.pdf"),
        ("./acme//INV-0042.pdf", "acme/INV-0042.pdf"),
        ("/data/invoices/acme/INV-0042.pdf", "acme/INV-0042.pdf"),
        ("INV..0042.pdf", "INV..0042.pdf"),
        ("Größe: 5.pdf", "Größe: 5.pdf"),
    ],
)
def test_a_file_below_the_root_is_named_in_several_ways(reference: str, place: str) -> None:
    assert place_below(ROOT, reference) == place


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("../../etc/passwd", Unread.OUTSIDE_ROOT),
        ("acme/../../secret.pdf", Unread.OUTSIDE_ROOT),
        ("acme\\..\\..\\secret.pdf", Unread.OUTSIDE_ROOT),
        ("/data/invoices/../secret.pdf", Unread.OUTSIDE_ROOT),
        ("/etc/passwd", Unread.OUTSIDE_ROOT),
        ("/data/invoices-of-others/a.pdf", Unread.OUTSIDE_ROOT),
        ("C:\\Users\\ada\\a.pdf", Unread.OUTSIDE_ROOT),
        ("\\\\server\\share\\a.pdf", Unread.OUTSIDE_ROOT),
        ("file:///etc/passwd", Unread.FORBIDDEN_ADDRESS),
        ("FILE:/etc/passwd", Unread.FORBIDDEN_ADDRESS),
        ("http://169.254.169.254/latest/meta-data/", Unread.FORBIDDEN_ADDRESS),
        ("https://example.com/a.pdf", Unread.FORBIDDEN_ADDRESS),
        ("s3://another/a.pdf", Unread.FORBIDDEN_ADDRESS),
        ("data:application/pdf;base64,AAAA", Unread.FORBIDDEN_ADDRESS),
        ("a\x00.pdf", Unread.MISSING),
        ("a" * 1_001, Unread.MISSING),
        (".", Unread.MISSING),
    ],
)
def test_a_reference_that_leads_elsewhere_has_one_reason(reference: str, reason: Unread) -> None:
    with pytest.raises(UnreadableError) as caught:
        place_below(ROOT, reference)
    assert caught.value.reason == reason


def test_in_a_store_the_whole_address_may_stand() -> None:
    assert place_below(BUCKET, "s3://bucket/invoices/acme/1.pdf") == "acme/1.pdf"
    for elsewhere in ("s3://bucket/invoices/../payroll/1.pdf", "s3://bucket/payroll/1.pdf"):
        with pytest.raises(UnreadableError):
            place_below(BUCKET, elsewhere)


def test_several_files_in_a_cell() -> None:
    assert split("a.pdf; b.pdf ;;a.pdf\nc.pdf", ";") == ["a.pdf", "b.pdf", "c.pdf"]
    assert split("  ", ";") == []
    assert split("a, b", ",") == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("/data/invoices/", "/data/invoices"),
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("gs://bucket/a", "gs://bucket/a"),
        ("az://container", "az://container"),
    ],
)
def test_a_root_is_a_folder(text: str, kept: str) -> None:
    assert str(root.parse(text)) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "give a folder"),
        ("https://example.com/a", "https://: give a folder, or a URI with s3://"),
        ("file:///data", "file://: give a folder"),
        ("s3://", "names no bucket"),
        ("s3://user:hunter2@bucket/a", "can't be a bucket"),
        ("s3://bucket/a/../b", "leave out"),
    ],
)
def test_no_other_address_is_a_root(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        root.parse(text)
    assert said in str(caught.value)
    assert "hunter2" not in str(caught.value)
