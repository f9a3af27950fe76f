"""Budgets, samples, rows that are answered once, and prices of a user's own"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BEFORE = ("loading", "running", "finished", "cancelled", "stopped")
_NOW = (*_BEFORE, "sampled", "budget_exhausted")

_LEADING = sa.text("status = 'pending' AND same_as IS NULL")
_FOLLOWING = sa.text("status = 'pending' AND same_as IS NOT NULL")
_SENT = sa.text("sent IS NOT NULL")


def _allow(statuses: tuple[str, ...], *columns: sa.Column[Any]) -> None:
    """Add columns to `batches`, and let its rows have these statuses. SQLite copies the table."""
    with op.batch_alter_table("batches") as batch:
        for column in columns:
            batch.add_column(column)
        batch.drop_constraint("batches_status", type_="check")
        batch.create_check_constraint("batches_status", f"status IN {statuses}")


def upgrade() -> None:
    _allow(
        _NOW,
        sa.Column("price", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("max_cost", sa.Numeric(precision=16, scale=8, asdecimal=False), nullable=True),
        sa.Column("sample", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("dedupe", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
    op.add_column("rows", sa.Column("sent", sa.String(length=32), nullable=True))
    op.add_column("rows", sa.Column("same_as", sa.Integer(), nullable=True))
    op.drop_index("rows_pending", "rows")
    op.create_index(
        "rows_pending",
        "rows",
        ["batch_id", "number"],
        unique=False,
        postgresql_where=_LEADING,
        sqlite_where=_LEADING,
    )
    op.create_index(
        "rows_following",
        "rows",
        ["batch_id", "same_as"],
        unique=False,
        postgresql_where=_FOLLOWING,
        sqlite_where=_FOLLOWING,
    )
    op.create_index(
        "rows_sent",
        "rows",
        ["batch_id", "sent"],
        unique=True,
        postgresql_where=_SENT,
        sqlite_where=_SENT,
    )
    op.add_column(
        "tallies", sa.Column("priced", sa.BigInteger(), server_default="0", nullable=False)
    )
    op.add_column(
        "tallies", sa.Column("cost_squared", sa.Float(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("tallies", "cost_squared")
    op.drop_column("tallies", "priced")
    for index in ("rows_sent", "rows_following", "rows_pending"):
        op.drop_index(index, "rows")
    op.drop_column("rows", "same_as")
    op.drop_column("rows", "sent")
    op.create_index(
        "rows_pending",
        "rows",
        ["batch_id", "number"],
        unique=False,
        postgresql_where=sa.text("status = 'pending'"),
        sqlite_where=sa.text("status = 'pending'"),
    )
    op.execute(
        "UPDATE batches SET status = 'stopped' WHERE status IN ('sampled', 'budget_exhausted')"
    )
    _allow(_BEFORE)
    with op.batch_alter_table("batches") as batch:
        for column in ("dedupe", "sample", "max_cost", "price"):
            batch.drop_column(column)
