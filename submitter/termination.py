"""SIGTERM as an end that leaves nothing half done."""

from __future__ import annotations

import signal
from types import FrameType
from typing import NoReturn


class Terminated(BaseException):
    """SIGTERM has come. Like KeyboardInterrupt it passes every handler of errors."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises Terminated where the program is.

    Without it, a program that is a container's first process does not feel SIGTERM at all, and is
    killed when the pod's grace period is over.
    """
    signal.signal(signal.SIGTERM, _raise)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
