"""A worker that starts before its settings are known: `python -m worker.standby`.

`rowfleet local` starts it first of all, and checks the sheet while it imports. Its standard input
is a socket, over which it is then told what a Celery worker is started with. It ends when the other
end of the socket is closed.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import socket
import sys
from typing import Any

#: Modules that a worker imports until its first answer has come.
EARLY = (
    "celery.bin.celery",
    "celery.bin.worker",
    "celery.concurrency.thread",
    "celery.worker.components",
    "celery.worker.consumer",
    "kombu.transport.redis",
    "worker.bookkeeper",
    "worker.consumer",
    "worker.row",
    "worker.analyzers.registry",
    "worker.steps.deletion_cost",
    "worker.steps.feeding",
    "genai_prices",
    "worker.analyzers.openai.making",
)
#: The pool that allows it: gevent patches the standard library before others import it, and prefork
#: forks.
POOL = "threads"

#: Bytes that are read at once, and open files that come along: the log, and the run's lock.
_CHUNK, _FILES = 64 << 10, 2


def main() -> None:
    """Import, wait for the word, and become the worker."""
    if os.environ.get("ROWFLEET_POOL", POOL) == POOL:
        gc.disable()  # as in `worker.celery`, which enables it again
        for name in EARLY:
            importlib.import_module(name)
    word = _told()
    if word is None:
        return
    os.environ.clear()
    os.environ.update(word["environment"])
    os.chdir(word["directory"])
    sys.argv = ["celery", *word["arguments"]]
    from celery.__main__ import main as celery

    celery()


def _told() -> dict[str, Any] | None:
    """Return what the submitter says, None if it has gone. Output goes to the log from then on."""
    channel = socket.socket(fileno=0)
    try:
        text, files, _, _ = socket.recv_fds(channel, _CHUNK, _FILES)
        while not text.endswith(b"\n"):
            more = channel.recv(_CHUNK)
            if not more:
                return None
            text += more
    finally:
        channel.detach()  # it stays standard input
    log, _lock = files  # the lock is held by being open
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    word: dict[str, Any] = json.loads(text)
    return word


if __name__ == "__main__":
    main()
