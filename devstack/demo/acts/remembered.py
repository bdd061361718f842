"""An agent is told something in one session, and uses it in another."""

import json
import re
import time

from devstack.demo import show
from devstack.demo.stage import DemoError, Stage
from devstack.demo.talk import Answered, hire, say

PATIENCE = 30.0
"""Seconds."""

FACT = "hawthorn"
TOLD = f"Please remember: the password of our treehouse is {FACT}."
QUESTION = "What is the password of our treehouse?"

RULES = (
    {"match": f"^{re.escape(TOLD)}$", "say": "I will remember that."},
    {
        "match": f"^{re.escape(QUESTION)}$",
        "find": r"password of our treehouse is (\w+)",
        "say": "You told me once: it is {found}.",
    },
)
"""The stand-in can only say what it finds in its prompt: the second session's messages do not have it."""


def an_agent_that_remembers(stage: Stage) -> None:
    """Tell an agent something, and ask for it in a session that begins without it.

    Raises:
        DemoError: it was not remembered, or the stand-in did not find it in its prompt.
    """
    show.title("An agent that remembers")
    stage.prompt(*RULES)
    session = hire(stage, "companion", "You are a friendly companion. Answer briefly.")
    say(stage, session, "companion", TOLD)
    _await_memory(stage, "companion")
    again = str(stage.call("POST", f"{stage.project}/chat/sessions/", {})["id"])
    show.line("another session", again)
    answered = say(stage, again, "companion", QUESTION)
    _check(stage, answered)


def _await_memory(stage: Stage, name: str) -> None:
    """Wait until the run is in the agent's memory, which comes after its reply."""
    agents = stage.call("GET", f"{stage.project}/agents/")["items"]
    (agent,) = (each["id"] for each in agents if each["name"] == name)
    until = time.monotonic() + PATIENCE
    while not (items := stage.call("GET", f"{stage.project}/agents/{agent}/context/")["items"]):
        if time.monotonic() > until:
            raise DemoError(f"nothing was remembered within {PATIENCE:.0f} s")
        time.sleep(0.1)
    show.line("remembered", json.dumps(items[0]["text"], ensure_ascii=False))


def _check(stage: Stage, answered: Answered) -> None:
    found = [item for told in answered.told("context_retrieved") for item in told["items"]]
    if not found:
        raise DemoError("the second session was given no memory of the first")
    if FACT in answered.reply:
        show.line("so", "it knows from its memory what it was told in another session")
    elif stage.standin:
        raise DemoError(f"the memory was given to the agent, but the reply does not tell it: {answered.reply}")
    else:
        show.line("note", "The model was given the memory, and does not use it.")
