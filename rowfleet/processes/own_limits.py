"""Limits that a process sets on itself."""

from __future__ import annotations

import resource


def bound(kind: int, most: int) -> None:
    """Lower a limit of this process, `resource.RLIMIT_…`, to ``most``, soft and hard.

    A limit that is lower already stays as it is.
    """
    soft = most
    if kind == resource.RLIMIT_CPU:
        # The hard limit kills as a lack of memory may; the soft one's signal says why.
        most += 1
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(kind, (min(soft, most), most))


def raise_cpu() -> None:
    """Raise this process' soft limit of computing time to a second below the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if hard != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_CPU, (hard - 1, hard))
