"""Vectors of texts: from the stand-in over HTTP, from Redis the second time, and from nobody when a provider fails."""

import base64
import json
import math
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from pydantic import SecretStr

from devstack.standin.embeddings import embed as lexical
from settings import Settings, load_settings
from tests.support.memories import cosine
from tests.support.proxy import Proxy, proxy
from tests.support.scripted_server import Answer, ScriptedServer, scripted_server
from tests.support.stack import Stack
from tests.support.standin import Standin
from workspace.embedding_model import EmbeddingModel
from workspace.errors import Cancelled, DeadlineExceeded, EmbeddingsUnavailable, MemoryUnavailable
from workspace.interruptible import Interrupted, StopSignal, Watch
from workspace.memory.embedding_cache import EmbeddingCache, digest
from workspace.memory.embeddings import MOST_BYTES, Embeddings
from workspace.memory.vectors import vector_of
from workspace.names import WorkspaceKey

pytestmark = pytest.mark.stack

KEY = "sk-a-key-that-nobody-may-see"
LATE = 30.0


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load_settings()


@pytest.fixture(scope="module")
def cache_store(settings: Settings) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(settings.cache) as client:
        yield client


@pytest.fixture
def key() -> WorkspaceKey:
    return WorkspaceKey(uuid4(), uuid4())


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


Make = Callable[..., Embeddings]


@pytest.fixture
def make(settings: Settings, cache_store: redis.Redis) -> Iterator[Make]:
    made: list[Embeddings] = []

    def make(*, cache: redis.Redis | None = None, ttl: int = 60, **options: Any) -> Embeddings:
        changed = settings.model_copy(update=options)
        embeddings = Embeddings(
            EmbeddingModel(changed), EmbeddingCache(cache or cache_store, ttl=ttl), batch=changed.embedding_batch
        )
        made.append(embeddings)
        return embeddings

    yield make
    for each in made:
        each.close()


@pytest.fixture
def embeddings(make: Make) -> Embeddings:
    return make()


def words() -> str:
    """Return a text that nobody has embedded before."""
    return f"remember {uuid4().hex}"


def asked(standin: Standin, text: str) -> list[list[str]]:
    """The inputs of the stand-in's requests in which a text is."""
    return [texts for texts in all_asked(standin) if text in texts]


def all_asked(standin: Standin) -> list[list[str]]:
    """The inputs of the stand-in's newest requests."""
    return standin.embeddings()


# -- the stand-in -----------------------------------------------------------------------------------------------------


def test_the_vectors_are_the_models_own_in_the_order_of_the_texts(
    embeddings: Embeddings, key: WorkspaceKey, settings: Settings
) -> None:
    texts = [words(), "Развёртывание в продакшен", words()]
    vectors = embeddings.embed(key, texts, timeout=LATE)
    assert embeddings.space == (settings.embedding_model, settings.embedding_dimensions) == ("stand-in-embedding", 384)
    for text, vector in zip(texts, vectors, strict=True):
        assert list(vector) == pytest.approx(lexical(text, 384), abs=1e-6)
    like, unlike = embeddings.embed(key, ["how do we deploy to production", "a cake with cherries"], timeout=LATE)
    (query,) = embeddings.embed(key, ["the deployment to production"], timeout=LATE)
    assert cosine(query, like) > cosine(query, unlike) + 0.2


def test_a_text_is_asked_for_once(embeddings: Embeddings, key: WorkspaceKey, standin: Standin) -> None:
    text = words()
    first = embeddings.embed(key, [text, text], timeout=LATE)
    assert first[0] == first[1]
    assert embeddings.embed(key, [text], timeout=LATE) == first[:1]
    assert asked(standin, text) == [[text]]


def test_another_process_finds_it_in_redis(make: Make, key: WorkspaceKey, standin: Standin) -> None:
    text = words()
    first = make().embed(key, [text], timeout=LATE)
    assert make().embed(key, [text], timeout=LATE) == first
    assert len(asked(standin, text)) == 1


