"""What every payload is, and the parts that several of them have."""

from decimal import Decimal
from typing import ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field

from workspace.errors import ErrorCode, RunFailure
from workspace.events.types import EventType


class Payload(BaseModel):
    """The part of an event that depends on its type."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    event_type: ClassVar[EventType]


class Usage(BaseModel):
    """Tokens and their price; `cost_usd` is null where the model has no price in the settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cost_usd: Decimal | None = None


class Failure(BaseModel):
    """Why a task or a run failed, and whether the same message may work later."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error_code: ErrorCode
    detail: str
    retryable: bool = False
    retry_after: float | None = Field(None, description="seconds")

    @classmethod
    def of(cls, failure: RunFailure) -> Self:
        """Return what a client is told of a failure."""
        return cls(
            error_code=failure.code,
            detail=failure.detail,
            retryable=failure.retryable,
            retry_after=failure.retry_after,
        )
