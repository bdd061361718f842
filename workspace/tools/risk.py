"""How dangerous a use of a tool is, by its parameters too. What is not known to be harmless counts as dangerous."""

from enum import StrEnum


class RiskLevel(StrEnum):
    """How much an act can do; it decides whether, and for how long, its owner is asked."""

    LOW = "low"  # reads; nobody is asked
    MEDIUM = "medium"
    HIGH = "high"