def test_only_what_is_missing_is_asked_for(embeddings: Embeddings, key: WorkspaceKey, standin: Standin) -> None:
    known, new = words(), words()
    embeddings.embed(key, [known], timeout=LATE)
    vectors = embeddings.embed(key, [new, known], timeout=LATE)
    assert asked(standin, new) == [[new]]
    assert vectors == [*embeddings.embed(key, [new], timeout=LATE), *embeddings.embed(key, [known], timeout=LATE)]


def test_nobody_learns_from_the_time_it_takes_what_another_user_wrote(
    embeddings: Embeddings, key: WorkspaceKey, standin: Standin
) -> None:
    text = words()
    embeddings.embed(key, [text], timeout=LATE)
    embeddings.embed(WorkspaceKey(uuid4(), key.project_id), [text], timeout=LATE)
    assert len(asked(standin, text)) == 2


def test_what_is_cached_is_a_tenants_expires_and_has_32_bits_a_number(
    make: Make, key: WorkspaceKey, cache_store: redis.Redis
) -> None:
    embeddings, text = make(ttl=50), words()
    (vector,) = embeddings.embed(key, [text], timeout=LATE)
    name = key.embedding(digest(embeddings.space, text))
    assert name.startswith(f"user{key.user_id}:project{key.project_id}:embedding:")
    assert text not in name
    assert cache_store.get(name) == vector.tobytes()
    assert len(vector.tobytes()) == 4 * 384
    assert 0 < cache_store.ttl(name) <= 50


def test_texts_go_in_batches(make: Make, key: WorkspaceKey, standin: Standin) -> None:
    texts = [words() for _ in range(7)]
    assert len(make(embedding_batch=3).embed(key, texts, timeout=LATE)) == 7
    assert [asked(standin, texts[n])[0] for n in (0, 3, 6)] == [texts[:3], texts[3:6], texts[6:]]


@pytest.mark.parametrize("text", ["x" * 20_000, "ж" * 20_000, "日本" * 9_000, "😀" * 9_000], ids=ascii)
def test_only_the_beginning_of_a_long_text_is_sent(
    embeddings: Embeddings, key: WorkspaceKey, standin: Standin, text: str
) -> None:
    """By bytes: a token has one at least, so no tokenizer makes more of them than a model takes."""
    text = words() + text
    embeddings.embed(key, [text], timeout=LATE)
    (sent,) = next(sent for sent in all_asked(standin) if sent[0].startswith(text[:40]))
    assert text.startswith(sent)
    assert MOST_BYTES - 4 < len(sent.encode()) <= MOST_BYTES


def test_another_space_is_another_vector(make: Make, key: WorkspaceKey) -> None:
    text = words()
    narrow = make(embedding_dimensions=16)
    assert len(narrow.embed(key, [text], timeout=LATE)[0]) == 16
    assert len(make().embed(key, [text], timeout=LATE)[0]) == 384
    assert len(narrow.embed(key, [text], timeout=LATE)[0]) == 16


def test_nothing_to_embed_asks_nobody(make: Make, key: WorkspaceKey) -> None:
    assert make(openai_base_url="http://127.0.0.1:9/v1").embed(key, [], timeout=1) == []


# -- the cache fails --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [b"", b"abc", b"\0" * 1535, b"\0" * 1540, array("f", [math.nan] * 384).tobytes()], ids=len
)
def test_garbage_in_the_cache_costs_time_and_no_answer(
    embeddings: Embeddings, key: WorkspaceKey, cache_store: redis.Redis, value: bytes
) -> None:
    text = words()
    name = key.embedding(digest(embeddings.space, text))
    cache_store.set(name, value, ex=60)
    (vector,) = embeddings.embed(key, [text], timeout=LATE)
    assert list(vector) == pytest.approx(lexical(text, 384), abs=1e-6)
    assert cache_store.get(name) == vector.tobytes()


