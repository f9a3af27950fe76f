"""Batches that go through the API's own Batch API"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    for column in (
        sa.Column("tier", sa.String(length=16), server_default="workers", nullable=False),
        sa.Column("follower", sa.String(length=40), nullable=True),
        sa.Column("followed_until", sa.DateTime(timezone=True), nullable=True),
    ):
        op.add_column("batches", column)

    op.create_table(
        "remote_batches",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("token", sa.String(length=40), nullable=False),
        sa.Column("row_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("first_row", sa.Integer(), nullable=True),
        sa.Column("last_row", sa.Integer(), nullable=True),
        sa.Column("input_file_id", sa.Text(), nullable=True),
        sa.Column("remote_id", sa.Text(), nullable=True),
        sa.Column("remote_status", sa.String(length=32), nullable=True),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("batch_id", "part"),
        sa.UniqueConstraint("token"),
    )


def downgrade() -> None:
    op.drop_table("remote_batches")

    for column in ("followed_until", "follower", "tier"):
        op.drop_column("batches", column)
