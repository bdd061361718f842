"""What all resources share: strict requests, pages, errors, storable text."""

from datetime import datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workspace.paging import DEFAULT_LIMIT, MAX_LIMIT, Order, PageRequest

Item = TypeVar("Item")


class RequestModel(BaseModel):
    """A body or a query whose unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ResponseModel(BaseModel):
    """What the API answers."""

    model_config = ConfigDict(frozen=True)


class Listing(ResponseModel, Generic[Item]):
    """A part of a list; `next_cursor` is null on its last part."""

    items: list[Item]
    total: int
    next_cursor: str | None


class PageQuery(RequestModel):
    """Which part of a list is wanted."""

    limit: int = Field(DEFAULT_LIMIT, ge=1, le=MAX_LIMIT)
    offset: int = Field(0, ge=0, le=1_000_000)
    cursor: str | None = Field(None, max_length=64, description="`next_cursor` of the part before")
    sort: Order = Field(Order.OLDEST, description="`-` in front: newest first")

    def page(self) -> PageRequest:
        """Return it as the core takes it."""
        return PageRequest(limit=self.limit, offset=self.offset, cursor=self.cursor, order=self.sort)


class ErrorResponse(ResponseModel):
    """The body of every error."""

    model_config = ConfigDict(frozen=True, extra="allow")

    detail: str
    error_code: str
    timestamp: datetime
    request_id: str
    errors: list[dict[str, Any]] | None = Field(None, description="of a validation_error: what is wrong where")


def _storable(text: str) -> str:
    """Refuse NUL: PostgreSQL cannot hold it, and query strings can carry it past the JSON loader."""
    if "\x00" in text:
        raise ValueError("must not contain NUL")
    return text


Text = Annotated[str, AfterValidator(_storable)]
