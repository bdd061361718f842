"""How a delivery is settled when its channel may be closed meanwhile, or may hand out too much."""

from collections.abc import Callable
from typing import Any


def settle_by_channel(message: Any, *, is_current: Callable[[], bool], reopen: Callable[[], None]) -> None:
    """Let a message's acknowledgement and refusal follow what became of its channel.

    * The channel is closed: there is nothing to settle, the broker has taken the message back.
    * The message is refused because every slot is taken: the broker believes in a free one, and would send the message
      again at once, and again, until a task ends. The channel is opened anew instead, which counts what runs.

    Args:
        is_current: whether the agent still has the channel that the message came by.
        reopen: opens the agent's channel anew.
    """
    acknowledge, reject = message.ack, message.reject

    def is_closed() -> bool:
        return not getattr(message.channel, "is_open", True)  # Redis' channels have none, and settle ever after

    def ack(*args: Any, **options: Any) -> None:
        if not is_closed():
            acknowledge(*args, **options)

    def refuse(requeue: bool = False) -> None:
        if is_closed():
            return
        if requeue and is_current():
            reopen()
        else:
            reject(requeue=requeue)

    message.ack, message.reject = ack, refuse
