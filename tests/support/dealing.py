"""The order of the tests where several processes share them.

pytest-xdist gives each process an equal run of the tests, and a process that has ended takes half
of the longest rest by count. Tests of one folder that wait for servers would all be one process's,
and the last of them would run while the others idle. So each process's run begins with an equal
part of those, and ends with quick tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TypeVar

T = TypeVar("T")


def dealt(
    tests: Sequence[T], processes: int, *, file: Callable[[T], str], is_slow: Callable[[T], bool]
) -> list[T]:
    """Return the tests in the order in which ``processes`` equal runs of them take like times.

    The slow tests of a file stay together, since they share its servers.
    """
    slow = [list(of_file) for _, of_file in groupby(filter(is_slow, tests), file)]
    quick = [test for test in tests if not is_slow(test)]
    runs: list[list[T]] = [[] for _ in range(processes)]
    for of_file in sorted(slow, key=len, reverse=True):
        min(runs, key=len).extend(of_file)
    ordered: list[T] = []
    for at, run in enumerate(runs):
        wanted = (len(tests) - len(ordered)) // (processes - at) - len(run)
        ordered += run + quick[: max(0, wanted)]
        quick = quick[max(0, wanted) :]
    return ordered + quick
