"""Each case of the chaos report goes to the table of the place where it ran."""

from __future__ import annotations

from typing import Any

from tests.chaos import report


def _case(name: str, **more: Any) -> dict[str, Any]:
    figures = {"rows": 10, "faults": 1, "lost": 0, "calls_over": 1, "allowed": 2}
    return {
        **{"case": name, "outcome": "passed", "seed": "1", "moves_again": 0.1, "ended": 2.0},
        **figures,
        **more,
    }


def _between(page: str, start: str, end: str) -> str:
    return page.partition(start)[2].partition("-->\n")[2].partition(end)[0]


def test_cases_on_a_cluster_have_a_table_of_their_own_and_the_other_stays() -> None:
    before = report.PAGE.read_text("utf-8")
    after = report.written(before, [_case("test_a_node_burns", place=report.CLUSTER)])
    here = ("<!-- cases:", "<!-- end of cases -->")
    there = ("<!-- cases on a cluster:", "<!-- end of cases on a cluster -->")
    assert _between(after, *here) == _between(before, *here)
    (line,) = _between(after, *there).splitlines()[2:]
    assert line == "| a node burns | 1 | 1 | 10 | 1 | 0 | 1 (2) | 0.1 | 2.0 |"
    assert _between(report.written(after, [_case("x")]), *there) == _between(after, *there)
