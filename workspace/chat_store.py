"""Sessions, messages and runs as a client reads them."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from models import ChatSession, Message, Run, Task, new_id
from models.statuses import MessageRole, RunStatus
from models.tenancy import Database
from workspace.cancellation import lock_tasks
from workspace.errors import NotFound
from workspace.names import WorkspaceKey
from workspace.paging import Order, Page, PageRequest, fetch_page, parse_cursor


class SessionView(NamedTuple):
    """A session and how many messages it has."""

    session: ChatSession
    message_count: int


class RunView(NamedTuple):
    """A run with its tasks."""

    run: Run
    tasks: list[Task]


class Outcome(NamedTuple):
    """A run that has ended, and the message that answers it, if there is one."""

    run: Run
    reply: Message | None


class ChatStore:
    """Reads and writes sessions, within one tenant at a time."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, key: WorkspaceKey, title: str | None) -> SessionView:
        """Begin a session.

        Raises:
            NotFound: the project was deleted meanwhile.
        """
        chat = ChatSession(id=new_id(), user_id=key.user_id, project_id=key.project_id, title=title)
        with self._database.tenant_session(key.user_id) as session:
            session.add(chat)
            try:
                session.commit()
            except IntegrityError as error:
                raise NotFound from error
        return SessionView(chat, 0)

    def page(self, key: WorkspaceKey, request: PageRequest) -> Page[SessionView]:
        """Return a page of a project's sessions."""
        with self._database.tenant_session(key.user_id) as session:
            query = select(ChatSession).where(ChatSession.project_id == key.project_id)
            page = fetch_page(session, query, ChatSession, request)
            counts = {
                row[0]: row[1]
                for row in session.execute(
                    select(Message.session_id, func.count(Message.id))
                    .where(Message.session_id.in_([chat.id for chat in page.items]))
                    .group_by(Message.session_id)
                )
            }
        views = [SessionView(chat, counts.get(chat.id, 0)) for chat in page.items]
        return Page(views, page.total, page.next_cursor)

    def get(self, key: WorkspaceKey, session_id: UUID) -> SessionView:
        """Return one session.

        Raises:
            NotFound: no such session in the project.
        """
        count = select(func.count(Message.id)).where(Message.session_id == session_id).scalar_subquery()
        with self._database.tenant_session(key.user_id) as session:
            row = session.execute(
                select(ChatSession, count).where(ChatSession.id == session_id, ChatSession.project_id == key.project_id)
            ).one_or_none()
        if row is None:
            raise NotFound
        return SessionView(*row)

    def exists(self, key: WorkspaceKey, session_id: UUID) -> bool:
        """Return whether the project has this session."""
        with self._database.tenant_session(key.user_id) as session:
            found = session.scalar(
                select(ChatSession.id).where(ChatSession.id == session_id, ChatSession.project_id == key.project_id)
            )
        return found is not None

    def delete(self, key: WorkspaceKey, session_id: UUID) -> list[UUID]:
        """Delete a session with its messages and runs; returns the tasks that were not settled.

        Raises:
            NotFound: no such session in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            # Locked as a message locks it: new ones wait. Its runs would be deleted before their tasks, against the
            # order of whoever ends them, so the tasks are locked first.
            chat = session.scalars(
                select(ChatSession)
                .where(ChatSession.id == session_id, ChatSession.project_id == key.project_id)
                .with_for_update(key_share=True)
            ).one_or_none()
            if chat is None:
                raise NotFound
            tasks = [task.id for task in lock_tasks(session, Task.session_id == session_id)]
            session.delete(chat)
            session.commit()
        return tasks

    def messages(
        self, key: WorkspaceKey, session_id: UUID, request: PageRequest, *, role: MessageRole | None = None
    ) -> Page[Message]:
        """Return a page of a session's messages in the order of the conversation: each answer after its question.

        Raises:
            NotFound: no such session in the project.
        """
        self.get(key, session_id)
        query = select(Message).where(Message.session_id == session_id)
        if role is not None:
            query = query.where(Message.role == role)
        with self._database.tenant_session(key.user_id) as session:
            total = session.execute(select(func.count()).select_from(query.subquery())).scalar_one()
            newest = request.order is Order.NEWEST
            place = (Message.run_id, Message.id)
            query = query.order_by(*(column.desc() if newest else column.asc() for column in place))
            if request.cursor is not None:
                after = session.scalars(
                    select(Message).where(Message.id == parse_cursor(request), Message.session_id == session_id)
                ).one_or_none()
                if after is None:
                    raise NotFound
                here, there = func.row(*place), func.row(after.run_id, after.id)
                query = query.where(here < there if newest else here > there)
            rows = list(session.scalars(query.offset(request.offset).limit(request.limit + 1)))
        items = rows[: request.limit]
        return Page(items, total, str(items[-1].id) if len(rows) > request.limit else None)

    def run(self, key: WorkspaceKey, run_id: UUID) -> RunView:
        """Return a run and its tasks.

        Raises:
            NotFound: no such run in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            run = session.scalars(select(Run).where(Run.id == run_id, Run.project_id == key.project_id)).one_or_none()
            if run is None:
                raise NotFound
            tasks = list(session.scalars(select(Task).where(Task.run_id == run_id).order_by(Task.id)))
        return RunView(run, tasks)

    def outcome(self, key: WorkspaceKey, run_id: UUID) -> Outcome | None:
        """Return how a run ended; `None` while it has not.

        Raises:
            NotFound: no such run in the project.
        """
        with self._database.tenant_session(key.user_id) as session:
            run = session.scalars(select(Run).where(Run.id == run_id, Run.project_id == key.project_id)).one_or_none()
            if run is None:
                raise NotFound
            if run.finished_at is None:
                return None
            answers = select(Message).where(
                Message.session_id == run.session_id, Message.run_id == run_id, Message.role == MessageRole.ASSISTANT
            )
            return Outcome(run, session.scalars(answers.order_by(Message.id.desc()).limit(1)).one_or_none())

    def runs(
        self, key: WorkspaceKey, session_id: UUID, request: PageRequest, *, status: RunStatus | None = None
    ) -> Page[Run]:
        """Return a page of a session's runs.

        Raises:
            NotFound: no such session in the project.
        """
        self.get(key, session_id)
        query = select(Run).where(Run.session_id == session_id)
        if status is not None:
            query = query.where(Run.status == status)
        with self._database.tenant_session(key.user_id) as session:
            return fetch_page(session, query, Run, request)
