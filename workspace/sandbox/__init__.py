"""Commands of agents, each in a sandbox of its own."""

from workspace.sandbox.building import build_sandbox
from workspace.sandbox.directory import Directory, WorkspaceDirectory
from workspace.sandbox.identity import Identity, identity_of_commands
from workspace.sandbox.limits import Limits
from workspace.sandbox.sandbox import CommandResult, Sandbox

__all__ = [
    "CommandResult",
    "Directory",
    "Identity",
    "Limits",
    "Sandbox",
    "WorkspaceDirectory",
    "build_sandbox",
    "identity_of_commands",
]
