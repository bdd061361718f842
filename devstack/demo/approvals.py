"""The part of the person in the demo, who is asked for a yes or a no."""

from devstack.demo import show
from devstack.demo.stage import DemoError, Stage
from devstack.demo.talk import Answered, Event, React


def decides(stage: Stage, decision: str, reason: str) -> React:
    """Answer every approval that is asked for in this way."""

    def react(event: Event) -> None:
        if event["event_type"] != "approval_required":
            return
        payload = event["payload"]
        for why in payload.get("reasons") or ():
            show.line("", why if payload["type"] == "plan" else f"because it {why}")
        show.line("you", f"{decision}: {reason}")
        path = f"{stage.project}/approvals/{payload['approval_id']}/confirm"
        stage.call("POST", path, {"decision": decision, "reason": reason})

    return react


def was_asked(stage: Stage, answered: Answered) -> bool:
    """Whether the agent asked for a tool that needs a yes. A real model may do without, which is told.

    Raises:
        DemoError: the stand-in was told to ask, and did not.
    """
    if answered.told("approval_required"):
        return True
    _missed(stage, "The model answered without a tool that needs your yes, so nobody was asked.")
    return False


def used(stage: Stage, answered: Answered, tool: str) -> bool:
    """Whether a tool of this name has succeeded. A real model may do without, which is told.

    Raises:
        DemoError: the stand-in was told to use it.
    """
    if any((each["tool"], each["status"]) == (tool, "succeeded") for each in answered.told("tool_result")):
        return True
    _missed(stage, f"The model answered without {tool}.")
    return False


def _missed(stage: Stage, text: str) -> None:
    if stage.standin:
        raise DemoError(f"{text} The stand-in was told otherwise.")
    show.line("note", f"{text} Another model, or another try, may do it.")
