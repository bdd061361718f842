"""A message to an agent, its answer as it streams, and what is stored of both."""

from devstack.demo import show
from devstack.demo.stage import Stage
from devstack.demo.talk import hire, say

QUESTION = "Hello! In two sentences: who are you, and what can you help me with?"


def direct_message(stage: Stage) -> None:
    """One message to one agent."""
    show.title("A message to an agent")
    session = hire(stage, "helper", "You are a friendly assistant. Answer briefly.")
    answered = say(stage, session, "helper", QUESTION)
    show.title("What is stored")
    for item in stage.call("GET", f"{stage.project}/chat/{session}/messages/")["items"]:
        show.line(item["role"], item["content"])
    run = stage.call("GET", f"{stage.project}/runs/{answered.run_id}")
    show.line("usage", show.usage(run.get("usage") or {}))
