"""An agent writes a file once it is allowed to, and reads it without being asked about."""

import re

from devstack.demo import show
from devstack.demo.approvals import decides, used, was_asked
from devstack.demo.stage import DemoError, Stage
from devstack.demo.talk import hire, say

PATH = "notes/promise.txt"
CONTENT = "No accepted message is ever lost."
ORDER = f"Please write this sentence to the file {PATH}: {CONTENT}"
QUESTION = f"What does the file {PATH} say?"

WRITE = {"name": "write_file", "arguments": {"path": PATH, "content": CONTENT}}
READ = {"name": "read_file", "arguments": {"path": PATH}}
RULES = (
    {
        "match": f"^{re.escape(ORDER)}$",
        "steps": [
            {"say": "I will write that down.", "tool": WRITE},
            {"say": "It is written.", "on_error": "I could not write it: {result.error.detail}"},
        ],
    },
    {
        "match": f"^{re.escape(QUESTION)}$",
        "steps": [
            {"tool": READ},
            {"say": "The file says: {result.output.content}", "on_error": "I could not read it: {result.error.detail}"},
        ],
    },
)
"""What the stand-in does with the two messages, which say nothing of it themselves."""


def a_file_that_needs_your_yes(stage: Stage) -> None:
    """Write a file after an approval, and read it back.

    Raises:
        DemoError: the stand-in did not do as it was told, or the file does not say what was written.
    """
    show.title("A file that needs your yes")
    stage.prompt(*RULES)
    tools = ("read_file", "write_file", "list_directory")
    session = hire(stage, "writer", "You keep notes in files, with the tools that you have. Answer briefly.", tools)
    written = say(stage, session, "writer", ORDER, decides(stage, "approve", "demo"))
    if not was_asked(stage, written) or not used(stage, written, "write_file"):
        return
    # Reading is harmless. If a real model asks for more than that here, it gets a no.
    read = say(stage, session, "writer", QUESTION, decides(stage, "reject", "only read it"))
    if not used(stage, read, "read_file"):
        return
    if CONTENT in read.reply:
        show.line("so", "the file is there, and nobody was asked to read it")
    elif stage.standin:
        raise DemoError(f"the file was read, but the reply does not tell {CONTENT!r}: {read.reply}")
    else:
        show.line("note", "The model has read the file, and does not quote it.")
