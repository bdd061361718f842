"""What agents remember

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column('tasks', sa.Column('recalled', postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True))
    # What ended before counts as done: a constant default is no rewrite of the table, and what is still active loses it.
    op.add_column('tasks', sa.Column('remembered_at', sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=True))
    op.alter_column('tasks', 'remembered_at', server_default=None)
    op.execute(
        "UPDATE tasks SET remembered_at = NULL "
        "WHERE status IN ('pending', 'held', 'queued', 'running', 'waiting')"
    )
    op.create_index('ix_tasks_unremembered', 'tasks', ['finished_at'], unique=False, postgresql_where=sa.text("remembered_at IS NULL AND status IN ('completed', 'failed')"))


def downgrade() -> None:
    op.drop_index('ix_tasks_unremembered', table_name='tasks')
    op.drop_column('tasks', 'remembered_at')
    op.drop_column('tasks', 'recalled')
