"""The first schema: prompts, responses, demonstrations, comparisons, verdicts, skips and drafts."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "counter",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counter")),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=100), nullable=True),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("fingerprint", name=op.f("uq_prompts_fingerprint")),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("groups", sa.JSON(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("acceptable", sa.Integer(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.Column("question", sa.Text(), nullable=True),
        sa.Column("source", sa.String(length=400), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_comparisons_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("token", name=op.f("uq_comparisons_token")),
    )
    op.create_index(op.f("ix_comparisons_prompt_id"), "comparisons", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_comparisons_rater"), "comparisons", ["rater"], unique=False)
    op.create_table(
        "drafts",
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_drafts_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("rater", "prompt_id", name=op.f("pk_drafts")),
    )
    op.create_table(
        "responses",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("model", sa.String(length=400), nullable=False),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("sampling", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("strength", sa.Float(), nullable=False),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("ended", sa.Boolean(), nullable=True),
        sa.Column("author", sa.String(length=20), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_responses_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_responses")),
    )
    op.create_index(op.f("ix_responses_prompt_id"), "responses", ["prompt_id"], unique=False)
    op.create_table(
        "skips",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_skips_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_skips")),
        sa.UniqueConstraint("token", name=op.f("uq_skips_token")),
    )
    op.create_index(op.f("ix_skips_prompt_id"), "skips", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_skips_rater"), "skips", ["rater"], unique=False)
    op.create_index("ix_skips_rater_kind", "skips", ["rater", "kind"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("shown", sa.JSON(), nullable=False),
        sa.Column("choice", sa.JSON(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_verdicts_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("token", name=op.f("uq_verdicts_token")),
    )
    op.create_index(op.f("ix_verdicts_prompt_id"), "verdicts", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_verdicts_rater"), "verdicts", ["rater"], unique=False)
    op.create_table(
        "demonstrations",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt_id", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=400), nullable=False),
        sa.Column("draft_of", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("rater", sa.String(length=200), nullable=False),
        sa.Column("simulated", sa.Boolean(), nullable=False),
        sa.Column("token", sa.String(length=200), nullable=True),
        sa.Column("deleted", sa.Boolean(), nullable=False),
        sa.Column("created", sa.String(length=32), nullable=False),
        sa.ForeignKeyConstraint(["draft_of"], ["responses.id"], name=op.f("fk_demonstrations_draft_of_responses")),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_demonstrations_prompt_id_prompts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_demonstrations")),
        sa.UniqueConstraint("token", name=op.f("uq_demonstrations_token")),
    )
    op.create_index(op.f("ix_demonstrations_prompt_id"), "demonstrations", ["prompt_id"], unique=False)
    op.create_index(op.f("ix_demonstrations_rater"), "demonstrations", ["rater"], unique=False)
    op.execute(sa.text("INSERT INTO counter (name, value) VALUES ('all', 0)"))
