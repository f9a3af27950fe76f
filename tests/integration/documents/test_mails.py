"""An e-mail is read with its attachments, in order; one that is not read costs only itself."""

from __future__ import annotations

import pytest

from rowfleet.documents.extracted import Extracted, Kind
from rowfleet.documents.limits import MAX_NESTED_MAILS, MAX_PARTS
from rowfleet.documents.opener import Opener
from rowfleet.documents.unread import Unread, UnreadableError
from tests.integration.documents.conftest import Read
from tests.integration.documents.test_opener import stored
from tests.support.documents.messages import (
    attached_file,
    attached_mail,
    compound_file,
    mail,
    mail_in_mails,
    outlook_mail,
)
from tests.support.documents.office import docx, paragraph
from tests.support.documents.pdfs import pdf, show

INVOICE = pdf(show([(50, 700, "INVOICE 4711")]), show([(50, 700, "Page two")]))
SUBJECT, BODY, SENDER, ADDRESS, TO = 0x0037, 0x1000, 0x0C1A, 0x5D01, 0x0E04


def shown(found: Extracted) -> list[tuple[str, str]]:
    return [(page.part, page.text) for page in found.pages]


def test_an_email_is_its_head_its_text_and_its_attachments(read: Read) -> None:
    content = mail("Invoice", "See attached.\n", ("a.pdf", INVOICE), ("b.txt", b"Delivered"))
    found = read(content, "a.eml")
    assert (found.kind, found.page_count, found.unread) == (Kind.EML, 4, ())
    assert shown(found) == [
        (
            "",
            "From: Billing <billing@acme.example>\nTo: audit@example.com\n"
            "Date: Thu, 26 Nov 2026 10:00:00 +0000\nSubject: Invoice\n\nSee attached.",
        ),
        ("a.pdf", "INVOICE 4711"),
        ("a.pdf", "Page two"),
        ("b.txt", "Delivered"),
    ]


def test_attachments_that_are_not_read_are_named(read: Read) -> None:
    content = mail("x", "text", ("a.pdf", INVOICE[:300]), ("b.exe", b"MZ\0\0"), ("c.txt", b"ok"),
                   ("d.txt", b""), ("../../etc/passwd", b"\0"))  # fmt: skip
    found = read(content, "a.eml")
    assert [page.part for page in found.pages] == ["", "c.txt"]
    assert found.unread == (
        ("a.pdf", Unread.CORRUPT),
        ("b.exe", Unread.UNKNOWN_KIND),
        ("d.txt", Unread.EMPTY),
        (".._.._etc_passwd", Unread.UNKNOWN_KIND),
    )


def test_an_email_in_an_email_has_both_names(read: Read) -> None:
    inner = mail("Inner", "inner text", ("a.pdf", INVOICE))
    found = read(mail("Outer", "outer text", ("inner.eml", inner)), "a.eml")
    parts = ["", "inner.eml", "inner.eml/a.pdf", "inner.eml/a.pdf"]
    assert [page.part for page in found.pages] == parts


def test_emails_are_opened_to_a_depth(read: Read) -> None:
    found = read(mail_in_mails(MAX_NESTED_MAILS), "a.eml")
    assert "the innermost" in found.pages[-1].text
    found = read(mail_in_mails(MAX_NESTED_MAILS + 1), "a.eml")
    assert "the innermost" not in found.pages[-1].text
    assert [reason for _, reason in found.unread] == [Unread.TOO_DEEP]


def test_html_is_read_where_the_plain_text_is_a_stub(read: Read) -> None:
    html = "<p>Invoice</p><table><tr><td>Freight</td><td>12.00</td></tr></table><p>Thank you</p>"
    stub = read(mail("x", "No HTML?", html=html), "a.eml").pages[0].text
    assert stub.endswith("Invoice\nFreight | 12.00\nThank you")
    both = read(mail("x", "Invoice: Freight 12.00. Thank you.", html=html), "a.eml").pages[0].text
    assert both.endswith("Invoice: Freight 12.00. Thank you.")


def test_more_attachments_than_are_read_are_named(read: Read) -> None:
    files = [(f"{number}.txt", b"text") for number in range(MAX_PARTS + 2)]
    found = read(mail("x", "text", *files), "a.eml")
    assert len(found.pages) == MAX_PARTS + 1
    assert [part for part, _ in found.unread] == ["50.txt", "51.txt"]


def test_an_encrypted_email_says_so(read: Read) -> None:
    sealed = b"From: a@b.c\nTo: a@b.c\nSubject: x\nContent-Type: application/pkcs7-mime\n\nMIIB"
    with pytest.raises(UnreadableError) as refused:
        read(sealed, "a.eml")
    assert refused.value.reason is Unread.ENCRYPTED


def test_an_outlook_email_is_read_alike(read: Read) -> None:
    inner = outlook_mail({SUBJECT: "Inner", BODY: "inner text"}, attached_file("c.txt", b"deep"))
    content = compound_file(
        outlook_mail(
            {SUBJECT: "Invoice", BODY: "See attached.\r\n", SENDER: "Billing",
             ADDRESS: "billing@acme.example", TO: "Audit"},
            attached_file("a.pdf", INVOICE),
            attached_mail(inner),
            attached_file("b.docx", docx(paragraph("Delivered"))),
        )
    )  # fmt: skip
    found = read(content, "a.msg")
    assert (found.kind, found.unread) == (Kind.MSG, ())
    assert shown(found) == [
        ("", "From: Billing <billing@acme.example>\nTo: Audit\nSubject: Invoice\n\nSee attached."),
        ("a.pdf", "INVOICE 4711"),
        ("a.pdf", "Page two"),
        ("Inner.msg", "Subject: Inner\n\ninner text"),
        ("Inner.msg/c.txt", "deep"),
        ("b.docx", "Delivered"),
    ]


@pytest.mark.parametrize("charset", ["cp950", "big5-hkscs", "no-such-charset"])
def test_an_email_may_name_any_encoding(read: Read, charset: str) -> None:
    head = f"From: a@b.c\nTo: a@b.c\nSubject: x\nContent-Type: text/plain; charset={charset}\n\n"
    text = read(head.encode() + b"Total 12.00 \xc1`", "a.eml").pages[0].text
    assert ("Total 12.00 總" in text) == (charset != "no-such-charset")
    assert "Total 12.00" in text


def test_an_outlook_email_of_rich_text_is_read(read: Read) -> None:
    # The example of [MS-OXRTFCP], 3.1.1.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320a f320"
        "68656c090020627705b06c647d0a800fa0"
    )
    streams = {"__substg1.0_10090102": packed}
    found = read(compound_file(outlook_mail({SUBJECT: "x"}, streams=dict(streams))), "a.msg")
    assert found.pages[0].text == "Subject: x\n\nhello world"


def test_an_attachment_is_rendered_by_its_page_number(opener: Opener) -> None:
    content = mail("Invoice", "See attached.", ("b.txt", b"text"), ("a.pdf", INVOICE))
    with stored(content) as file:
        assert [page.part for page in opener.read(file, "a.eml").pages][2:] == ["a.pdf", "a.pdf"]
        assert [picture.number for picture in opener.render(file, "a.eml", [1, 2, 3, 4])] == [3, 4]
