"""Channels go to a connection with room, and a further one is opened when there is none."""

from typing import Any

import pytest

from tasks import channel_pool
from tasks.channel_pool import RESERVED, ChannelPool, NoConnection


class Channel:
    def __init__(self, connection: "Connection") -> None:
        self.connection = connection
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


class Connection:
    """A connection of kombu, and what carries it."""

    connection_errors = (OSError,)
    channel_errors = ()

    def __init__(self, driver: str = "amqp", channel_max: int = 2_047) -> None:
        self.transport = type("Transport", (), {"driver_type": driver})
        self.connection = type("Socket", (), {"channel_max": channel_max})
        self.is_open = True

    def channel(self) -> Channel:
        return Channel(self)


class Further:
    """A further connection; the broker may refuse it."""

    def __init__(self, worker: "Worker") -> None:
        if worker.refuses:
            worker.asked += 1
            raise ConnectionRefusedError
        self.connection = Connection()
        self.channels: set[Any] = set()

    def has_room(self) -> bool:
        return len(self.channels) < channel_pool.CHANNELS_PER_CONNECTION

    def close(self) -> None:
        self.connection.is_open = False


class Worker:
    connection_errors = (OSError,)

    def __init__(self, driver: str = "amqp", channel_max: int = 2_047) -> None:
        self.connection = Connection(driver, channel_max)
        self.refuses = False
        self.asked = 0


@pytest.fixture(autouse=True)
def _few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_pool, "CHANNELS_PER_CONNECTION", 3)


def _pool(worker: Worker) -> ChannelPool:
    return ChannelPool(worker, further=Further)


def _connections(channels: list[Channel]) -> list[int]:
    """Number the connections in the order of their first channel."""
    order: list[Connection] = []
    for channel in channels:
        if channel.connection not in order:
            order.append(channel.connection)
    return [order.index(channel.connection) for channel in channels]


def test_a_further_connection_is_opened_when_one_is_full() -> None:
    worker = Worker()
    pool = _pool(worker)
    channels = [pool.open() for _ in range(7)]
    assert channels[0].connection is worker.connection
    assert _connections(channels) == [0, 0, 0, 1, 1, 1, 2]


def test_a_channel_that_is_released_leaves_room() -> None:
    worker = Worker()
    pool = _pool(worker)
    channels = [pool.open() for _ in range(4)]
    pool.release(channels[1])
    assert not channels[1].is_open
    assert pool.open().connection is worker.connection
    assert pool.open().connection is channels[3].connection


def test_a_broker_that_allows_fewer_channels_gets_fewer() -> None:
    pool = _pool(Worker(channel_max=RESERVED + 2))
    assert _connections([pool.open() for _ in range(4)]) == [0, 0, 1, 1]


def test_on_redis_one_connection_is_enough() -> None:
    worker = Worker("redis")
    pool = _pool(worker)
    assert {pool.open().connection for _ in range(10)} == {worker.connection}


def test_closing_closes_the_further_connections_alone() -> None:
    worker = Worker()
    pool = _pool(worker)
    channels = [pool.open() for _ in range(7)]
    pool.close()
    assert worker.connection.is_open
    assert not channels[3].connection.is_open
    assert not channels[6].connection.is_open


def test_a_refused_connection_is_no_loss_of_those_there_are_and_is_not_asked_for_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = Worker()
    worker.refuses = True
    pool = _pool(worker)
    for _ in range(3):
        pool.open()
    for _ in range(5):
        with pytest.raises(NoConnection):
            pool.open()
    assert worker.asked == 1
    monkeypatch.setattr(channel_pool, "RETRY_AFTER", 0.0)
    worker.refuses = False
    assert pool.open().connection is not worker.connection
