"""Run by Alembic: applies the migrations on the connection that `database.migrate` hands over.

To add one: write versions/NNNN_what.py by hand (revision "NNNN"), change store/tables.py to match; a test compares the two.
"""

from alembic import context

from workbench.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