def test_a_key_of_another_type_costs_time_and_no_answer(
    embeddings: Embeddings, key: WorkspaceKey, cache_store: redis.Redis
) -> None:
    text = words()
    name = key.embedding(digest(embeddings.space, text))
    cache_store.rpush(name, "x")
    cache_store.expire(name, 60)
    assert len(embeddings.embed(key, [text], timeout=LATE)) == 1


@pytest.fixture
def wire_to_cache(settings: Settings) -> Iterator[Proxy]:
    with proxy(settings.cache) as running:
        yield running


def test_a_cache_that_is_away_costs_time_and_no_answer(make: Make, key: WorkspaceKey, wire_to_cache: Proxy) -> None:
    with redis.Redis.from_url(wire_to_cache.url, socket_timeout=0.3, socket_connect_timeout=0.3, retry=None) as client:
        embeddings = make(cache=client)
        text = words()
        (first,) = embeddings.embed(key, [text], timeout=LATE)
        wire_to_cache.cut()
        started = time.monotonic()
        for _ in range(5):
            assert embeddings.embed(key, [text], timeout=LATE) == [first]
        assert time.monotonic() - started < 3, "each call waited for the cache"


# -- the provider fails -----------------------------------------------------------------------------------------------


def served(*vectors: Any, **more: Any) -> Answer:
    rows = [{"object": "embedding", "index": n, "embedding": vector} for n, vector in enumerate(vectors)]
    return Answer(json.dumps({"object": "list", "data": rows, "model": "m", **more}).encode())


@pytest.fixture
def own(make: Make, server: ScriptedServer) -> Embeddings:
    """Embeddings of four dimensions from a server of our own."""
    return make(
        openai_base_url=f"{server.url}/v1",
        openai_api_key=SecretStr(KEY),
        embedding_dimensions=4,
        model_max_attempts=3,
        model_backoff_max=1.0,
        model_idle_timeout=0.5,
    )


GOOD = [0.5, 0.5, -0.5, 0.5]


def packed(values: list[float]) -> str:
    return base64.b64encode(array("f", values).tobytes()).decode()


@pytest.mark.parametrize("value", [GOOD, packed(GOOD), [1, 0, 0, 0]], ids=["list", "base64", "integers"])
def test_both_forms_of_a_vector_are_read(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, value: Any
) -> None:
    server.script = lambda _: served(value)
    (vector,) = own.embed(key, [words()], timeout=LATE)
    assert vector == vector_of(GOOD if value != [1, 0, 0, 0] else value)


def test_the_request_names_model_dimensions_and_key(own: Embeddings, key: WorkspaceKey, server: ScriptedServer) -> None:
    server.script = lambda _: served(GOOD)
    text = words()
    own.embed(key, [text], timeout=LATE)
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/embeddings ")
    assert f"authorization: bearer {KEY}".encode() in head.lower()
    assert json.loads(body) == {
        "model": "stand-in-embedding",
        "input": [text],
        "dimensions": 4,
        "encoding_format": "base64",
    }


def test_a_server_that_refuses_dimensions_need_not_be_asked_for_them(
    make: Make, key: WorkspaceKey, server: ScriptedServer
) -> None:
    server.script = lambda body: served(GOOD) if b"dimensions" not in body else Answer(b"{}", "400 Bad Request")
    options = {"openai_base_url": f"{server.url}/v1", "embedding_dimensions": 4}
    assert make(**options, embedding_send_dimensions=False).embed(key, [words()], timeout=LATE)
    with pytest.raises(EmbeddingsUnavailable):
        make(**options).embed(key, [words()], timeout=LATE)


