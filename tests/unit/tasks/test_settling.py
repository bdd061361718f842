"""A delivery is settled only on a channel that is open, and a refusal does not come back at once."""

from typing import Any

import pytest

from tasks.settling import settle_by_channel


class Channel:
    """RabbitMQ's channels say whether they are open; Redis' do not."""

    def __init__(self, **attributes: bool) -> None:
        self.__dict__.update(attributes)


class Message:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.done: list[Any] = []

    def ack(self) -> None:
        self.done.append("ack")

    def reject(self, requeue: bool = False) -> None:
        self.done.append(("reject", requeue))


def _bound(message: Message, *, current: bool = True) -> Message:
    settle_by_channel(message, is_current=lambda: current, reopen=lambda: message.done.append("reopen"))
    return message


@pytest.mark.parametrize("channel", [Channel(is_open=True), Channel()])
def test_on_an_open_channel_a_message_is_settled(channel: Channel) -> None:
    message = _bound(Message(channel))
    message.ack()
    message.reject()
    assert message.done == ["ack", ("reject", False)]


@pytest.mark.parametrize("current", [True, False])
def test_on_a_closed_channel_there_is_nothing_to_settle(current: bool) -> None:
    message = _bound(Message(Channel(is_open=False)), current=current)
    message.ack()
    message.reject()
    message.reject(requeue=True)
    assert message.done == []


def test_a_message_that_finds_no_slot_opens_the_channel_anew() -> None:
    message = _bound(Message(Channel(is_open=True)))
    message.reject(requeue=True)
    assert message.done == ["reopen"]


def test_a_message_of_an_earlier_channel_goes_back_by_itself() -> None:
    message = _bound(Message(Channel()), current=False)
    message.reject(requeue=True)
    assert message.done == [("reject", True)]
