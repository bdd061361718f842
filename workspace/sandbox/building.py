"""The sandbox of a deployment, as its settings say."""

from settings import Settings
from workspace.sandbox.identity import Identity
from workspace.sandbox.limits import Limits
from workspace.sandbox.sandbox import Sandbox
from workspace.tools.command_policy import CommandPolicy


def build_sandbox(settings: Settings, identity: Identity) -> Sandbox:
    """Return the sandbox; nothing is tried before it is asked for.

    Args:
        settings: the deployment's.
        identity: the account of commands; the files of workspaces belong to its owner.
    """
    limits = Limits(
        timeout=settings.command_timeout_limit,
        output=settings.command_output_limit,
        memory=settings.command_memory_limit,
        cpu_seconds=settings.command_cpu_limit,
        processes=settings.command_processes,
        workspace_bytes=settings.workspace_quota_bytes,
        workspace_entries=settings.workspace_quota_entries,
    )
    policy = CommandPolicy(allowed=settings.commands_allowed, denied=settings.commands_denied)
    return Sandbox(identity, limits, policy=policy)
