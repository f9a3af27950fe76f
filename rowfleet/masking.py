"""Text from outside, made fit to be kept, logged and shown.

APIs, gateways, databases and sheets say what they like: a refusal may quote the key that it
refuses, and a cell may hold the escape sequence that clears a terminal. `outside` is for text that
enters (an API's message, a service's error), `Discreet` for every line of a log.
"""

from __future__ import annotations

import logging
import re
import traceback
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from rowfleet.errors import RowfleetError

#: The replacements of a secret, and of a control character.
MASK, _MARK = "***", "\N{REPLACEMENT CHARACTER}"

#: Characters kept of a text from outside: a sentence or two for a person to read.
EXCERPT = 300

#: Characters of it that are looked at, and of those the last, where the cut may have halved a
#: secret; keys of today have up to 200.
_READ, _HALVED = 8_192, 512

#: A secret of fewer characters, or a short one of letters alone, is as likely a word: a mask in
#: place of each such word would blank out lines, and betray the secret by its length and places.
_LEAST, _LONG = 4, 12

#: Variables that hold a secret by their name, for whichever library reads them.
_SECRET_NAME = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CONNECTION_STRING)$")

#: Names that secrets go by in headers, queries, JSON and connection strings.
_NAMES = (
    r"(?:api[-_ ]?key(?: provided)?|authorization|password|passwd|secret|access[-_]?key|"
    r"account[-_]?key|(?:access|auth|session|security)[-_]?token|signature)"
)

#: Shapes of secrets that no setting names: the key of another tenant, a signed link.
_SHAPES = (
    # https://user:password@host; of http also a user alone, which is a token there.
    # What sentences of ours write in a password's place is none.
    # A scheme's length is bounded: else each letter of a long word would be tried as its start.
    (re.compile(r"(\b[a-z][a-z0-9+.-]{0,30}://[^\s/@:]*:)(?!PASSWORD@|\*+@)[^\s/@]+@", re.I),
     rf"\1{MASK}@"),
    (re.compile(r"(\bhttps?://)[^\s/@:]+@", re.I), rf"\1{MASK}@"),
    (re.compile(r"([?&](?:[\w-]*(?:key|token|signature|credential)|sig|code)=)[^\s&#\"']+", re.I),
     rf"\1{MASK}"),
    (re.compile(r"\b(bearer|basic) +[\w.~+/=-]{6,}", re.I), rf"\1 {MASK}"),
    (re.compile(rf"({_NAMES}[\"']?\s*[:=]\s*[\"']?)(?!bearer |basic )[^\s\"'&,;)}}]{{8,}}", re.I),
     rf"\1{MASK}"),
    (re.compile(r"\b(?:sk|pk|rk)-[\w-]{8,}"), MASK),
)  # fmt: skip

_secrets: dict[str, re.Pattern[str]] = {}

#: Characters that move a cursor, colour a screen, or turn the order of those around them: C0, DEL
#: and C1; the line and paragraph separators; bidirectional embeddings, overrides and isolates
#: (https://www.unicode.org/reports/tr9/), and the marks.
CONTROLS = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")

