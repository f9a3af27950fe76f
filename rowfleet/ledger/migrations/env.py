"""Alembic's entry: migrates over the connection that `rowfleet.ledger.schema.migrate` hands in."""

from alembic import context

from rowfleet.ledger.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
