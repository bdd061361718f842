"""What the HTTP layer is given by `bootstrap`."""

from dataclasses import dataclass

from redis import Redis

from models.tenancy import Database
from orchestrator.calibrating import Calibrations
from orchestrator.plan_answers import PlanAnswers
from orchestrator.team import TeamStore
from settings import Settings
from workspace.account_store import Accounts, ProjectStore
from workspace.agent_store import AgentStore
from workspace.alerts import Alerts
from workspace.approvals.manager import ApprovalManager
from workspace.census import Census
from workspace.chat_store import ChatStore
from workspace.explanations import Explanations
from workspace.manager import WorkerSpaceManager
from workspace.oversight import Oversight
from workspace.survey import WorkspaceStore
from workspace.tools.client_calls import ToolCalls
from workspace.tools.registry import ToolRegistry


@dataclass(frozen=True, kw_only=True)
class Web:
    """The parts of the core that views use."""

    settings: Settings
    database: Database
    redis: Redis
    subscriber: Redis
    accounts: Accounts
    projects: ProjectStore
    agents: AgentStore
    chats: ChatStore
    manager: WorkerSpaceManager
    explanations: Explanations
    workspaces: WorkspaceStore
    oversight: Oversight
    alerts: Alerts
    census: Census
    approvals: ApprovalManager
    plan_answers: PlanAnswers
    tool_calls: ToolCalls
    tools: ToolRegistry
    team: TeamStore
    calibrations: Calibrations
