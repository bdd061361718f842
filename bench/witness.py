"""What the model's server saw: how many requests of each agent at once. It trusts nobody's rows."""

from typing import Any

import httpx


def _address(model_url: str) -> str:
    return f"{model_url.removesuffix('/v1')}/_control/witness"


def reset(model_url: str) -> None:
    """Let it count anew."""
    httpx.delete(_address(model_url), trust_env=False).raise_for_status()


def most(model_url: str) -> dict[str, int]:
    """Return the most requests at once of each agent, by its id."""
    seen: dict[str, Any] = httpx.get(_address(model_url), trust_env=False).raise_for_status().json()["keys"]
    return {agent: tally["max"] for agent, tally in seen.items()}
