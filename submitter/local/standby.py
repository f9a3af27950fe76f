"""A process that becomes a worker once its settings are known, and imports until then.

It is imported first of all by `rowfleet local`, so it imports little itself.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path


class Standby:
    """One such process. It ends by itself when this one does."""

    def __init__(
        self, errors: int = subprocess.DEVNULL, environment: Mapping[str, str] | None = None
    ) -> None:
        """Start it. ``errors`` is where it says why it can't start; later it has a log.

        ``environment`` is what it starts with; None: that of this process.
        """
        self._channel, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                # -P: a `worker` or a `json` in the present directory is not ours.
                [sys.executable, "-P", "-m", "worker.standby"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=None if environment is None else dict(environment),
                start_new_session=True,  # Ctrl-C is this process's to handle
            )

    def go(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        directory: Path,
        *,
        log: int,
        lock: int,
    ) -> None:
        """Let it be a Celery worker with these ``arguments``, in ``directory``.

        ``log`` is the open file for its output. The open file ``lock`` stays open while it runs.
        """
        word = {
            "arguments": list(arguments),
            "environment": dict(environment),
            "directory": str(directory),
        }
        text = f"{json.dumps(word)}\n".encode()
        with suppress(BrokenPipeError, ConnectionResetError):  # its end is seen by who watches it
            sent = socket.send_fds(self._channel, [text], [log, lock])
            self._channel.sendall(text[sent:])

    def hang_up(self) -> None:
        """Close the way to it, at which it ends by itself."""
        self._channel.close()

    def end(self) -> None:
        """End it at once."""
        self.process.kill()
        self.process.wait()
        self.hang_up()


@contextmanager
def standing_by(*, wanted: bool) -> Iterator[list[Standby]]:
    """Start a process, if one is ``wanted``; end it unless it was taken from the list."""
    ready = [Standby()] if wanted else []
    try:
        yield ready
    finally:
        for each in ready:
            each.end()
