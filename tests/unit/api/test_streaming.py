"""A connection on which nothing happens: it is given up where it is read, and left as it was."""

import socket
from collections.abc import Iterator

import pytest
from flask import Flask, request
from werkzeug.exceptions import ClientDisconnected

from api import streaming
from api.streaming import bounded_reads

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    pair = socket.socketpair()
    yield pair
    for each in pair:
        each.close()


def test_a_sender_who_falls_silent_is_given_up(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "READ_TIMEOUT", 0.2)
    ours, theirs = ends
    theirs.sendall(b"some")
    with ours.makefile("rb", buffering=0) as body:
        environ = {"gunicorn.socket": ours, "wsgi.input": body, "CONTENT_LENGTH": "10", "REQUEST_METHOD": "POST"}
        with Flask("import").test_request_context(environ_overrides=environ):
            with bounded_reads(), pytest.raises(ClientDisconnected):
                while request.stream.read(4):
                    pass
            assert ours.gettimeout() is None


def test_without_gunicorn_nothing_is_bounded() -> None:
    with Flask("import").test_request_context(), bounded_reads():
        assert request.stream.read() == b""
