"""What came of a tool call: an output, or an error that the model can act on."""

import json
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Self

from models import Json
from models.statuses import ToolCallStatus
from workspace.tools.errors import ToolError, ToolErrorCode

LONGEST_DETAIL = 4_000
"""Characters: it goes out in events, and may quote what the model wrote."""

_STATUS = {
    ToolErrorCode.REJECTED: ToolCallStatus.REJECTED,
    ToolErrorCode.ASKED_TOO_OFTEN: ToolCallStatus.REJECTED,
    ToolErrorCode.APPROVAL_EXPIRED: ToolCallStatus.EXPIRED,
    ToolErrorCode.CLIENT_TIMEOUT: ToolCallStatus.EXPIRED,
    ToolErrorCode.OUTCOME_UNKNOWN: ToolCallStatus.UNKNOWN,
}


@dataclass(frozen=True)
class ToolResult:
    """The end of a tool call."""

    status: ToolCallStatus
    body: Json
    """`{"ok": true, "output": {...}}` or `{"ok": false, "error": {"code": ..., "detail": ...}}`."""

    @classmethod
    def success(cls, output: Json) -> Self:
        """Return the result of a tool that did what it was asked for."""
        return cls(ToolCallStatus.SUCCEEDED, {"ok": True, "output": output})

    @classmethod
    def failure(cls, code: ToolErrorCode, detail: str) -> Self:
        """Return the result of one that did not."""
        error = {"code": code.value, "detail": detail[:LONGEST_DETAIL]}
        return cls(_STATUS.get(code, ToolCallStatus.FAILED), {"ok": False, "error": error})

    @classmethod
    def of_error(cls, error: ToolError) -> Self:
        """Return the result for a tool's own error."""
        return cls.failure(error.code, error.detail)

    @property
    def error_code(self) -> str | None:
        """The error's code; `None` for a success."""
        return None if self.body["ok"] else self.body["error"]["code"]

    @property
    def detail(self) -> str | None:
        """The error's text; `None` for a success."""
        return None if self.body["ok"] else self.body["error"]["detail"]


def as_answer(body: Json) -> str:
    """Return what the model is told of a result."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


LARGE = 1e16
"""From here on a float has no decimal point in JSON, and PostgreSQL gives a whole number back: `1e+23` is 10 to the
23rd, which no float is."""


def as_stored(value: Any) -> Any:
    """Return what a row gives back of a value: to be compared with that."""
    match value:
        case dict():
            return {name: as_stored(each) for name, each in value.items()}
        case list():
            return [as_stored(each) for each in value]
        case float() if abs(value) >= LARGE:
            return int(Decimal(repr(value)))
        case _:
            return value
