"""How much a command may use, and what it is told when it wants more."""

from dataclasses import dataclass

from workspace.files import Usage


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one command with everything that it starts."""

    timeout: float = 300.0
    """Seconds, however long it asks for."""
    output: int = 1_048_576
    """Bytes of standard output and standard error together."""
    memory: int = 2_147_483_648
    """Bytes of all its processes together."""
    cpu_seconds: int = 300
    """Of each process."""
    processes: int = 128
    """Threads included."""
    temporary_files: int = 20_000
    """In `/tmp` and `/dev/shm`: they are memory of the kernel, which belongs to no process."""
    workspace_bytes: int = 1_073_741_824
    """What its workspace may hold, and the size of a file."""
    workspace_entries: int = 100_000
    """Files and directories that its workspace may hold."""
    disk_reserve: int = 268_435_456
    """Bytes that have to stay free on the disk of the workspaces."""

    @property
    def address_space(self) -> int:
        """Bytes that one process may reserve: programs reserve far more than they use, a thread some 70 MB."""
        return 4 * self.memory

    def exceeded_by(self, usage: Usage) -> str | None:
        """Return what a workspace holds too much of, in words."""
        if usage.bytes > self.workspace_bytes:
            return f"the workspace holds {usage.bytes} bytes, and the limit is {self.workspace_bytes}"
        if usage.entries > self.workspace_entries:
            return (
                f"the workspace holds {usage.entries} files and directories, and the limit is {self.workspace_entries}"
            )
        if not usage.complete:
            return "the workspace has directories that are nested too deep or cannot be read"
        return None