def test_vectors_are_put_in_the_order_of_their_indexes(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer
) -> None:
    rows = [{"index": 1, "embedding": [0, 1, 0, 0]}, {"index": 0, "embedding": [1, 0, 0, 0]}]
    server.script = lambda _: Answer(json.dumps({"data": rows}).encode())
    assert own.embed(key, [words(), words()], timeout=LATE) == [vector_of([1, 0, 0, 0]), vector_of([0, 1, 0, 0])]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b""),
        Answer(b"<html>", content_type="text/html"),
        Answer(b"[]"),
        Answer(b"null"),
        Answer(b'{"data": []}'),
        Answer(b'{"data": null}'),
        Answer(b"[" * 100_000),
        Answer(b'{"data": [{"index": 0}]}'),
        Answer(b'{"data": [{"index": 0, "embedding": "?"}]}'),
        Answer(b'{"data": [{"index": 0, "embedding": ["a"]}]}'),
        Answer(b'{"data": [{"index": 0, "embedding": {"a": 1}}]}'),
        Answer(b'{"data": [{"index": 7, "embedding": [1, 0, 0, 0]}]}'),
        Answer(b'{"data": [{"index": 0, "embedding": [1, 0, 0, 1e999]}]}'),
        Answer(b'{"data": [{"index": 0, "embedding": [1, 0, 0, NaN]}]}'),
        served(GOOD, GOOD),
        served([1, 0, 0]),
        served(packed([1, 0, 0, 0, 0])),
        served(packed([math.inf, 0, 0, 0])),
    ],
    ids=lambda answer: ascii(answer.body[:60]),
)
def test_an_answer_without_usable_vectors_is_none(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, cache_store: redis.Redis, answer: Answer
) -> None:
    server.script = lambda _: answer
    text = words()
    with pytest.raises(EmbeddingsUnavailable) as caught:
        own.embed(key, [text], timeout=LATE)
    assert isinstance(caught.value, MemoryUnavailable)
    assert KEY not in caught.value.detail
    assert len(server.requests) == 1, "what a server says is not better the second time"
    assert cache_store.get(key.embedding(digest(own.space, text))) is None


def test_the_wrong_number_of_dimensions_names_the_setting(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer
) -> None:
    server.script = lambda _: served([1.0] * 768)
    with pytest.raises(EmbeddingsUnavailable, match="768 dimensions, and EMBEDDING_DIMENSIONS says 4"):
        own.embed(key, [words()], timeout=LATE)


@pytest.mark.parametrize(
    "trouble",
    [
        Answer(b"{}", "429 Too Many Requests", headers=("Retry-After: 0.1",)),
        Answer(b"{}", "503 Service Unavailable"),
        Answer(hang_up=True),
        Answer(b'{"da', hang_up=True),
        Answer(silent=True),
    ],
    ids=["429", "503", "closed", "cut", "silent"],
)
def test_trouble_that_may_pass_is_waited_for(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, trouble: Answer
) -> None:
    server.script = lambda _: trouble if len(server.requests) < 3 else served(GOOD)
    assert own.embed(key, [words()], timeout=LATE) == [vector_of(GOOD)]
    assert len(server.requests) == 3


