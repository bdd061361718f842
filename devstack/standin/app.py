"""The stand-in model server as a WSGI application, made for one gevent worker of gunicorn."""

import json
import os
import time
from collections import deque
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, request

from devstack.standin import embeddings, protocol
from devstack.standin.answer import Answer, compose
from devstack.standin.conversation import BadRequestError, Conversation
from devstack.standin.pace import Client, due_times
from devstack.standin.rules import Decision, Rule, RuleBook
from devstack.standin.script import Script, ScriptError
from devstack.standin.witness import Witness

MODELS = ("stand-in", "stand-in-embedding")
KEPT_REQUESTS = 1000
CLIENT_CLOSED_REQUEST = 499
"""Nobody reads it; the number is the one that servers log for this."""

Record = dict[str, Any]
"""What is kept of a request; `served` becomes true once the whole answer was sent to a client that was there."""


def create_app(environment: Mapping[str, str] | None = None) -> Flask:
    """Build the server; STANDIN_DELAY and STANDIN_TOKENS set the defaults of `delay` and `tokens`."""
    app = Flask("standin", static_folder=None)
    # A program of its own, with two options of its own.
    given = os.environ if environment is None else environment
    server = Server(_defaults(given))
    routes: tuple[tuple[str, str, Any], ...] = (
        ("GET", "/health", server.health),
        ("GET", "/v1/models", server.models),
        ("GET", "/v1/models/<path:name>", server.model),
        ("POST", "/v1/chat/completions", server.chat),
        ("POST", "/v1/embeddings", server.embeddings),
        ("POST", "/_control/rules", server.add_rules),
        ("DELETE", "/_control/rules", server.clear_rules),
        ("GET", "/_control/witness", server.show_witness),
        ("DELETE", "/_control/witness", server.reset_witness),
        ("GET", "/_control/requests", server.show_requests),
        ("DELETE", "/_control/requests", server.clear_requests),
        ("GET", "/_control/embeddings", server.show_embeddings),
    )
    for method, path, view in routes:
        app.add_url_rule(path, endpoint=f"{method} {path}", view_func=view, methods=[method])
    app.register_error_handler(BadRequestError, _bad_request)
    app.register_error_handler(ScriptError, _bad_request)
    return app


def _defaults(environment: Mapping[str, str]) -> Script:
    delay, tokens = environment.get("STANDIN_DELAY"), environment.get("STANDIN_TOKENS")
    return Script(delay=float(delay) if delay else None, tokens=int(tokens) if tokens else None)


class Server:
    """The views, and what they share."""

    def __init__(self, defaults: Script) -> None:
        self._rules = RuleBook(defaults)
        self._witness = Witness()
        self._requests: deque[Record] = deque(maxlen=KEPT_REQUESTS)
        self._embeddings: deque[Record] = deque(maxlen=KEPT_REQUESTS)

    def chat(self) -> Response:
        """Answer a conversation as its script says."""
        conversation = Conversation.parse(_json_body())
        key = request.headers.get("X-Codelab-Agent") or conversation.body.get("user") or conversation.model
        record = self._remember(self._requests, str(key), conversation.body)
        client = Client(request.environ.get("gunicorn.socket"))
        visit = self._witness.arrive(str(key), client.has_gone)
        try:
            response = _respond(conversation, self._rules.decide(conversation), client, record)
        except BaseException:
            visit.leave()
            raise
        # Not the end of a generator: one that was never started is closed without running anything.
        response.call_on_close(visit.leave)
        return response

    def embeddings(self) -> Response:
        """Embed texts."""
        body = _json_body()
        answer = embeddings.response(body)
        record = self._remember(self._embeddings, "", body)
        decision = self._rules.decide_embedding(embeddings.texts_of(body["input"]))
        if disturbed := _disturbed(decision):
            return disturbed
        record["served"] = True
        return _json(answer)

    def models(self) -> Response:
        """List the models; any other name is answered as well."""
        return _json({"object": "list", "data": [protocol.model(name) for name in MODELS]})

    def model(self, name: str) -> Response:
        """Look a model up. Every name is one, unless a rule disturbs its look-ups."""
        return _disturbed(self._rules.decide_lookup(name)) or _json(protocol.model(name))

    def health(self) -> Response:
        """Say that the server runs."""
        return _json({"status": "ok"})

    def add_rules(self) -> Response:
        """Append the posted rules."""
        posted = _json_body()
        if not isinstance(posted, list) or not all(isinstance(rule, dict) for rule in posted):
            raise BadRequestError("rules must be a JSON list of objects")
        return _json({"rules": self._rules.add([Rule.parse(rule) for rule in posted])})

    def clear_rules(self) -> Response:
        """Forget all rules."""
        self._rules.clear()
        return Response(status=HTTPStatus.NO_CONTENT)

    def show_witness(self) -> Response:
        """Tell what was seen."""
        return _json(self._witness.report())

    def reset_witness(self) -> Response:
        """Start to count anew."""
        self._witness.reset()
        return Response(status=HTTPStatus.NO_CONTENT)

    def show_requests(self) -> Response:
        """The last conversations, the newest at the end."""
        return _last(self._requests)

    def show_embeddings(self) -> Response:
        """The last requests for embeddings, the newest at the end."""
        return _last(self._embeddings)

    def clear_requests(self) -> Response:
        """Forget the requests."""
        self._requests.clear()
        self._embeddings.clear()
        return Response(status=HTTPStatus.NO_CONTENT)

    def _remember(self, kept: deque[Record], key: str, body: Any) -> Record:
        record = {"path": request.path, "key": key, "at": time.time(), "served": False, "body": body}
        kept.append(record)
        return record