#: Characters at which no text is split: these, but for ends of lines and tabs, and unseen ones.
_HIDDEN = re.compile(
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
#: Text that follows a mask and such a character is the rest of the secret.
_REST = re.compile(rf"{re.escape(MASK)}(?:{_HIDDEN.pattern}+[\w.~+/=%-]+)+")
_LINES = re.compile(r"\s*[\r\n]+\s*")

#: Exceptions of a chain whose tracebacks are logged, at most.
_CHAINED = 5


def keep_secret(*values: str | None) -> None:
    """Mask each value, as it is and as a URL has it, wherever text is masked from now on."""
    for value in values:
        for text in {value, quote(value, safe="")} if value else ():
            is_long = len(text) >= _LONG
            if len(text) < _LEAST or (text.isalpha() and not is_long):
                continue
            pattern = re.escape(text)
            _secrets[text] = re.compile(pattern if is_long else rf"(?<!\w){pattern}(?!\w)")


def keep_secrets_of_url(url: str | None) -> None:
    """Mask a URL's password, and what its query holds under the name of one."""
    try:
        parts = urlsplit(url or "")
        password = parts.password
    except ValueError:
        return
    keep_secret(password and unquote(password))
    if parts.scheme in ("http", "https") and parts.username and not password:
        keep_secret(unquote(parts.username))
    for name, value in parse_qsl(parts.query):
        if re.search(rf"{_NAMES}|key|token|sig", name, re.I):
            keep_secret(value)


def keep_secrets_of(environ: Mapping[str, str]) -> None:
    """Mask the values of variables that are named like secrets."""
    keep_secret(*(v for k, v in environ.items() if _SECRET_NAME.search(k) and len(v) >= _LONG))


def masked(text: str) -> str:
    """Return ``text`` without the secrets that are known, and without what looks like one.

    A secret with a control or an invisible character in it is one, too: where text has such, it is
    looked at again without them, and returned without them if that shows more.
    """
    text = _masked(text)
    if not text.isprintable():
        text = _REST.sub(MASK, text)
        bare = _HIDDEN.sub("", text)
        found = _masked(bare) if bare != text else bare
        joined = _LINES.sub("", found)
        if any(secret in joined for secret in list(_secrets)):
            found = _masked(joined)
        if found != bare:
            return found
    return text


def _masked(text: str) -> str:
    for secret, pattern in list(_secrets.items()):
        if secret in text:
            text = pattern.sub(MASK, text)
    for shape, instead in _SHAPES:
        text = shape.sub(instead, text)
    return text


def outside(text: object, most: int = EXCERPT) -> str:
    """Return text from outside on one line: masked, without controls, ``most`` characters of it."""
    whole = str(text)
    line = masked(whole[:_READ])
    if len(whole) > _READ:
        line = line[:-_HALVED]
    return " ".join(printable(" ".join(line.split())).split())[:most]


def printable(text: str, *, keep: str = "") -> str:
    """Return ``text`` with a mark in place of each control character but those to ``keep``.

    Characters of no use to a reader that a terminal obeys; half a surrogate pair is no text.
    """
    if text.isprintable():
        return text
    text = CONTROLS.sub(lambda found: found[0] if found[0] in keep else _MARK, text)
    return text.encode("utf-8", "replace").decode()


def unbroken(text: str) -> str:
    """Return ``text`` with a space in place of each line break and the blanks around it."""
    return _LINES.sub(" ", text)


def one_line(text: str) -> str:
    """Return ``text`` on one line, masked, with a mark in place of each control character."""
    if "\n" in text or "\r" in text:
        text = masked(text)  # a secret may stand on two of its lines
    return printable(masked(unbroken(text)), keep="\t")


def frames(error: BaseException) -> str:
    """Return an exception's traceback without what it says, which may quote a cell or an answer.

    What our own errors say is for people to read.
    """
    parts: list[str] = []
    found: BaseException | None = error
    while found is not None and len(parts) < _CHAINED:
        lines = traceback.format_list(traceback.extract_tb(found.__traceback__))
        said = f": {outside(found)}" if isinstance(found, RowfleetError) else ""
        name = f"{type(found).__module__}.{type(found).__qualname__}{said}"
        parts.append("".join(["Traceback (most recent call last):\n", *lines, name]))
        found = found.__cause__ or (None if found.__suppress_context__ else found.__context__)
    return "\n\nwhich came of the one before:\n\n".join(reversed(parts))


class Discreet(logging.Filter):
    """Makes each message of a log one line, masked; its tracebacks say only where and which."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record; it is always logged."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # whose arguments don't fit, which logging would report
            message = str(record.msg)
        record.msg = one_line(message)
        record.args = None
        if isinstance(record.exc_info, tuple) and record.exc_info[1] is not None:
            record.exc_text = frames(record.exc_info[1])
        return True


def quieten(handlers: Iterable[logging.Handler]) -> None:
    """Let every line of these handlers be discreet."""
    for handler in handlers:
        if not any(isinstance(f, Discreet) for f in handler.filters):
            handler.addFilter(Discreet())
