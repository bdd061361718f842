"""The more an act can do, the longer its owner has to answer."""

from settings import Settings
from workspace.approvals.timeouts import ApprovalTimeouts
from workspace.tools.risk import RiskLevel


def test_nobody_is_asked_for_what_only_reads_and_longest_for_what_is_dangerous() -> None:
    fields = Settings.model_fields
    timeouts = ApprovalTimeouts(fields["approval_timeout_medium"].default, fields["approval_timeout_high"].default)

    assert [timeouts.of(level) for level in RiskLevel] == [None, 300, 600]
