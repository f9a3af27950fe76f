"""A TCP line to a server that breaks after so many bytes of an answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


class Line:
    """Passes bytes on; the first ``breaks`` connections end after ``after`` bytes of answers."""

    def __init__(
        self, port: int, after: int, breaks: int, on_break: Callable[[], object] = lambda: None
    ) -> None:
        self._target = ("127.0.0.1", port)
        self._after = after
        self._left = breaks
        self._on_break = on_break
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self.broken = 0

    def run(self) -> None:
        """Take connections until the line is closed."""
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            far = socket.create_connection(self._target)
            threading.Thread(target=self._up, args=(near, far), daemon=True).start()
            threading.Thread(target=self._down, args=(near, far), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _up(self, near: socket.socket, far: socket.socket) -> None:
        _copy(near, far, None)
        _shut(far)

    def _down(self, near: socket.socket, far: socket.socket) -> None:
        breaks = self._left > 0
        whole = _copy(far, near, self._after if breaks else None)
        if breaks and not whole:
            self._left -= 1
            self.broken += 1
            self._on_break()
        _shut(near)
        _shut(far)


def _copy(source: socket.socket, target: socket.socket, most: int | None) -> bool:
    """Copy until the source ends, or ``most`` bytes; return whether it ended by itself."""
    try:
        while data := source.recv(65536):
            part = data if most is None else data[:most]
            target.sendall(part)
            if most is not None:
                most -= len(part)
                if most == 0:
                    return False
    except OSError:
        pass
    return True


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def breaking(
    port: int, *, after: int, breaks: int, on_break: Callable[[], object] = lambda: None
) -> Iterator[Line]:
    """Give a line to ``port`` until the block ends."""
    line = Line(port, after, breaks, on_break)
    thread = threading.Thread(target=line.run, daemon=True)
    thread.start()
    yield line
    line.close()
    thread.join(10)
