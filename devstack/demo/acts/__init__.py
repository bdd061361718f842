"""The acts of the demo: each gets the `Stage`, prints what happens, and raises `DemoError` if it went wrong."""

from collections.abc import Callable

from devstack.demo.acts.approved_file import a_file_that_needs_your_yes
from devstack.demo.acts.conversation import direct_message
from devstack.demo.acts.planned import a_plan_for_several_agents
from devstack.demo.acts.refused_command import a_command_that_you_refuse
from devstack.demo.acts.remembered import an_agent_that_remembers
from devstack.demo.stage import Stage

Act = Callable[[Stage], None]

ACTS: tuple[Act, ...] = (
    direct_message,
    a_file_that_needs_your_yes,
    a_command_that_you_refuse,
    an_agent_that_remembers,
    a_plan_for_several_agents,
)
