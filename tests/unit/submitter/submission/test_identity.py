"""Which rows are sent the same, and which are about the same thing."""

from __future__ import annotations

from datetime import datetime

import pytest

from rowfleet.cells import Cell, Formatted
from submitter.submission.identity import Identity, sent
from tests.support.workbooks import RECIPE

COLUMNS = {"Vendor": 0, "Amount": 1}
POUNDS = Formatted(102, '"£"#,##0.00')


@pytest.mark.parametrize(
    ("cell", "other", "is_same"),
    [
        (POUNDS, Formatted(102, "[$£-809]#,##0.00"), True),
        (POUNDS, Formatted(102, '"€"#,##0.00'), False),
        (POUNDS, 102, False),
        (POUNDS, "£102.00", True),
        (Formatted(102, "0.00"), 102, True),
        (Formatted(datetime(2026, 3, 4), "dd/mm/yyyy"), datetime(2026, 3, 4), True),
    ],
)
def test_rows_are_the_same_if_a_model_is_sent_the_same(
    cell: Cell, other: Cell, is_same: bool
) -> None:
    assert (sent(COLUMNS, ["Acme", cell]) == sent(COLUMNS, ["Acme", other])) is is_same


def test_a_row_without_formats_has_the_hash_of_older_versions() -> None:
    """Rows of a batch that an older version began to record are still found to be duplicates."""
    assert sent(COLUMNS, ["Acme", 102]) == "4b84b62f67740fbf6d949edb9fc938dd"


def test_an_invoice_is_the_same_however_its_amount_is_shown() -> None:
    identity = Identity(RECIPE.model_copy(update={"identity": ("Vendor", "Amount")}), COLUMNS)
    hashes = {identity.of(["Acme", cell]) for cell in (POUNDS, 102, Formatted(102, "0.0%"))}
    assert len(hashes) == 1
