"""Models are asked for plans by schema, those that refused one without for a while."""

from orchestrator.planner.forms import REMEMBERED, PlanForms
from orchestrator.plans.schema import RESPONSE_FORMAT


def test_a_model_that_refused_a_schema_is_asked_without_one_for_a_while() -> None:
    now = 100.0
    forms = PlanForms(clock=lambda: now)
    assert forms.of("small") == RESPONSE_FORMAT
    forms.refused("small")
    now += REMEMBERED - 1
    assert (forms.of("small"), forms.of("other")) == (None, RESPONSE_FORMAT)
    now += 1
    assert forms.of("small") == RESPONSE_FORMAT
