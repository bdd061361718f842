"""Vectors of texts by the OpenAI protocol: with `llm`, the one home of the `openai` SDK.

What the provider refuses and what it cannot do are one error here: either way there are no vectors, and whoever wanted
to remember or to search goes on without. The log tells which it was.
"""

import time
from collections.abc import Sequence
from typing import Any

import httpx2
import openai
import structlog
import tenacity

from settings import Settings
from workspace.errors import EmbeddingsUnavailable, ModelFailure
from workspace.interruptible import LONGEST_SLICE, Interrupted, StopSignal, Watch, watching
from workspace.llm import PROVIDER_ERRORS, explain, open_client
from workspace.memory.memories import VectorSpace
from workspace.memory.vectors import Vector, from_text, is_usable, vector_of
from workspace.metrics import MODEL_RETRIES
from workspace.model_stream import PassingError

log = structlog.get_logger(__name__)


class EmbeddingModel:
    """Asks the model's server. Safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.space = VectorSpace(settings.embedding_model, settings.embedding_dimensions)
        self._sends_dimensions = settings.embedding_send_dimensions
        self._attempts = settings.model_max_attempts
        self._longest_wait = settings.model_backoff_max
        self._connect_timeout, self._idle_timeout = settings.model_connect_timeout, settings.model_idle_timeout
        self._client = open_client(settings, connections=settings.node_slots + 8)

    def close(self) -> None:
        """Close every connection."""
        self._client.close()

    def embed(self, texts: Sequence[str], *, timeout: float, watch: Watch | None = None) -> list[Vector]:
        """Return the vectors of some texts, in their order; one request, made again if that may help.

        Args:
            texts: none of them empty.
            timeout: seconds for all attempts together.
            watch: of the work that this is part of, which may have to end sooner.

        Raises:
            EmbeddingsUnavailable: there are none in time, or none that can be used.
            Interrupted: `watch` ended the work.
        """
        until = time.monotonic() + timeout
        patience = _within(until, watch)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=self._wait,
            retry=tenacity.retry_if_exception(self._worth_waiting),
            before_sleep=_announce,
            sleep=patience.sleep,
            reraise=True,
        )
        try:
            with watching(patience):
                return retrying(self._attempt, texts, patience, until)
        except Interrupted as interrupted:
            if watch is not None:
                watch.check()
            log.warning("embedding_interrupted", reason=interrupted.failure.detail)
            raise EmbeddingsUnavailable("The model's server made no vectors in time.") from interrupted
        except PassingError as error:
            raise EmbeddingsUnavailable(error.detail, retry_after=error.retry_after) from error
        except ModelFailure as error:
            log.warning("embedding_refused", detail=error.detail)
            raise EmbeddingsUnavailable(error.detail) from error

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, PassingError) and error.retry_after is not None:
            return error.retry_after
        return tenacity.wait_exponential_jitter(multiplier=0.1, max=self._longest_wait, jitter=0.1)(state)

    def _worth_waiting(self, error: BaseException) -> bool:
        return isinstance(error, PassingError) and (error.retry_after or 0) <= self._longest_wait

    def _attempt(self, texts: Sequence[str], patience: Watch, until: float) -> list[Vector]:
        patience.begin_answer()
        left = max(until - time.monotonic(), 0.001)
        try:
            response = self._client.embeddings.with_raw_response.create(
                model=self.space.model,
                input=list(texts),
                dimensions=self.space.dimensions if self._sends_dimensions else openai.omit,
                encoding_format="base64",  # a third of the bytes; servers that know only lists send lists
                extra_headers={"Accept-Encoding": "identity"},
                # No watch ends the opening of a connection.
                timeout=httpx2.Timeout(min(self._idle_timeout, left), connect=min(self._connect_timeout, left)),
            )
            answer = response.http_response.json()
        except PROVIDER_ERRORS as error:
            raise explain(error) from error
        except (ValueError, RecursionError) as error:
            raise ModelFailure("The model's server answered with no JSON.") from error
        return self._read(answer, len(texts))

    def _read(self, answer: Any, number: int) -> list[Vector]:
        """Return the vectors of an answer, of which nothing is taken for granted."""
        try:
            rows = sorted(answer["data"], key=lambda row: int(row["index"]))
            vectors = [_vector(row["embedding"]) for row in rows]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ModelFailure("The model's server answered with no vectors.") from error
        if [row["index"] for row in rows] != list(range(number)):
            raise ModelFailure("The model's server answered with another number of vectors than was asked for.")
        for vector in vectors:
            if len(vector) != self.space.dimensions:
                raise ModelFailure(
                    f"{self.space.model} makes vectors of {len(vector)} dimensions, "
                    f"and EMBEDDING_DIMENSIONS says {self.space.dimensions}."
                )
            if not is_usable(vector, self.space.dimensions):
                raise ModelFailure("The model's server answered with numbers that are none.")
        return vectors


def _vector(value: Any) -> Vector:
    return from_text(value) if isinstance(value, str) else vector_of(value)


def _within(until: float, watch: Watch | None) -> Watch:
    """Return a watch that ends at a time, and whenever the other one does."""
    return Watch(
        watch.stop if watch is not None else StopSignal(),
        deadline=until,
        on_wait=watch.before_wait if watch is not None else lambda: LONGEST_SLICE,
    )


def _announce(state: tenacity.RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    reason = error.reason if isinstance(error, PassingError) else "unknown"
    MODEL_RETRIES.labels(reason).inc()
    log.warning("embedding_retry", reason=reason, attempt=state.attempt_number, detail=str(error))
