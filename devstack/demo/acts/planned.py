"""A message to nobody in particular: it is planned, fans out to three agents, and one answer joins what they say."""

import re
from collections.abc import Mapping
from typing import Any

from devstack.demo import show
from devstack.demo.approvals import decides
from devstack.demo.stage import DemoError, Stage
from devstack.demo.talk import Event, ask

REQUEST = "How should we travel from Lisbon to Rome: by train, by plane or by ship? Compare them, and recommend one."

TEAM = {
    "rail": ("knows trains and railways", "By train: two days with a night in Barcelona, about 30 kg of CO2."),
    "air": ("knows planes and airlines", "By plane: three hours, about 250 kg of CO2, the cheapest on most days."),
    "sea": ("knows ships and ferries", "By ship: from Barcelona to Civitavecchia overnight, about 90 kg of CO2."),
    "adviser": ("compares options and recommends one", ""),
}
"""Agents: what they are capable of, and what the stand-in says for them."""
ADVICE = "Take the train to Barcelona and the night ferry on: slower than the plane, and a third of its CO2."
EXPERTS = ("rail", "air", "sea")

PLAN: Mapping[str, Any] = {
    "rationale": "Each way of travel is looked at by who knows it, all at once; then they are compared.",
    "tasks": [
        *(
            {
                "id": name,
                "agent": name,
                "instruction": f"Say how to travel from Lisbon to Rome. You are the one who {TEAM[name][0]}.",
                "depends_on": [],
                "why_this_agent": f"It {TEAM[name][0]}.",
            }
            for name in EXPERTS
        ),
        {
            "id": "advice",
            "agent": "adviser",
            "instruction": "Compare what the others found, and recommend one way.",
            "depends_on": list(EXPERTS),
            "why_this_agent": f"It {TEAM['adviser'][0]}.",
        },
    ],
}
RULES: tuple[Mapping[str, Any], ...] = (
    {"match": re.escape(REQUEST), "plan": PLAN},
    *({"in": "system", "match": f"^You are {name}\\b", "say": TEAM[name][1] or ADVICE} for name in TEAM),
)
"""What the stand-in plans, and what it says for each agent."""


def a_plan_for_several_agents(stage: Stage) -> None:
    """Have a request planned, say yes to the plan, and see it run.

    Raises:
        DemoError: no plan was made, or not all of it was done.
    """
    show.title("A plan for several agents")
    stage.prompt(*RULES)
    for name, (capability, _) in TEAM.items():
        _hire(stage, name, capability)
    session = str(stage.call("POST", f"{stage.project}/chat/sessions/", {})["id"])
    show.line("session", session)
    says_yes = decides(stage, "approve", "a good plan")

    def react(event: Event) -> None:
        if event["event_type"] == "task_plan_created":
            _show_plan(event["payload"]["plan"])
        says_yes(event)

    answered = ask(stage, session, REQUEST, react)
    (ended,) = answered.told("run_completed")
    show.line("answer", answered.reply)
    _compare(stage, answered.run_id, ended)
    if stage.standin and (ended["status"] != "completed" or ADVICE not in answered.reply):
        raise DemoError(f"the plan was not done as the stand-in was told: {answered.reply}")


def _hire(stage: Stage, name: str, capability: str) -> None:
    agent: dict[str, Any] = {
        "name": name,
        "system_prompt": f"You are {name}, who {capability}. Answer in two sentences.",
        "capabilities": [capability],
    }
    if stage.model:
        agent["model"] = stage.model
    stage.call("POST", f"{stage.project}/agents/", agent)
    show.line("agent", f"{name}, who {capability}")


def _show_plan(plan: Mapping[str, Any]) -> None:
    show.line("", f"{plan['rationale']} ({plan['source']})")
    for task in plan["tasks"]:
        after = f" after {', '.join(task['depends_on'])}" if task["depends_on"] else ""
        show.line("", f"{task['id']}: {task['agent_name']}{after}, {_seconds(task['estimated_duration'])}")
        show.line("", f"   {task['why_this_agent']}")
    duration = plan["estimated_duration"]
    show.line("", f"all: {_seconds(duration['parallel'])}; one after the other: {_seconds(duration['sequential'])}")


def _compare(stage: Stage, run_id: str, ended: Mapping[str, Any]) -> None:
    """Show the estimate beside what it was."""
    plan = stage.call("GET", f"{stage.project}/runs/{run_id}/")["plan"]
    actual = {task["id"]: task for task in ended["outcome"]["tasks"]}
    for task in plan["tasks"]:
        done = actual[task["id"]]
        took = "" if done["duration"] is None else f"{done['duration']:.1f} s"
        show.line(task["id"], f"{done['status']}, estimated {_seconds(task['estimated_duration'])}, took {took}")
    estimate = _seconds(plan["estimated_duration"]["parallel"])
    show.line("all", f"estimated {estimate}, took {ended['outcome']['duration']:.1f} s")


def _seconds(spread: Mapping[str, float]) -> str:
    return f"{spread['p50']:.0f} s (at most {spread['p90']:.0f} s in 9 of 10)"
