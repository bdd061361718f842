"""What tools are carried out with."""

from settings import Settings
from wiring.core import Core
from workspace.approvals.requests import ApprovalRequests
from workspace.files import Owner, WorkspaceFiles
from workspace.memory.agent_memories import AgentMemories
from workspace.sandbox import build_sandbox, identity_of_commands
from workspace.tools.catalogue import CATALOGUE
from workspace.tools.executor import ToolExecutor
from workspace.tools.ledger import ToolLedger
from workspace.tools.memory_port import OwnMemory
from workspace.tools.registry import Resources, ToolRegistry
from workspace.tools.toolbox import ToolServices


def build_resources(settings: Settings, memories: AgentMemories) -> Resources:
    """Build what tools may reach: files, commands and the agent's own memory."""
    identity = identity_of_commands(uid=settings.sandbox_uid, gid=settings.sandbox_gid)
    files = WorkspaceFiles(
        settings.data_dir / "files",
        quota_bytes=settings.workspace_quota_bytes,
        quota_entries=settings.workspace_quota_entries,
        largest_file=settings.file_size_limit,
        # What the file tools write, commands may change, and the other way round.
        owner=None if identity.is_worker else Owner(identity.uid, identity.gid),
        output_limit=settings.tool_output_limit,
    )
    return Resources(files=files, sandbox=build_sandbox(settings, identity), memory=OwnMemory(memories))


def build_tools(core: Core, resources: Resources) -> ToolServices:
    """Build what a task calls tools with."""
    settings = core.settings
    return ToolServices(
        executor=ToolExecutor(ToolRegistry(CATALOGUE), resources, output_limit=settings.tool_output_limit),
        ledger=ToolLedger(core.database),
        requests=ApprovalRequests(settings, core.approvals.grants),
        grants=core.approvals.grants,
        publisher=core.publisher,
        settings=settings,
    )
