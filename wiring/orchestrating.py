"""What a node plans messages without a target with, and closes their runs with."""

from orchestrator.closing_task import ClosingTask
from orchestrator.launching import Launching
from orchestrator.orchestrator_run import OrchestratorRun, OrchestratorServices
from orchestrator.personal import PersonalOrchestrator
from orchestrator.plan_approvals import PlanApprovals
from orchestrator.planner.cache import PlanCache
from orchestrator.planner.model_planner import ModelPlanner
from orchestrator.planning_task import PlanningTask
from orchestrator.run_end import RunEnds
from orchestrator.run_rows import RunRows
from wiring.core import Core
from wiring.stores import redis_client
from workspace.announcements import Announcements
from workspace.ledger import Ledger
from workspace.llm import ModelClient
from workspace.task_waits import TaskWaits


def build_orchestrator_run(
    core: Core, model: ModelClient, ledger: Ledger, announcements: Announcements
) -> OrchestratorRun:
    """Build what carries out the orchestrator's own tasks."""
    settings = core.settings
    approvals = PlanApprovals(timeout=settings.approval_timeout_plan)
    orchestrator = PersonalOrchestrator(
        team=core.team,
        planner=ModelPlanner(
            model, PlanCache(redis_client(settings, url=settings.cache), ttl=settings.plan_cache_ttl), settings
        ),
        estimator=core.estimator,
        approvals=approvals,
    )
    planning = PlanningTask(
        settings=settings,
        orchestrator=orchestrator,
        rows=RunRows(core.database, approvals),
        launching=Launching(core.database, core.edges, core.publisher),
        ledger=ledger,
        publisher=core.publisher,
    )
    closing = ClosingTask(
        settings=settings,
        database=core.database,
        orchestrator=orchestrator,
        model=model,
        publisher=core.publisher,
        waits=TaskWaits(core.client),
    )
    services = OrchestratorServices(
        ledger=ledger,
        ends=RunEnds(core.database),
        publisher=core.publisher,
        bus=core.services.bus,
        user_cap=core.user_cap,
        announcements=announcements,
    )
    return OrchestratorRun(services, planning, closing)
