"""What the owner of a workspace sets of it."""

from typing import Final

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from models import Json

log = structlog.get_logger(__name__)


class SpaceSettings(BaseModel):
    """A workspace's settings; what is null falls back to the system's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    idle_timeout_seconds: int | None = Field(
        None, ge=60, le=7 * 86_400, strict=True, description="seconds without use until the workspace is closed"
    )


DEFAULT_SETTINGS: Final = SpaceSettings()


def read_settings(stored: Json) -> SpaceSettings:
    """Return settings from their row; what is no settings any more counts as the defaults, and is logged."""
    try:
        return SpaceSettings.model_validate(stored)
    except ValidationError as error:
        log.warning("workspace_settings_refused", error=str(error))
        return DEFAULT_SETTINGS
