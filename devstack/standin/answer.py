"""What the stand-in says: text or tool calls, cut into tokens."""

import json
import re
from dataclasses import dataclass, replace

from devstack.standin.conversation import Conversation
from devstack.standin.results import is_error, quoted
from devstack.standin.rules import Decision
from devstack.standin.schema import minimal
from devstack.standin.script import Script, ToolCall

INTRODUCTION = "This is the stand-in model of Codelab Core, not a real language model."

CALLS = "tool_calls"
"""The reason why a turn with tool calls ended."""

FOUND = "{found}"
"""Stands for what was found in the system prompt."""

TOKEN = re.compile(r"\S+\s*|\s+")


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer: text in tokens, tool calls, or both."""

    tokens: list[str]
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"

    @property
    def text(self) -> str:
        """All tokens together."""
        return "".join(self.tokens)

    @property
    def claims_calls(self) -> bool:
        """Whether it says that there are tool calls, which is not to say that there are any."""
        return bool(self.tool_calls) or self.finish_reason == CALLS

    def count_tokens(self) -> int:
        """Tokens of the answer; a tool call counts the words of its arguments, and its name as one."""
        return len(self.tokens) + sum(1 + len(call.arguments.split()) for call in self.tool_calls)


def compose(conversation: Conversation, decision: Decision) -> Answer:
    """Decide what to say.

    Raises:
        BadRequestError: the schema that the answer must follow is none.
    """
    script = decision.script
    if script.on_error is not None and any(map(is_error, conversation.tool_results)):
        answer = Answer(split(quoted(script.on_error, conversation.tool_results)))
    elif script.tools and (script.insist or not conversation.forbids_tools):
        beside = _said(script.say or "", script, conversation)
        answer = Answer(split(beside), script.tools, CALLS)
    else:
        answer = _in_words(conversation, decision)
    return answer if script.finish is None else replace(answer, finish_reason=script.finish)


def _in_words(conversation: Conversation, decision: Decision) -> Answer:
    script = decision.script
    schema = conversation.schema
    if script.tools:
        names = ", ".join(call.name for call in script.tools)
        tokens = split(f"{INTRODUCTION} I was told to call {names}, but {conversation.forbids_tools}.")
    elif script.exact is not None:
        tokens = split(script.exact)
    elif script.say is not None:
        tokens = split(_said(script.say, script, conversation))
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


def _said(text: str, script: Script, conversation: Conversation) -> str:
    """What is to be said, with what was found in the system prompt and in the tool results."""
    match = re.search(script.find, conversation.system) if script.find is not None else None
    found = "" if match is None else match[1] if match.re.groups else match[0]
    return (found or "").join(quoted(part, conversation.tool_results) for part in text.split(FOUND))


def split(text: str) -> list[str]:
    """Words with the white space behind them; together they are the text again."""
    return TOKEN.findall(text)


def numbered(count: int) -> list[str]:
    """The tokens `tok1 tok2 ...`."""
    return [f"tok{number} " for number in range(1, count)] + ([f"tok{count}"] if count else [])
