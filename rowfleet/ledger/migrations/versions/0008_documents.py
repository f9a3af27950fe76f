"""Documents that rows name, what was read of them, and rows that wait for that"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_BEFORE = ("pending", "queued", "running", "done", "failed", "cancelled")
_NOW = ("waiting", *_BEFORE)


def _allow(statuses: tuple[str, ...]) -> None:
    """Let rows have these statuses. SQLite copies the table."""
    with op.batch_alter_table("rows") as rows:
        rows.drop_constraint("rows_status", type_="check")
        rows.create_check_constraint("rows_status", f"status IN {statuses}")


def _index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(
        name, table, columns, unique=False, postgresql_where=condition, sqlite_where=condition
    )


def upgrade() -> None:
    op.add_column("batches", sa.Column("documents", sa.Text(), nullable=True))
    _allow(_NOW)
    _index("rows_waiting", "rows", ["batch_id", "number"], "status = 'waiting'")

    op.create_table(
        "documents",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("read_version", sa.Text(), nullable=True),
        sa.Column("reading", sa.String(length=100), nullable=False),
        sa.Column("state", sa.String(length=16), server_default="pending", nullable=False),
        sa.Column("wanted_on", sa.String(length=100), nullable=True),
        sa.Column("wanted_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("is_released", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("retries", sa.Integer(), server_default="0", nullable=False),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim", sa.String(length=40), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("reason", sa.String(length=32), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("size", sa.Integer(), nullable=True),
        sa.Column("pages", sa.Integer(), nullable=True),
        sa.Column("text_id", sa.String(length=64), nullable=True),
        sa.Column("latency", sa.Float(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'queued', 'running', 'ready', 'failed')", name="documents_state"
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("documents_pending", "documents", ["wanted_on", "wanted_at", "id"], "state = 'pending'")
    _index("documents_queued", "documents", ["wanted_on"], "state = 'queued'")
    _index("documents_running", "documents", ["lease_until"], "state = 'running'")
    op.create_index(
        "documents_unreleased",
        "documents",
        ["finished_at"],
        unique=False,
        postgresql_where=sa.text("NOT is_released"),
        sqlite_where=sa.text("is_released = 0"),  # what a negated Boolean is there
    )

    op.create_table(
        "document_texts",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.Column("pages", sa.Integer(), nullable=False),
        sa.Column("attached", sa.LargeBinary(), nullable=True),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "row_documents",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("document_id", sa.String(length=32), nullable=False),
        sa.Column("column", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batches.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["document_id"], ["documents.id"]),
        sa.PrimaryKeyConstraint("batch_id", "number", "position"),
    )
    op.create_index("row_documents_of", "row_documents", ["document_id", "batch_id", "number"])


def downgrade() -> None:
    op.drop_table("row_documents")
    op.drop_table("document_texts")
    op.drop_table("documents")
    op.execute("UPDATE rows SET status = 'pending' WHERE status = 'waiting'")
    op.drop_index("rows_waiting", "rows")
    _allow(_BEFORE)
    op.drop_column("batches", "documents")
