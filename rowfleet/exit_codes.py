"""What the programs exit with: one table, which docs/reference/exit-codes.md explains."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What the shell, a Job or a supervisor sees when a program has ended."""

    #: All was done.
    DONE = 0
    #: A batch ended with rows that are not done, or a command could do only a part of its work.
    NOT_ALL_DONE = 1
    #: The sheet, the recipe, an option or a setting is wrong; or a batch was stopped.
    BAD_INPUT = 2
    #: The broker, the database or object storage can't be reached.
    SERVICE_AWAY = 3
    #: A worker's slot is stuck for good (sysexits.h, EX_SOFTWARE).
    STUCK = 70
    #: Ctrl-C: 128 + SIGINT.
    INTERRUPTED = 130
    #: SIGTERM: 128 + SIGTERM.
    TERMINATED = 143
