"""EML: an e-mail's head and text, then its attachments, each as a document of its kind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

from rowfleet.documents.opening.detection import decoded_as
from rowfleet.documents.opening.kinds.web_page import text_of
from rowfleet.documents.opening.reading import Reading
from rowfleet.documents.unread import Unread, UnreadableError

#: The fields of the head that are read.
FIELDS = ("From", "To", "Cc", "Date", "Subject")
#: Bytes below which a picture in the text is taken for a logo.
LOGO_BYTES = 15_000
#: Words of HTML for each one of the plain text beside it from which on the plain text is taken for
#: a stub, such as "your program can't show this e-mail".
_STUB = 1.5
_SIGNATURES = frozenset(
    {"application/pkcs7-signature", "application/x-pkcs7-signature", "application/pgp-signature"}
)
_SEALED = frozenset({"application/pkcs7-mime", "application/x-pkcs7-mime", "multipart/encrypted"})


def read(content: bytes, reading: Reading) -> None:
    """Read an e-mail and its attachments."""
    message = message_from_bytes(content, _class=EmailMessage, policy=policy.default)
    with reading.mail():
        if message.get_content_type() in _SEALED:
            raise UnreadableError(Unread.ENCRYPTED)
        head = [(name, _field(message, name)) for name in FIELDS]
        plain, html, attached = _sorted(message)
        reading.add_text(with_head(head, chosen(plain, html)))
        for part in attached:
            _attach(part, reading)


def with_head(head: list[tuple[str, str]], text: str) -> str:
    """Return the text below its head, as mail programs show it."""
    lines = [f"{name}: {' '.join(value.split())}" for name, value in head if value]
    return "\n".join([*lines, "", text])


def chosen(plain: str, html: str) -> str:
    """Return the plain text of an e-mail, or that of its HTML if it says much more."""
    shown = text_of(html) if html else ""
    is_stub = len(shown.split()) > _STUB * len(plain.split())
    return shown if is_stub else plain


def _field(message: EmailMessage, name: str) -> str:
    with suppress(Exception):  # a damaged field ends Python's reader in several ways
        return str(message.get(name) or "")
    return ""


def _sorted(message: EmailMessage) -> tuple[str, str, list[Message]]:
    """Return an e-mail's plain text, its HTML, and its attachments."""
    plain: list[str] = []
    html: list[str] = []
    attached: list[Message] = []
    for part in _leaves(message):
        kind = part.get_content_type()
        if kind in _SIGNATURES:
            continue
        is_named = bool(_name(part)) or part.get_content_disposition() == "attachment"
        if is_named or kind not in {"text/plain", "text/html"}:
            attached.append(part)
        elif kind == "text/html":
            html.append(_text(part))
        else:
            plain.append(_text(part))
    return "\n".join(plain), "\n".join(html), attached


def _leaves(message: Message) -> Iterator[Message]:
    """Yield the parts that hold something: an attached e-mail is one."""
    waiting: list[Message] = [message]
    while waiting:
        part = waiting.pop(0)
        payload = part.get_payload()
        if part.get_content_maintype() == "multipart" and isinstance(payload, list):
            waiting[:0] = [inner for inner in payload if isinstance(inner, Message)]
        else:
            yield part


def _text(part: Message) -> str:
    return decoded_as(_content(part), part.get_content_charset("utf-8"))


def _content(part: Message) -> bytes:
    payload = part.get_payload(decode=True)
    return payload if isinstance(payload, bytes) else b""


def _name(part: Message) -> str:
    with suppress(Exception):  # as of a field
        return part.get_filename() or ""
    return ""


def _attach(part: Message, reading: Reading) -> None:
    name = _name(part)
    payload = part.get_payload()
    if part.get_content_type() == "message/rfc822" and isinstance(payload, list) and payload:
        inner = payload[0]
        assert isinstance(inner, EmailMessage)
        reading.add_part(inner.as_bytes(), name or f"{_field(inner, 'Subject') or 'e-mail'}.eml")
        return
    content = _content(part)
    is_picture = part.get_content_maintype() == "image"
    is_inline = part.get_content_disposition() != "attachment"
    if is_picture and is_inline and len(content) < LOGO_BYTES:
        return
    reading.add_part(content, name or f"unnamed.{part.get_content_subtype()}")
