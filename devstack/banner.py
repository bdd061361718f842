"""What `up` prints once the stack is ready: where everything is, and calls to copy."""

from collections.abc import Mapping
from pathlib import Path

ADDRESSES = {
    "API": "API_URL",
    "Flower": "FLOWER_URL",
    "Postgres": "DATABASE_URL",
    "Redis": "REDIS_URL",
    "Model": "MODEL_URL",
}

EXAMPLES = """\
Token of the user `developer`, valid for 12 hours (`make -s token USER=name` prints another user's):
  {TOKEN}

Example calls:
  . {env_file}
  auth="Authorization: Bearer $TOKEN" json="Content-Type: application/json"
  # an agent
  curl -s -H "$auth" -H "$json" $API_URL/my/agents/ -d '{{"name": "helper", "system_prompt": "You are brief."}}'
  # a session; keep its id
  sid=$(curl -s -H "$auth" -H "$json" $API_URL/my/chat/sessions/ -d '{{}}' | sed 's/.*"id": *"\\([^"]*\\)".*/\\1/')
  # its events, as they happen
  curl -sN -H "$auth" $API_URL/my/chat/$sid/events/ &
  # a message
  curl -s -H "$auth" -H "$json" $API_URL/my/chat/$sid/message/ -d '{{"content": "Hello", "target_agent": "helper"}}'
"""


def text(facts: Mapping[str, str], env_file: Path, *, standin: bool) -> str:
    """The whole text."""
    lines = [""]
    for title, name in ADDRESSES.items():
        if name in facts:
            lines.append(f"{title:<9} {facts[name]}")
    if standin:
        lines.append("          the stand-in model, not a real one; OPENAI_API_KEY or OPENAI_BASE_URL choose another")
    lines.append("")
    if "TOKEN" in facts:
        lines.append(EXAMPLES.format(TOKEN=facts["TOKEN"], env_file=env_file))
    lines.append(f"All of this is in {env_file}. Ctrl-C or `make down` ends the stack.")
    return "\n".join(lines)
