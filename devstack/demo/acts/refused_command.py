"""An agent is not allowed to run a command, and is told why."""

import re

from devstack.demo import show
from devstack.demo.approvals import decides, was_asked
from devstack.demo.stage import DemoError, Stage
from devstack.demo.talk import hire, say

ORDER = "Please delete the folder notes with the command rm."
REASON = "We still need these notes."

RULES = (
    {
        "match": f"^{re.escape(ORDER)}$",
        "steps": [
            {"tool": {"name": "execute_command", "arguments": {"command": "rm", "args": ["-r", "notes"]}}},
            {"say": "The folder is gone.", "on_error": "I did not delete it. I was told: {result.error.detail}"},
        ],
    },
)


def a_command_that_you_refuse(stage: Stage) -> None:
    """Refuse a command with a reason.

    Raises:
        DemoError: the stand-in did not do as it was told, or was not told the reason.
    """
    show.title("A command that you refuse")
    stage.prompt(*RULES)
    session = hire(
        stage, "operator", "You run commands with the tool that you have. Answer briefly.", ("execute_command",)
    )
    answered = say(stage, session, "operator", ORDER, decides(stage, "reject", REASON))
    if not was_asked(stage, answered):
        return
    if stage.standin and REASON not in answered.reply:
        raise DemoError(f"the agent was not told the reason: {answered.reply}")
    show.line("so", "nothing was run, and the agent knows why")
