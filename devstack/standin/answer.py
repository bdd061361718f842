"""What the stand-in says: text or tool calls, cut into tokens."""

import json
import re
from dataclasses import dataclass

from devstack.standin.conversation import Conversation
from devstack.standin.rules import Decision
from devstack.standin.schema import minimal
from devstack.standin.script import ToolCall

INTRODUCTION = "This is the stand-in model of Codelab Core, not a real language model."

TOKEN = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: either text in tokens or tool calls."""

    tokens: list[str]
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def text(self) -> str:
        """All tokens together."""
        return "".join(self.tokens)

    def count_tokens(self) -> int:
        """Tokens of the answer; a tool call counts the words of its arguments, and its name as one."""
        return len(self.tokens) + sum(1 + len(call.arguments.split()) for call in self.tool_calls)


def compose(conversation: Conversation, decision: Decision) -> Answer:
    """Decide what to say.

    Raises:
        BadRequestError: the schema that the answer must follow is none.
    """
    script = decision.script
    if script.tools and not conversation.tool_results:
        return Answer([], script.tools, "tool_calls")
    schema = conversation.schema
    if script.say is not None:
        tokens = split(script.say)
    elif schema is not None:
        tokens = split(json.dumps(minimal(schema)))
    elif conversation.tool_results:
        tokens = split(f"{INTRODUCTION} The tools returned: {'; '.join(conversation.tool_results)}")
    elif script.tokens is not None:
        tokens = numbered(script.tokens)
    else:
        tokens = split(f"{INTRODUCTION} You said: {decision.message}")
    limit = conversation.token_limit
    if limit is not None and len(tokens) > limit:
        return Answer(tokens[:limit], finish_reason="length")
    return Answer(tokens)


def split(text: str) -> list[str]:
    """Words with the white space behind them; together they are the text again."""
    return TOKEN.findall(text)


def numbered(count: int) -> list[str]:
    """The tokens `tok1 tok2 ...`."""
    return [f"tok{number} " for number in range(1, count)] + ([f"tok{count}"] if count else [])
