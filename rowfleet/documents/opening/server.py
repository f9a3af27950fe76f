"""The process that forks for each document; `opener.Opener` starts it and ends with it.

Its arguments are the socket to the `Opener`, the OCR's languages, and the folder of their data, if
one is given.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rowfleet.documents.limits import MAX_ENCODED_BYTES
from rowfleet.documents.opener import FRAME, NO_LANGUAGE, READY, UNREAD, receive_exactly
from rowfleet.documents.unread import Unread

#: Bytes that a document's process may hand over: a text, or the pictures of its pages.
MAX_REPLY_BYTES = 8 * MAX_ENCODED_BYTES

#: How a process ends that gets no memory. PDFium, written in C++, stops at an instruction that
#: does not exist; Rust aborts; and the kernel kills.
_NO_MEMORY = (signal.SIGABRT, signal.SIGILL, signal.SIGTRAP, signal.SIGKILL)


def main(descriptor: str, languages: str, tessdata: str | None = None) -> None:
    """Do what the module says, until the `Opener` ends."""
    connection = socket.socket(fileno=int(descriptor))
    # The libraries; a document's process opens no files, and so could import nothing.
    from rowfleet.documents.opening import child, ocr

    folder = Path(tessdata) if tessdata is not None else ocr.installed_data()
    for language in languages.split("+"):
        if not language.replace("_", "").isalnum() or not _has_data(folder, language):
            _send(connection, NO_LANGUAGE, language.encode())
            return
    engine = ocr.Ocr(folder, languages)
    child.load()
    gc.collect()
    gc.freeze()  # a collection in a fork would copy all pages of memory
    run = partial(child.run, engine=engine, data_bytes=child.data_bytes())
    _send(connection, READY, b"")
    with suppress(EOFError, OSError):
        while True:
            head, descriptors, _, _ = socket.recv_fds(connection, FRAME.size, 1)
            if not head:
                return
            _, size = FRAME.unpack(head)
            request = json.loads(receive_exactly(connection, size))
            _serve(connection, descriptors[0], request, run)


def _has_data(folder: Path, language: str) -> bool:
    return (folder / f"{language}.traineddata").is_file()


def _send(connection: socket.socket, kind: bytes, content: bytes) -> None:
    connection.sendall(FRAME.pack(kind, len(content)))
    connection.sendall(content)


def _serve(
    connection: socket.socket,
    file: int,
    request: dict[str, Any],
    run: Callable[[int, int, dict[str, Any]], None],
) -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            connection.close()
            os.close(reading)
            run(file, writing, request)
        finally:
            os._exit(0)
    os.close(writing)
    os.close(file)
    try:
        content = _content(connection, reading, request["limits"]["wall_seconds"])
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    if isinstance(content, Unread):
        _send(connection, UNREAD, json.dumps([content, ""]).encode())
    elif not content:
        _send(connection, UNREAD, json.dumps([_reason(status), ""]).encode())
    else:
        _send(connection, content[:1], content[1:])


def _content(connection: socket.socket, reading: int, wall_seconds: float) -> bytes | Unread:
    """Return what the document's process writes until it ends.

    A reason is returned once it passes its time or writes too much. Raises EOFError if the
    `Opener` ends.
    """
    end = time.monotonic() + wall_seconds
    content = bytearray()
    while True:
        left = end - time.monotonic()
        sources = [reading, connection.fileno()]
        ready, _, _ = select.select(sources, [], [], max(left, 0))
        if connection.fileno() in ready:  # between a request and its reply, only its end
            raise EOFError
        if not ready:
            return Unread.TOO_MUCH_TIME
        piece = os.read(reading, 1 << 20)
        if not piece:
            return bytes(content)
        content += piece
        if len(content) > MAX_REPLY_BYTES:
            return Unread.TOO_LARGE


def _reason(status: int) -> Unread:
    """Return why a document's process ended without a reply."""
    killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if killed_by == signal.SIGXCPU:
        return Unread.TOO_MUCH_TIME
    return Unread.TOO_MUCH_MEMORY if killed_by in _NO_MEMORY else Unread.CORRUPT


if __name__ == "__main__":
    main(*sys.argv[1:])
