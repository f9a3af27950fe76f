"""When the next retry is due, found without a scan; and urgent batches."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_WAITS = sa.text("status = 'pending' AND due_at IS NOT NULL")


def upgrade() -> None:
    op.add_column(
        "batches", sa.Column("urgent", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.create_index(
        "rows_due", "rows", ["batch_id", "due_at"], postgresql_where=_WAITS, sqlite_where=_WAITS
    )


def downgrade() -> None:
    op.drop_index("rows_due", "rows")
    op.drop_column("batches", "urgent")