def _last(kept: deque[Record]) -> Response:
    limit = request.args.get("limit", default=20, type=int)
    return _json({"requests": list(kept)[-limit:] if limit > 0 else []})


def _respond(conversation: Conversation, decision: Decision, client: Client, record: Record) -> Response:
    if decision.fail is not None:
        return _failure(decision.fail, decision)
    answer = compose(conversation, decision)
    if conversation.streams:
        return Response(_stream(conversation, answer, decision, client, record), mimetype="text/event-stream")
    due = due_times(decision.script, max(1, len(answer.tokens)))
    if not client.wait(decision.silent + due[-1]):
        return Response(status=CLIENT_CLOSED_REQUEST)
    if decision.break_after is not None:
        client.hang_up()
    record["served"] = True
    return _json(protocol.completion(conversation, answer))


def _disturbed(decision: Decision) -> Response | None:
    """Disturb a request that has a short answer, as it was decided; `None`: it is to be answered."""
    if decision.fail is not None:
        return _failure(decision.fail, decision)
    client = Client(request.environ.get("gunicorn.socket"))
    if not client.wait(decision.silent):
        return Response(status=CLIENT_CLOSED_REQUEST)
    if decision.break_after is not None:
        client.hang_up()
    return None


def _failure(status: int, decision: Decision) -> Response:
    response = _json(protocol.error(status, f"The stand-in was told to fail with {status}."))
    response.status_code = status
    response.headers["Retry-After"] = f"{decision.script.retry_after or 0:g}"
    return response


def _stream(
    conversation: Conversation, answer: Answer, decision: Decision, client: Client, record: Record
) -> Iterator[bytes]:
    """The events at their times; all that are due at the same time go out in one write."""
    chunks = protocol.Chunks(conversation, answer, decision.script)
    pieces, end = chunks.pieces(), chunks.end()
    due = [decision.silent + at for at in due_times(decision.script, len(pieces))]
    breaks = decision.break_after is not None
    if breaks:
        pieces, end = pieces[: decision.break_after], b""
    started = time.monotonic()
    sent = 0
    was_there = False
    while sent < len(pieces):
        now = time.monotonic() - started
        if due[sent] > now:
            if not client.wait(due[sent] - now):
                return
            now = due[sent]
        until = sent
        while until < len(pieces) and due[until] <= now:
            until += 1
        is_last = until == len(pieces)
        # Looked at before the last write: a client may leave as soon as it has read that.
        was_there = is_last and not client.has_gone()
        yield b"".join(pieces[sent:until]) + (end if is_last else b"")
        sent = until
    if breaks:
        client.hang_up()
    record["served"] = was_there and not breaks


def _json_body() -> Any:
    try:
        return json.loads(request.get_data())
    except ValueError:
        raise BadRequestError("the body must be JSON") from None


def _json(value: Any) -> Response:
    return Response(json.dumps(value), mimetype="application/json")


def _bad_request(error: Exception) -> Response:
    response = _json(protocol.error(HTTPStatus.BAD_REQUEST, str(error)))
    response.status_code = HTTPStatus.BAD_REQUEST
    return response
