"""The columns that the finished sheet has beside the original ones."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import openpyxl
import pytest

from rowfleet.ledger.records import BatchRecord
from rowfleet.recipes.loading import bundled
from submitter.results import columns, writer
from submitter.results.columns import Added, FinishedRow
from submitter.results.target import atomic

BATCH = BatchRecord(
    id="b",
    source="a.xlsx",
    content_hash="",
    sheet="S",
    header=["Vendor"],
    formats=["General"],
    widths=None,
    recipe={},
    columns={},
    model="gpt-5",
    analyzer="openai",
    queue="q",
    status="finished",
    reason=None,
    total=1,
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    finished_at=None,
    price=None,
    max_cost=None,
    sample=None,
    dedupe=True,
    tier="workers",
    file_hash="",
    start_row=0,
    num_rows=None,
)
ROW = FinishedRow(1, ["ACME"], "done", {"answer": "yes"}, None, same_as=0)


def shown(batch: BatchRecord, row: FinishedRow) -> dict[str, object]:
    return {column.header: column.value(row) for column in columns.added_to(batch)}


def test_a_row_says_who_answered_it_and_which_row_has_the_same_answer() -> None:
    columns_there = shown(BATCH, ROW)
    assert columns_there == columns_there | {
        "AI_Analyzer": "openai (gpt-5)",
        "AI_Row": 3,
        "AI_Same_As_Row": 2,
        "AI_Status": "done",
        "AI_Error": None,
    }
    assert shown(replace(BATCH, analyzer="rules"), ROW)["AI_Analyzer"] == "rules"
    assert shown(replace(BATCH, first_row=7), ROW)["AI_Same_As_Row"] == 7


def test_a_row_without_an_answer_names_no_analyzer() -> None:
    failed = replace(ROW, output=None, status="failed", error="refused")
    assert shown(BATCH, failed)["AI_Analyzer"] is None
    assert shown(BATCH, failed)["AI_Error"] == "refused"


def test_only_a_batch_that_was_deduplicated_has_the_column_of_equal_rows() -> None:
    assert "AI_Same_As_Row" not in shown(replace(BATCH, dedupe=False), ROW)


def test_only_where_the_recipe_judges_answers_a_row_says_why_to_review_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert "AI_Review" not in shown(BATCH, ROW)
    monkeypatch.setattr(columns, "JUDGED_BY", ("checks",))
    judged = replace(BATCH, recipe={"checks": [{"name": "sum"}]})
    why = [{"name": "sum", "message": "is off"}, {"name": "law", "message": "is none"}]
    row = replace(ROW, review="needs_review", review_reasons=why)
    assert shown(judged, row)["AI_Review"] == "needs_review"
    assert shown(judged, row)["AI_Review_Reasons"] == "sum: is off; law: is none"
    assert shown(judged, ROW)["AI_Review_Reasons"] is None


def test_a_column_is_written_and_counted_once_it_is_in_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = columns.most_beside_the_original(bundled())
    place = Added("AI_Place", lambda batch, row: f"{batch.id}/{row.number}")
    monkeypatch.setattr(columns, "ADDED", (*columns.ADDED, place))
    assert columns.most_beside_the_original(bundled()) == before + 1
    out = tmp_path / "out.xlsx"
    with atomic(out) as file:
        writer.write_sheet(
            file,
            out,
            title=BATCH.sheet,
            header=BATCH.header,
            formats=BATCH.formats,
            result_headers={"answer": "AI_Answer"},
            added=columns.added_to(BATCH),
            rows=[ROW],
        )
    written = [[cell.value for cell in row] for row in openpyxl.load_workbook(out).worksheets[0]]
    assert written == [
        ["Vendor", "AI_Answer", *shown(BATCH, ROW)],
        ["ACME", "yes", *shown(BATCH, ROW).values()],
    ]
    assert (written[0][-1], written[1][-1]) == ("AI_Place", "b/1")
