"""Answers judged step by step."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "step_labels",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("steps", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("source", sa.String(length=400), nullable=False),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_step_labels_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_step_labels")),
        sa.UniqueConstraint("token", name=op.f("uq_step_labels_token")),
    )
    op.create_index(op.f("ix_step_labels_prompt_id"), "step_labels", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_step_labels_rater"), "step_labels", ["rater"], unique=False)
