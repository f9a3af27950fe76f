"""Opens strangers' documents in a process apart, within limits.

The `Opener` starts one process without the caller's environment: `opening.server`. That process
loads the libraries once and forks for each document, so that a document costs a fork, not a start
of Python, and finds nothing that an earlier one left behind.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final

from rowfleet.documents.encoding import EncodingError, decode
from rowfleet.documents.extracted import Box, Extracted
from rowfleet.documents.limits import Limits
from rowfleet.documents.unread import Unread, UnreadableError
from rowfleet.errors import InputError

_SERVER: Final = "rowfleet.documents.opening.server"
#: The folder from which the server imports; that of the caller may hold other modules.
_ROOT: Final = Path(__file__).resolve().parents[2]
#: What the server keeps of the environment. The rest may hold passwords.
_KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "TMPDIR")
#: Seconds that the server may take to start, and to answer after a document's own time is up.
_GRACE: Final = 60.0

#: A frame's head: what it holds, and its bytes.
FRAME: Final = struct.Struct("!cI")
#: What a frame holds: the server is ready; it lacks the OCR's data; a document's text; pictures;
#: the reason why a document is not read.
READY, NO_LANGUAGE, TEXT, PICTURES, UNREAD = b"R", b"L", b"T", b"P", b"U"


class OpenerLostError(Exception):
    """The process that opens documents has ended. The document may be tried again."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A page as a PNG or JPEG."""

    number: int
    content: bytes


class Opener:
    """Opens documents, one at a time. Not for several threads at once.

    ``languages`` are those of the OCR, joined by `+`, and ``tessdata`` the folder of their
    `.traineddata`; None: the folder of the installed packages.
    """

    def __init__(
        self, languages: str = "eng", *, tessdata: Path | None = None, limits: Limits | None = None
    ) -> None:
        self._languages = languages
        self._tessdata = tessdata
        self._limits = limits or Limits()
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._owner = 0

    def __enter__(self) -> Opener:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def extract(self, file: IO[bytes], name: str) -> bytes:
        """Return a document's text, encoded for the ledger: `encoding.decode` reads it.

        ``name`` is the file's name, of which the extension counts. Raises UnreadableError for a
        document that is not read, OpenerLostError if the process was lost otherwise, and InputError
        if the libraries or the OCR's data are not installed.
        """
        encoded = self._ask(file, TEXT, {"do": "extract", "name": name})
        try:
            decode(encoded)
        except EncodingError:  # a document took the process over
            raise UnreadableError(Unread.CORRUPT) from None
        return encoded

    def read(self, file: IO[bytes], name: str) -> Extracted:
        """Return a document's text; see `extract`."""
        return decode(self.extract(file, name))

    def render(
        self,
        file: IO[bytes],
        name: str,
        pages: Sequence[int],
        *,
        max_side: int = 1568,
        png: bool = False,
        marks: Mapping[int, Iterable[Box]] | None = None,
    ) -> list[Picture]:
        """Return pictures of the pages that a PDF or a picture gives, as JPEG or PNG.

        ``pages`` are numbers as in `Page.number`. ``max_side`` bounds width and height in pixels.
        ``marks`` are boxes to be marked, by page. Pages of other kinds (the text of an e-mail, a
        sheet) are left out. Raises as `extract` does.
        """
        marked = {str(page): [list(box) for box in boxes] for page, boxes in (marks or {}).items()}
        request = {
            "do": "render",
            "name": name,
            "pages": list(pages),
            "max_side": max_side,
            "png": png,
            "marks": marked,
        }
        return _pictures(self._ask(file, PICTURES, request), set(pages))

    def close(self) -> None:
        """End the process. It starts again with the next document."""
        if self._socket is not None:
            self._socket.close()
        if self._server is not None and self._owner == os.getpid():
            self._server.kill()
            self._server.wait()
        self._server = self._socket = None

    def _ask(self, file: IO[bytes], wanted: bytes, request: dict[str, Any]) -> bytes:
        request["limits"] = asdict(self._limits)
        connection = self._connection()
        try:
            connection.settimeout(self._limits.wall_seconds + _GRACE)
            message = json.dumps(request).encode()
            head = FRAME.pack(b"?", len(message))
            socket.send_fds(connection, [head], [file.fileno()])
            connection.sendall(message)
            kind, content = _receive(connection)
        except (OSError, EOFError):
            self.close()
            raise OpenerLostError("the process that opens documents was lost") from None
        if kind == UNREAD:
            raise _unreadable(content)
        if kind != wanted:
            raise UnreadableError(Unread.CORRUPT)
        return content

    def _connection(self) -> socket.socket:
        if self._socket is None or self._owner != os.getpid():
            self._start()
        assert self._socket is not None
        return self._socket

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        command = [sys.executable, "-m", _SERVER, str(theirs.fileno()), self._languages]
        if self._tessdata is not None:
            command.append(str(self._tessdata.resolve()))
        with theirs:
            self._server = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,  # libraries print what they stumbled over
                pass_fds=[theirs.fileno()],
                cwd=_ROOT,
                # Several threads of OCR slow each other down, and a fork loses them.
                env={**kept, "OMP_THREAD_LIMIT": "1", "LANG": "C.UTF-8"},
                start_new_session=True,  # Ctrl-C is for the caller, whose end ends the server
            )
        self._socket, self._owner = ours, os.getpid()
        ours.settimeout(_GRACE)
        try:
            kind, content = _receive(ours)
        except (OSError, EOFError):
            kind, content = UNREAD, b""
        if kind == READY:
            return
        self.close()
        if kind == NO_LANGUAGE:
            raise InputError(
                f"the OCR has no data for {content.decode()!r}: there is no such .traineddata"
            )
        raise InputError("documents need further libraries: pip install 'rowfleet[documents]'")


def _receive(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, size = FRAME.unpack(receive_exactly(connection, FRAME.size))
    return kind, receive_exactly(connection, size)


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """Return the next ``size`` bytes. Raises EOFError if the other side ends before."""
    received = bytearray()
    while len(received) < size:
        piece = connection.recv(min(size - len(received), 1 << 20))
        if not piece:
            raise EOFError
        received += piece
    return bytes(received)


def _unreadable(content: bytes) -> UnreadableError:
    with suppress(ValueError, TypeError):
        reason, detail = json.loads(content)
        return UnreadableError(Unread(reason), str(detail)[:200])
    return UnreadableError(Unread.CORRUPT)


def _pictures(content: bytes, wanted: set[int]) -> list[Picture]:
    pictures, at = [], 0
    head = struct.Struct("!II")
    while at < len(content):
        try:
            number, size = head.unpack_from(content, at)
        except struct.error:
            raise UnreadableError(Unread.CORRUPT) from None
        at += head.size + size
        if number not in wanted or at > len(content):
            raise UnreadableError(Unread.CORRUPT)
        pictures.append(Picture(number, content[at - size : at]))
    return pictures
