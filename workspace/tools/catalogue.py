"""Every tool of the deployment. What is not here no agent can do."""

from typing import Final

from workspace.tools.commands import execute_command
from workspace.tools.files import list_directory, read_file, write_file
from workspace.tools.memory import remember, search_context
from workspace.tools.registry import Tool

CATALOGUE: Final[tuple[Tool, ...]] = (read_file, write_file, list_directory, execute_command, search_context, remember)
