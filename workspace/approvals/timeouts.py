"""How long an owner has to answer: the more an act can do, the longer."""

from typing import NamedTuple, assert_never

from workspace.tools.risk import RiskLevel


class ApprovalTimeouts(NamedTuple):
    """Seconds to answer, by risk; what is not answered in time is declined."""

    medium: int
    high: int

    def of(self, level: RiskLevel) -> int | None:
        """Return the seconds to answer for an act of this risk, `None` where nobody is asked."""
        match level:
            case RiskLevel.LOW:
                return None
            case RiskLevel.MEDIUM:
                return self.medium
            case RiskLevel.HIGH:
                return self.high
            case _:
                assert_never(level)
