"""Orchestrated runs

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None

_JSON = postgresql.JSONB(none_as_null=True, astext_type=sa.Text())


def upgrade() -> None:
    op.add_column('runs', sa.Column('plan', _JSON, nullable=True))
    op.add_column('runs', sa.Column('outcome', _JSON, nullable=True))
    op.add_column('runs', sa.Column('retry_of', sa.Uuid(), nullable=True))
    op.create_unique_constraint('uq_runs_id_user_id', 'runs', ['id', 'user_id'])
    op.create_foreign_key(
        op.f('fk_runs_retry_of_user_id'), 'runs', 'runs', ['retry_of', 'user_id'], ['id', 'user_id'],
        ondelete='SET NULL (retry_of)',
    )
    op.add_column('runs', sa.Column('message_of', sa.Uuid(), nullable=True))
    op.create_foreign_key(
        op.f('fk_runs_message_of_user_id'), 'runs', 'runs', ['message_of', 'user_id'], ['id', 'user_id'],
        ondelete='CASCADE',
    )
    for column in ('retry_of', 'message_of'):
        op.create_index(
            f'ix_runs_{column}', 'runs', [column], unique=False, postgresql_where=sa.text(f'{column} IS NOT NULL')
        )
    op.add_column('tasks', sa.Column('plan_task_id', sa.String(length=64), nullable=True))
    op.add_column('tasks', sa.Column('instruction', sa.Text(), nullable=True))
    op.add_column('tasks', sa.Column('depends_on', postgresql.ARRAY(sa.Uuid()), server_default='{}', nullable=False))
    op.add_column('tasks', sa.Column('follows', postgresql.ARRAY(sa.Uuid()), server_default='{}', nullable=False))
    op.create_index('uq_tasks_plan_task_id', 'tasks', ['run_id', 'plan_task_id'], unique=True)
    op.create_index('ix_tasks_pending', 'tasks', ['run_id'], unique=False, postgresql_where=sa.text("status = 'pending'"))
    op.add_column('approval_requests', sa.Column('answer', _JSON, nullable=True))
    op.create_index(
        'uq_approval_requests_plan', 'approval_requests', ['run_id'], unique=True,
        postgresql_where=sa.text("type = 'plan'"),
    )
    op.create_index(
        'ix_runs_planned', 'runs', ['project_id', 'finished_at'], unique=False,
        postgresql_where=sa.text('outcome IS NOT NULL'),
    )
    op.create_index(
        'ix_tasks_completed', 'tasks', ['agent_id', 'finished_at'], unique=False,
        postgresql_where=sa.text("status = 'completed'"),
    )


def downgrade() -> None:
    op.drop_index('uq_approval_requests_plan', table_name='approval_requests')
    op.drop_index('ix_tasks_completed', table_name='tasks')
    op.drop_index('ix_runs_planned', table_name='runs')
    op.drop_index('ix_runs_message_of', table_name='runs')
    op.drop_index('ix_runs_retry_of', table_name='runs')
    op.drop_column('approval_requests', 'answer')
    op.drop_index('ix_tasks_pending', table_name='tasks')
    op.drop_index('uq_tasks_plan_task_id', table_name='tasks')
    op.drop_column('tasks', 'follows')
    op.drop_column('tasks', 'depends_on')
    op.drop_column('tasks', 'instruction')
    op.drop_column('tasks', 'plan_task_id')
    op.drop_constraint(op.f('fk_runs_message_of_user_id'), 'runs', type_='foreignkey')
    op.drop_column('runs', 'message_of')
    op.drop_constraint(op.f('fk_runs_retry_of_user_id'), 'runs', type_='foreignkey')
    op.drop_constraint('uq_runs_id_user_id', 'runs', type_='unique')
    op.drop_column('runs', 'retry_of')
    op.drop_column('runs', 'outcome')
    op.drop_column('runs', 'plan')
