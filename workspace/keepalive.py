"""How soon a connection notices that its peer is gone without a word: within some ten seconds, not two hours."""

import socket
from typing import Final

_WANTED: Final = {"TCP_KEEPIDLE": 5, "TCP_KEEPALIVE": 5, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}
"""Seconds of silence, seconds between two probes, and how many; TCP_KEEPALIVE is macOS' name of the first."""

KEEPALIVE: Final = {getattr(socket, name): value for name, value in _WANTED.items() if hasattr(socket, name)}
