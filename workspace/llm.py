"""A model turn, streamed, retried and priced: with `embedding_model`, the one home of the `openai` SDK.

The SDK builds the request, signs it, sends it and names its errors; the chunks are read from its raw stream, because
building a pydantic object for each of them costs three times the rest of the call (4.4 ms against 1.4 ms for 20 tokens,
see docs/performance.md).
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import httpx2
import openai
import structlog
import tenacity

from models import Json
from settings import ModelPrice, Settings
from workspace.errors import ModelFailure, ModelRequestRefused, ModelUnavailable
from workspace.events import Usage
from workspace.interruptible import Interrupted, InterruptibleTransport, StopSignal, Watch, watching
from workspace.metrics import MODEL_RETRIES
from workspace.model_stream import AskedCall, PassingError, Reading, TurnSink, lines_of, storable

log = structlog.get_logger(__name__)

PROBE_SECONDS = 5.0
"""For a look-up in all: a model's server that is well answers at once."""

AGENT_HEADER = "X-Codelab-Agent"
"""Names the agent to the model's server, for its own accounting."""


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What one turn asks of a model."""

    model: str
    messages: list[dict[str, Any]]
    agent: str
    temperature: float | None = None
    max_output_tokens: int | None = None
    tools: Sequence[Json] = ()
    """What the model may call, in the form of the protocol."""
    must_answer: bool = False
    """Whether it may call none of them any more."""
    response_format: Json | None = None
    """The form that the answer is held to, as the protocol says it."""


@dataclass(frozen=True, kw_only=True)
class ModelTurn:
    """What the model said in one turn."""

    text: str
    calls: tuple[AskedCall, ...] = ()
    finish_reason: str
    usage: Usage


class Probe(StrEnum):
    """What a look-up of a model told."""

    ANSWERS = "answers"
    REFUSES = "refuses"  # the key is refused, or the model is not there
    AWAY = "away"  # the server is out of reach or in trouble
    UNKNOWN = "unknown"  # the server does not know such look-ups, or answers with what is none


def open_client(settings: Settings, *, connections: int) -> openai.OpenAI:
    """Return a client of the model's server, whose waiting a `Watch` can end. It retries nothing by itself."""
    timeout = httpx2.Timeout(settings.model_idle_timeout, connect=settings.model_connect_timeout)
    return openai.OpenAI(
        api_key=settings.openai_api_key.get_secret_value() or "none",
        base_url=settings.openai_base_url,
        max_retries=0,  # retried here, where a restart can be told and a stop is heard
        timeout=timeout,
        http_client=httpx2.Client(
            transport=InterruptibleTransport(max_connections=connections),
            # A model's server that sends us elsewhere would be sent the key there, too.
            follow_redirects=False,
            timeout=timeout,
        ),
    )


