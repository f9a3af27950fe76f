"""Rows that are done and need review"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_NEEDS_REVIEW = sa.text("review = 'needs_review'")


def upgrade() -> None:
    op.add_column("rows", sa.Column("review", sa.String(length=16), nullable=True))
    op.add_column("rows", sa.Column("review_reasons", sa.JSON(none_as_null=True), nullable=True))
    op.create_index(
        "rows_needing_review",
        "rows",
        ["batch_id", "number"],
        unique=False,
        postgresql_where=_NEEDS_REVIEW,
        sqlite_where=_NEEDS_REVIEW,
    )
    op.add_column(
        "tallies", sa.Column("needs_review", sa.Integer(), server_default="0", nullable=False)
    )


def downgrade() -> None:
    op.drop_column("tallies", "needs_review")
    op.drop_index("rows_needing_review", "rows")
    op.drop_column("rows", "review_reasons")
    op.drop_column("rows", "review")
