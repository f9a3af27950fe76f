"""Calls that ended without an answer, and may be billed"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # With defaults, so that workers of before go on beside newer ones.
    op.add_column(
        "rows", sa.Column("possibly_billed", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "tallies",
        sa.Column("possibly_billed", sa.BigInteger(), server_default="0", nullable=False),
    )


def downgrade() -> None:
    for table in ("tallies", "rows"):
        op.drop_column(table, "possibly_billed")
