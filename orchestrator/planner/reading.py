"""The plan in a model's answer, or all that is wrong with it."""

from collections.abc import Collection

from orchestrator.plans.mistakes import MistakeCode, Mistakes, PlanMistake
from orchestrator.plans.plan import Plan
from orchestrator.plans.validation import validate
from workspace.strict_json import InvalidJson, JsonValue, loads


def read_plan(text: str, agents: Collection[str], *, most: int) -> Plan | Mistakes:
    """Return the plan that a model wrote, or its mistakes; never raises.

    Args:
        text: what it said.
        agents: the names of the agents that may be given a task.
        most: how many tasks the project lets a plan have.
    """
    try:
        value = _json_in(text)
    except InvalidJson as error:
        return (PlanMistake(MistakeCode.NOT_A_PLAN, None, f"The answer is not JSON: {error.detail}."),)
    found = validate(value, agents)
    # A plan with other mistakes is told of this one with them: there is one round to repair all of it.
    count = _count(value)
    if count <= most:
        return found
    others = () if isinstance(found, Plan) else found
    too_many = PlanMistake(MistakeCode.TOO_MANY_TASKS, None, f"The plan has {count} tasks; {most} are allowed.")
    return (too_many, *(mistake for mistake in others if mistake.code is not MistakeCode.TOO_MANY_TASKS))


def _json_in(text: str) -> JsonValue:
    """Return the JSON of an answer. Models that are not held to a schema put it into a fence, or words around it.

    Raises:
        InvalidJson: there is none, neither in the whole nor from the first brace to the last.
    """
    try:
        return loads(text.strip().encode())
    except InvalidJson:
        begin, end = text.find("{"), text.rfind("}")
        if begin < 0 or end < begin:
            raise
        return loads(text[begin : end + 1].encode())


def _count(value: JsonValue) -> int:
    tasks = value.get("tasks") if isinstance(value, dict) else None
    return len(tasks) if isinstance(tasks, list) else 0