@pytest.mark.parametrize("status", ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"])
def test_a_refusal_is_not_asked_for_again(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, status: str
) -> None:
    server.script = lambda _: Answer(b'{"error": {"message": "no"}}', status)
    with pytest.raises(EmbeddingsUnavailable) as caught:
        own.embed(key, [words()], timeout=LATE)
    assert status[:3] in caught.value.detail
    assert len(server.requests) == 1


def test_the_attempts_are_bounded(own: Embeddings, key: WorkspaceKey, server: ScriptedServer) -> None:
    server.script = lambda _: Answer(b"{}", "500 Internal Server Error")
    with pytest.raises(EmbeddingsUnavailable):
        own.embed(key, [words()], timeout=LATE)
    assert len(server.requests) == 3


def test_a_redirect_is_not_followed_with_the_key(own: Embeddings, key: WorkspaceKey, server: ScriptedServer) -> None:
    with scripted_server() as other:
        server.script = lambda _: Answer(
            b"", "307 Temporary Redirect", headers=(f"Location: {other.url}/v1/embeddings",)
        )
        with pytest.raises(EmbeddingsUnavailable):
            own.embed(key, [words()], timeout=LATE)
        assert other.requests == []


@pytest.mark.parametrize(
    "trouble", [Answer(silent=True), Answer(b"{}", "503 Service Unavailable")], ids=["silent", "503"]
)
def test_the_time_limit_counts_for_all_attempts_together(
    make: Make, key: WorkspaceKey, server: ScriptedServer, trouble: Answer
) -> None:
    server.script = lambda _: trouble
    patient = make(openai_base_url=f"{server.url}/v1", model_max_attempts=20, model_idle_timeout=30.0)
    started = time.monotonic()
    with pytest.raises(EmbeddingsUnavailable, match=r"in time|silent|503"):
        patient.embed(key, [words()], timeout=0.5)
    assert time.monotonic() - started < 1.5


def test_what_the_first_requests_brought_is_kept_when_a_later_one_fails(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, make: Make
) -> None:
    batched = make(openai_base_url=f"{server.url}/v1", embedding_dimensions=4, embedding_batch=1, model_max_attempts=1)
    server.script = lambda _: served(GOOD) if len(server.requests) == 1 else Answer(b"{}", "500 Internal Server Error")
    texts = [words(), words()]
    with pytest.raises(EmbeddingsUnavailable):
        batched.embed(key, texts, timeout=LATE)
    assert batched.embed(key, texts[:1], timeout=LATE) == [vector_of(GOOD)]
    assert len(server.requests) == 2


# -- the work that it is part of --------------------------------------------------------------------------------------


def test_a_stop_ends_it_at_once_and_is_no_failure_of_memory(
    own: Embeddings, key: WorkspaceKey, server: ScriptedServer, make: Make
) -> None:
    server.script = lambda _: Answer(silent=True)
    patient = make(openai_base_url=f"{server.url}/v1", model_idle_timeout=30.0)
    stop = StopSignal()
    timer = threading.Timer(0.3, lambda: stop.stop(Cancelled()))
    timer.start()
    started = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        watch = Watch(stop, deadline=time.monotonic() + LATE, on_wait=lambda: 1.0)
        patient.embed(key, [words()], timeout=LATE, watch=watch)
    assert isinstance(caught.value.failure, Cancelled)
    assert time.monotonic() - started < 2
    timer.join()


def test_the_deadline_of_the_work_is_no_failure_of_memory_either(
    key: WorkspaceKey, server: ScriptedServer, make: Make
) -> None:
    server.script = lambda _: Answer(silent=True)
    patient = make(openai_base_url=f"{server.url}/v1", model_idle_timeout=30.0)
    with pytest.raises(Interrupted) as caught:
        watch = Watch(StopSignal(), deadline=time.monotonic() + 0.3, on_wait=lambda: 1.0)
        patient.embed(key, [words()], timeout=LATE, watch=watch)
    assert isinstance(caught.value.failure, DeadlineExceeded)


def test_its_own_time_limit_does_not_end_the_work(key: WorkspaceKey, server: ScriptedServer, make: Make) -> None:
    server.script = lambda _: Answer(silent=True)
    patient = make(openai_base_url=f"{server.url}/v1", model_idle_timeout=30.0)
    flushed: list[float] = []

    def flush() -> float:
        flushed.append(time.monotonic())
        return 0.05

    watch = Watch(StopSignal(), deadline=time.monotonic() + LATE, on_wait=flush)
    with pytest.raises(EmbeddingsUnavailable):
        patient.embed(key, [words()], timeout=0.4, watch=watch)
    assert len(flushed) > 3, "text that was due had to wait for the embedding"


def test_the_stack_serves_embeddings_to_its_programs(stack: Stack, settings: Settings) -> None:
    assert settings.openai_base_url == stack.model_url
    assert settings.embedding_dimensions == 384
