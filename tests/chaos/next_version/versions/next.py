"""What a revision may do: columns that may be empty or have a default, tables, indexes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from tests.chaos.next_version import NEXT, PREVIOUS

revision: str = NEXT
down_revision: str | None = PREVIOUS
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("rows", sa.Column("colour", sa.Text(), nullable=True))
    op.add_column("rows", sa.Column("weight", sa.Integer(), server_default="0", nullable=False))
    op.add_column("batches", sa.Column("owner", sa.Text(), server_default="", nullable=False))
    op.create_table("owners", sa.Column("name", sa.Text(), primary_key=True))
    op.create_index("rows_weight", "rows", ["batch_id", "weight"])
