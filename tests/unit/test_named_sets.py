"""Statuses, tiers and analyzers are compared by the members of their sets, never by their texts."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from rowfleet import analyzer_kinds
from rowfleet.ledger.statuses import (
    BatchStatus,
    RemoteStatus,
    RowReview,
    RowStatus,
    Tier,
    Verdict,
)

ROOT = Path(__file__).parents[2]

NAMES = {
    *BatchStatus,
    *RemoteStatus,
    *RowReview,
    *RowStatus,
    *Tier,
    *Verdict,
    *analyzer_kinds.BUILT_IN,
}

#: The modules that define the names.
HOMES = {"rowfleet/analyzer_kinds.py", "rowfleet/ledger/statuses.py"}


def compared(source: str) -> Iterator[int]:
    """Yield the lines that compare a value with one of the names, written as text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Compare(left=left, comparators=others):
                operands = [left, *others]
            case ast.MatchValue(value=value):
                operands = [value]
            case _:
                continue
        for constant in (part for operand in operands for part in ast.walk(operand)):
            if isinstance(constant, ast.Constant) and constant.value in NAMES:
                yield constant.lineno


def test_no_name_is_compared_as_text_outside_its_home() -> None:
    files = [
        path
        for package in ("rowfleet", "submitter", "worker")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path.relative_to(ROOT).as_posix() not in HOMES
    ]
    assert len(files) > 100
    found = [
        f"{path.relative_to(ROOT)}:{line}" for path in files for line in compared(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "if batch.status == 'stopped': pass",
        "if 'batch' != tier: pass",
        "ok = status in ('loading', other)",
        "ok = (row.id, 'queued') in live",
        "match status:\n    case 'failed' | 'expired': pass",
        "select(Row).where(Row.status == 'pending')",
        "ok = kind.name == 'openai'",
    ],
)
def test_each_form_of_comparison_is_found(source: str) -> None:
    assert list(compared(source))


def test_a_member_of_a_set_may_be_compared() -> None:
    assert not list(compared("if batch.status == BatchStatus.STOPPED: text = 'stopped'"))
