"""The steps of a sweep, in their order."""

from wiring.core import Core
from wiring.hosting import Hosting
from workspace.in_hand import InHand
from workspace.reports import Reports
from workspace.sweeping import Sweeper
from workspace.sweeping.lost_hosts import LostHosts
from workspace.sweeping.outbox import Outbox
from workspace.sweeping.overdue import Overdue
from workspace.sweeping.plans import StuckPlans
from workspace.sweeping.unanswered import Unanswered
from workspace.sweeping.unremembered import Unremembered
from workspace.sweeping.untold import Untold


def build_sweeper(core: Core, hosting: Hosting) -> Sweeper:
    """Build the sweeper: its steps by name, in the order in which they are taken."""
    lost_hosts = hosting.lost_hosts
    outbox = _outbox(core)
    overdue = _overdue(core, lost_hosts)
    plans = StuckPlans(core.database, core.edges)
    untold = Untold(core.database, core.publisher)
    unremembered = Unremembered(core.database, core.services.bus)
    unanswered = Unanswered(core.database, core.approvals, core.tool_calls, warning=core.settings.approval_warning)
    return Sweeper(
        core.database,
        {
            "expired": overdue.end_old_runs,
            "overdue": overdue.end_overdue,
            "declined": unanswered.decline,
            "warned": unanswered.warn,
            "given_up": unanswered.give_up,
            "buried": lost_hosts.bury,
            "lost": lost_hosts.fail_lost,
            "released": outbox.release_held,
            "uncapped": outbox.release_capped,
            "unstuck": plans.promote,
            "reopened": plans.reopen,
            "placed": lost_hosts.place,
            "sent": outbox.send,
            "announced": untold.announce,
            "unremembered": unremembered.place,
            "not_remembered": unremembered.give_up,
            "stuck": overdue.tell_stuck,
            "orphaned_files": hosting.orphaned_files.look,
            "orphaned_memory": hosting.orphaned_memory.look,
        },
    )


def _outbox(core: Core) -> Outbox:
    return Outbox(
        database=core.database,
        bus=core.services.bus,
        user_cap=core.user_cap,
        queue_length=core.services.broker.length,
        in_hand=InHand(core.database, Reports(core.client)).of,
    )


def _overdue(core: Core, lost_hosts: LostHosts) -> Overdue:
    settings = core.settings
    return Overdue(
        database=core.database,
        cancellation=core.services.cancellation,
        endings=core.endings,
        end_tasks=lost_hosts.fail_overdue,
        alerts=core.services.alerts,
        run_max_age=settings.run_max_age,
        stuck_after=settings.stuck_after,
        task_deadline=settings.task_deadline,
    )
