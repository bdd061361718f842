"""The truth: tables, statuses and the walls between tenants. Columns, relations and transitions, nothing else."""

from models.accounts import Project, User, Workspace
from models.agents import UserAgent, UserOrchestrator
from models.approvals import ApprovalGrant, ApprovalRequest
from models.base import Base, Json, TenantOwned, new_id, utc_now
from models.chat import ChatSession, Message
from models.tool_calls import TaskTurn, ToolCall
from models.work import Run, Task

__all__ = [
    "ApprovalGrant",
    "ApprovalRequest",
    "Base",
    "ChatSession",
    "Json",
    "Message",
    "Project",
    "Run",
    "Task",
    "TaskTurn",
    "TenantOwned",
    "ToolCall",
    "User",
    "UserAgent",
    "UserOrchestrator",
    "Workspace",
    "new_id",
    "utc_now",
]
