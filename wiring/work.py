"""What a node carries out tasks with."""

from typing import NamedTuple

from orchestrator.orchestrator_run import OrchestratorRun
from wiring.core import Core
from wiring.hosting import Hosting
from wiring.orchestrating import build_orchestrator_run
from wiring.tools import build_tools
from workspace.announcements import Announcements
from workspace.direct_end import DirectEnd
from workspace.ledger import Ledger
from workspace.llm import ModelClient
from workspace.memory.agent_memories import AgentMemories
from workspace.plans.end import PlanEnd
from workspace.plans.ledger import PlanLedger
from workspace.recall import Recall
from workspace.rememberer import Rememberer
from workspace.run_spending import RunSpending
from workspace.runner import AgentRunner
from workspace.task_run import TaskRun
from workspace.task_waits import TaskWaits
from workspace.tools.registry import Resources


class Work(NamedTuple):
    """What a node carries out tasks with."""

    task_run: TaskRun
    orchestrator_run: OrchestratorRun
    rememberer: Rememberer
    announcements: Announcements


def build_work(
    core: Core, memories: AgentMemories, resources: Resources, model: ModelClient, hosting: Hosting, *, node_id: str
) -> Work:
    """Build that, for a node of this id."""
    settings = core.settings
    announcements = Announcements(core.database)
    rememberer = Rememberer(core.services.remembering, memories, node_id=node_id, is_host=hosting.manager.is_sure_host)
    ledger = Ledger(core.database, history_messages=settings.history_messages, user_task_cap=settings.user_task_cap)
    task_run = TaskRun(
        settings=settings,
        ledger=ledger,
        publisher=core.publisher,
        runner=AgentRunner(model, settings),
        bus=core.services.bus,
        health=hosting.health,
        direct_end=DirectEnd(ledger, core.services.bus, announcements),
        plan_end=PlanEnd(PlanLedger(core.database, user_task_cap=settings.user_task_cap), core.afterwards),
        load_config=core.services.agents.config,
        user_cap=core.user_cap,
        waits=TaskWaits(core.client),
        tools=build_tools(core, resources),
        recall=Recall(memories, core.publisher, settings),
        spending=RunSpending(core.database),
        remember=rememberer.hint,
    )
    return Work(
        task_run=task_run,
        orchestrator_run=build_orchestrator_run(core, model, ledger, announcements),
        rememberer=rememberer,
        announcements=announcements,
    )
