"""The transport to RabbitMQ: kombu's, with an end to every wait for the broker's answer.

kombu waits without one. A broker that is silent, as a stopped machine is, would hold a web request, or the node's
event loop, for as long as it pleases.
"""

from typing import Any

from amqp.exceptions import RecoverableConnectionError
from kombu.transport import TRANSPORT_ALIASES, pyamqp

SCHEMES = frozenset({"amqp", "amqps", "pyamqp"})
"""Of broker URLs that mean RabbitMQ."""


class Connection(pyamqp.Connection):
    """A connection that is given up when the broker answers nothing."""

    def __init__(self, *args: Any, patience: float = 10.0, **options: Any) -> None:
        """Take one option more: `patience`, the seconds that an answer may take."""
        super().__init__(*args, **options)
        self._patience = patience

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame.

        Raises:
            RecoverableConnectionError: an answer was waited for and none came; the connection is closed, so that
                what cleans up behind it does not wait as well.
        """
        if timeout is not None:
            return super().blocking_read(timeout)
        try:
            return super().blocking_read(self._patience)
        except TimeoutError as error:
            self.collect()
            raise RecoverableConnectionError(f"the broker was silent for {self._patience} s") from error


class Transport(pyamqp.Transport):
    """For `amqp://`."""

    Connection = Connection


class TlsTransport(pyamqp.SSLTransport):
    """For `amqps://`."""

    Connection = Connection


def use() -> None:
    """Have this process use it for every broker URL of its schemes; to be called before the first connection."""
    for scheme in SCHEMES:
        kind = TlsTransport if scheme == "amqps" else Transport
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{kind.__name__}"
