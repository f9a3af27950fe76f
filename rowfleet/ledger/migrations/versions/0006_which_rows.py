"""Which rows of which file a batch has, in which order they run, and what was written of them"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_LEADING = sa.text("status = 'pending' AND same_as IS NULL")


def _index_pending(*columns: str) -> None:
    op.drop_index("rows_pending", "rows")
    op.create_index(
        "rows_pending",
        "rows",
        ["batch_id", *columns],
        unique=False,
        postgresql_where=_LEADING,
        sqlite_where=_LEADING,
    )


def upgrade() -> None:
    # Without a value, or with a default, so that workers of before go on beside newer ones.
    for column in (
        sa.Column("first_row", sa.Integer(), nullable=True),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("where_expression", sa.Text(), nullable=True),
        sa.Column("order_by", sa.Text(), nullable=True),
        sa.Column("hidden", sa.String(length=8), server_default="include", nullable=False),
        sa.Column("totals", sa.String(length=8), nullable=True),
    ):
        op.add_column("batches", column)
    op.add_column("rows", sa.Column("rank", sa.Integer(), nullable=True))
    _index_pending("rank", "number")

    op.create_table(
        "exports",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("exported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sheet", sa.Text(), nullable=True),
        sa.Column("first_row", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "sha256"),
    )
    op.create_table(
        "earlier_files",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("file_hash", sa.String(length=64), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=True),
        sa.Column("sheet", sa.Text(), nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=True),
        sa.Column("left_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "file_hash"),
    )


def downgrade() -> None:
    op.drop_table("earlier_files")
    op.drop_table("exports")

    _index_pending("number")
    op.drop_column("rows", "rank")
    for column in ("totals", "hidden", "order_by", "where_expression", "origin", "first_row"):
        op.drop_column("batches", column)
