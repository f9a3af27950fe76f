"""Whether the tests are shared out so that no process has all those that wait for servers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.support.dealing import dealt


def file_of(test: str) -> str:
    return test.partition("::")[0]


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_each_process_begins_with_like_many_slow_tests_and_none_is_lost(processes: int) -> None:
    slow = [f"slow{file}::{test}" for file in range(17) for test in range(1 + file % 4)]
    quick = [f"quick::{test}" for test in range(200)]
    tests = slow + quick
    order = dealt(tests, processes, file=file_of, is_slow=lambda test: test.startswith("slow"))
    assert sorted(order) == sorted(tests)
    begin = 0
    counts = []
    for at in range(processes):  # as pytest-xdist splits them
        end = begin + (len(order) - begin) // (processes - at)
        run = order[begin:end]
        count = sum(test.startswith("slow") for test in run)
        assert all(test.startswith("slow") for test in run[:count])
        counts.append(count)
        begin = end
    assert max(counts) - min(counts) <= 4  # a file's tests stay together
    at_file = [file_of(test) for test in order if test.startswith("slow")]
    assert sum(a != b for a, b in pairwise(at_file)) == 16


def test_more_slow_tests_than_a_run_holds_are_all_there() -> None:
    tests = [f"{file}::{test}" for file in "ab" for test in range(9)]
    assert sorted(dealt(tests, 4, file=file_of, is_slow=lambda _: True)) == sorted(tests)
