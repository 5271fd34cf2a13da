"""Prompts that were deleted, with whatever belongs to them, and can be brought back."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("prompts", sa.Column("deleted", sa.Boolean(), server_default=sa.false(), nullable=False))
