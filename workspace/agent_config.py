"""An agent's configuration: the persona, its model, its tools and its limits."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from workspace.names import AGENT_NAME

MAX_CONCURRENCY = 50
DEFAULT_CONCURRENCY = 3


def _full_name(value: str) -> str:
    if not AGENT_NAME.fullmatch(value):
        raise ValueError("must match ^[a-z][a-z0-9_-]{0,62}$")
    return value


AgentName = Annotated[
    str,
    AfterValidator(_full_name),
    Field(description="unique in the project; never changes", json_schema_extra={"pattern": "^[a-z][a-z0-9_-]{0,62}$"}),
]
ToolName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
Capability = Annotated[str, Field(min_length=1, max_length=64)]


class AgentLimits(BaseModel):
    """What one task of the agent may use; what is null falls back to the system's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout_seconds: int | None = Field(None, ge=1, le=3_600, description="running time")
    max_output_tokens: int | None = Field(None, ge=1, le=1_000_000, description="of one model turn")


class AgentMemoryConfig(BaseModel):
    """What the agent remembers by itself; what is null falls back to the system's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = Field(
        default=True, strict=True, description="false: nothing is looked up and nothing is kept, by its tools neither"
    )
    top_k: int | None = Field(None, ge=1, le=100, strict=True, description="memories that a message finds at most")
    min_score: float | None = Field(
        None, ge=-1, le=1, allow_inf_nan=False, description="how like the message they must be"
    )


class AgentConfig(BaseModel):
    """What a person sets of an agent. A change of it bumps the agent's version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: AgentName
    system_prompt: str = Field("You are a helpful assistant.", min_length=1, max_length=100_000)
    model: str | None = Field(None, min_length=1, max_length=128, description="null: the system's default model")
    tools: tuple[ToolName, ...] = Field((), max_length=64, description="tools that the agent may use")
    concurrency_limit: int = Field(
        DEFAULT_CONCURRENCY, ge=1, le=MAX_CONCURRENCY, strict=True, description="tasks it runs at once"
    )
    capabilities: tuple[Capability, ...] = Field((), max_length=64, description="what the orchestrator may ask it for")
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    limits: AgentLimits = AgentLimits()
    memory: AgentMemoryConfig = AgentMemoryConfig()
