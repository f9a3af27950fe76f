"""The share of failed rows at which a batch stops"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("max_failures", sa.Float(), nullable=True))
    op.add_column("batches", sa.Column("failures_from", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("batches", "failures_from")
    op.drop_column("batches", "max_failures")