class ModelClient:
    """Talks to any server of the OpenAI protocol. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self._prices = settings.model_prices
        self._attempts = settings.model_max_attempts
        self._longest_wait = settings.model_backoff_max
        self._client = open_client(settings, connections=settings.node_slots + 8)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def turn(self, request: ModelRequest, sink: TurnSink, watch: Watch) -> ModelTurn:
        """Ask for one turn and stream it into `sink`.

        Raises:
            ModelFailure: the provider refused; `ModelRequestRefused` if for what the request says.
            ModelUnavailable: it stayed out of reach; `retry_after` says when to come back, if it told.
            Interrupted: `watch` ended the work.
        """
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._worth_waiting),
            before_sleep=lambda state: self._announce(state, sink),
            sleep=watch.sleep,
            reraise=True,
        )
        try:
            with watching(watch):
                return retrying(self._attempt, request, sink, watch)
        except PassingError as error:
            raise ModelUnavailable(error.detail, retry_after=error.retry_after) from error

    def probe(self, model: str) -> Probe:
        """Look a model up, once and without patience. Raises nothing for whatever the server does."""
        watch = Watch(StopSignal(), deadline=time.monotonic() + PROBE_SECONDS, on_wait=lambda: PROBE_SECONDS)
        try:
            with watching(watch):
                found = self._client.models.retrieve(
                    model, timeout=PROBE_SECONDS, extra_headers={"Accept-Encoding": "identity"}
                )
        except openai.APIStatusError as error:
            return _judge_lookup(error, model)
        except (openai.APIConnectionError, httpx2.TransportError, Interrupted):
            return Probe.AWAY
        except (openai.OpenAIError, ValueError, RecursionError):  # no JSON, or a name that no path can hold
            return Probe.UNKNOWN
        # The SDK checks nothing: a page of HTML is a text here.
        return Probe.ANSWERS if isinstance(getattr(found, "id", None), str) else Probe.UNKNOWN

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, PassingError) and error.retry_after is not None:
            return error.retry_after
        return tenacity.wait_exponential_jitter(multiplier=0.5, max=self._longest_wait, jitter=0.5)(state)

    def _worth_waiting(self, error: BaseException) -> bool:
        return isinstance(error, PassingError) and (error.retry_after or 0) <= self._longest_wait

    def _announce(self, state: tenacity.RetryCallState, sink: TurnSink) -> None:
        error = state.outcome.exception() if state.outcome else None
        reason = error.reason if isinstance(error, PassingError) else "unknown"
        MODEL_RETRIES.labels(reason).inc()
        log.warning("model_retry", reason=reason, attempt=state.attempt_number, detail=str(error))
        sink.restart(state.attempt_number + 1, reason, state.upcoming_sleep)

    def _attempt(self, request: ModelRequest, sink: TurnSink, watch: Watch) -> ModelTurn:
        watch.begin_answer()
        try:
            with self._client.chat.completions.with_streaming_response.create(
                model=request.model,
                messages=[],
                stream=True,
                stream_options={"include_usage": True},
                temperature=request.temperature if request.temperature is not None else openai.omit,
                max_completion_tokens=request.max_output_tokens or openai.omit,
                extra_headers={AGENT_HEADER: request.agent, "Accept-Encoding": "identity"},
                # Past the SDK's transformation of typed dicts: it has nothing to do here and takes a third of the call.
                extra_body=_body(request),
            ) as response:
                return self._read(lines_of(response.iter_bytes()), request, sink, watch)
        except PROVIDER_ERRORS as error:
            raise explain(error) from error

    def _read(self, lines: Iterable[bytes], request: ModelRequest, sink: TurnSink, watch: Watch) -> ModelTurn:
        reading = Reading(sink=sink, check=watch.check)
        for line in lines:  # to its very end: a connection that was read to its end can be used again
            if line.startswith(b"data:"):
                reading.take(line[5:].strip())
        if reading.finish_reason is None:
            raise PassingError("cut", "The model's answer ended before its end.")
        calls = reading.calls.made()
        if (calls or reading.finish_reason == "tool_calls") and not request.tools:
            raise ModelFailure("The model asked for a tool, and it was offered none.")
        if calls and request.must_answer:
            raise ModelFailure("The model went on to ask for tools where it had to answer.")
        if reading.finish_reason == "tool_calls" and not calls:
            raise ModelFailure("The model asked for tools and named none.")
        return ModelTurn(
            text="".join(reading.pieces),
            calls=calls,
            finish_reason=reading.finish_reason,
            usage=price(reading.prompt_tokens, reading.completion_tokens, self._prices.get(request.model)),
        )


def _body(request: ModelRequest) -> Json:
    body: Json = {"messages": request.messages}
    if request.tools:
        body["tools"] = list(request.tools)
        if request.must_answer:
            body["tool_choice"] = "none"
    if request.response_format is not None:
        body["response_format"] = request.response_format
    return body


PROVIDER_ERRORS = (openai.APIStatusError, openai.APIConnectionError, httpx2.TransportError)
"""What a call of the SDK raises for what the provider or the way to it does."""


def explain(error: Exception) -> Exception:
    """Turn one of `PROVIDER_ERRORS` into ours: a `PassingError`, or a `ModelFailure`."""
    match error:
        case openai.APIStatusError():
            return _explain_status(error)
        case openai.APITimeoutError() | httpx2.TimeoutException():
            return PassingError("timeout", "The model's server fell silent.")
        case openai.APIConnectionError():
            return PassingError("connection", "The model's server could not be reached.")
        case _:
            return PassingError("connection", "The connection to the model's server broke.")


def _explain_status(error: openai.APIStatusError) -> Exception:
    """Turn an HTTP error of the provider into ours. Its words are shown only where they speak of the request."""
    status = error.status_code
    if status == 429 and error.code == "insufficient_quota":
        return ModelFailure("The model's provider says that the quota is used up.")
    if status in {408, 409, 429} or status >= 500:
        return PassingError(f"http_{status}", f"The model's server answered {status}.", _retry_after(error.response))
    if status in {401, 403}:
        return ModelFailure(f"The model's provider answered {status}: check OPENAI_API_KEY.")
    kind = ModelRequestRefused if status in {400, 422} else ModelFailure
    return kind(f"The model's provider answered {status}: {storable(error.message[:300])}")


def _judge_lookup(error: openai.APIStatusError, model: str) -> Probe:
    """Tell a refusal of the model from a server that has no such route: one that looked for it names the model."""
    status = error.status_code
    if status in {401, 403} or error.code in {"insufficient_quota", "model_not_found"}:
        return Probe.REFUSES
    if status in {408, 409, 429} or (status >= 500 and status != 501):
        return Probe.AWAY
    return Probe.REFUSES if model in error.response.text else Probe.UNKNOWN


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds of a `Retry-After` header; dates are rare from model servers and count as unknown."""
    try:
        seconds = float(response.headers.get("retry-after", ""))
    except ValueError:
        return None
    return seconds if 0 <= seconds < 86_400 else None


def price(prompt_tokens: int, completion_tokens: int, rate: ModelPrice | None) -> Usage:
    """Return the usage of a turn; `cost_usd` in US dollars, null without a known rate."""
    cost = None
    if rate is not None:
        cost = (rate.input * prompt_tokens + rate.output * completion_tokens) / 1_000_000
    return Usage(
        prompt_tokens=prompt_tokens,
        completion_tokens=completion_tokens,
        total_tokens=prompt_tokens + completion_tokens,
        cost_usd=cost,
    )
