"""What a run answers: its own message, or, of a retry, that of the run which was the first to answer it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from models import Message, Run
from models.statuses import MessageRole


def request_of(session: Session, run: Run) -> Message:
    """Return the user's message that a run answers."""
    return session.scalars(
        select(Message).where(
            Message.session_id == run.session_id,
            Message.run_id == (run.message_of or run.id),
            Message.role == MessageRole.USER,
        )
    ).one()
