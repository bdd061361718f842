"""The stand-in model server behaves to the real OpenAI SDK as a model does, and does what it is told.

The server runs as the stack runs it: as a process under gunicorn, with the same command line.
"""

import asyncio
import base64
import json
import subprocess
import threading
import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from devstack import programs
from devstack.directory import ROOT
from devstack.ports import free_ports
from devstack.standin.answer import INTRODUCTION

WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The server's address."""
    (port,) = free_ports(1)
    program = programs.standin(port)
    process = subprocess.Popen(program.command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + program.ready_seconds
        while not program.ready():
            assert process.poll() is None, "the stand-in did not start"
            assert time.monotonic() < deadline, "the stand-in did not become ready"
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def control(address: str) -> Iterator[httpx.Client]:
    """The server's controls, cleared before each test."""
    with httpx.Client(base_url=f"{address}/_control", trust_env=False) as client:
        for part in ("rules", "witness", "requests"):
            client.delete(f"/{part}").raise_for_status()
        yield client


@pytest.fixture
def sdk(address: str, control: httpx.Client) -> Iterator[openai.OpenAI]:
    """The real SDK, without retries of its own."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="any", max_retries=0) as client:
        yield client


def said(sdk: openai.OpenAI, text: str, **options: Any) -> str:
    """The answer to one message."""
    answer = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **options)
    return str(answer.choices[0].message.content)


def streamed(sdk: openai.OpenAI, text: str, **options: Any) -> list[ChatCompletionChunk]:
    """The chunks of the answer to one message."""
    messages: Any = [{"role": "user", "content": text}]
    return list(sdk.chat.completions.create(model="m", messages=messages, stream=True, **options))


def collect(stream: openai.Stream[ChatCompletionChunk], words: list[str]) -> None:
    """Append the words of a stream as far as it comes."""
    for chunk in stream:
        if chunk.choices[0].delta.content:
            words.append(chunk.choices[0].delta.content)  # it may break in between


def content(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def eventually(condition: Callable[[], bool], seconds: float = 3.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def seen(control: httpx.Client, key: str) -> dict[str, int]:
    keys: dict[str, dict[str, int]] = control.get("/witness").json()["keys"]
    return keys.get(key, {"current": 0, "max": 0, "total": 0})


def test_it_says_that_it_is_no_real_model(sdk: openai.OpenAI) -> None:
    assert said(sdk, "Good morning") == f"{INTRODUCTION} You said: Good morning"


def test_a_stream_carries_the_same_words_one_by_one(sdk: openai.OpenAI) -> None:
    chunks = streamed(sdk, "Good morning")
    assert content(chunks) == f"{INTRODUCTION} You said: Good morning"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) == len(content(chunks).split())


def test_a_stream_ends_with_the_usage_if_asked(sdk: openai.OpenAI) -> None:
    chunks = streamed(sdk, "two words [tokens=7]", stream_options={"include_usage": True})
    assert chunks[-1].choices == []
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 7, 10)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_plain_answer_counts_the_same_usage(sdk: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "two words [tokens=7]"}]
    usage = sdk.chat.completions.create(model="m", messages=messages).usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (3, 7, 10)


def test_the_asynchronous_sdk_works_alike(address: str) -> None:
    async def talk() -> tuple[str, str]:
        messages: Any = [{"role": "user", "content": "[tokens=3]"}]
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="any") as sdk:
            plain = await sdk.chat.completions.create(model="m", messages=messages)
            stream = await sdk.chat.completions.create(model="m", messages=messages, stream=True)
            pieces = [chunk.choices[0].delta.content or "" async for chunk in stream]
            return str(plain.choices[0].message.content), "".join(pieces)

    assert asyncio.run(talk()) == ("tok1 tok2 tok3", "tok1 tok2 tok3")


def test_the_token_limit_cuts_the_answer(sdk: openai.OpenAI) -> None:
    chunks = streamed(sdk, "[tokens=9]", max_completion_tokens=4)
    assert content(chunks).split() == ["tok1", "tok2", "tok3", "tok4"]
    assert chunks[-1].choices[0].finish_reason == "length"


def test_a_delay_is_half_before_the_first_token_and_half_behind_it(sdk: openai.OpenAI) -> None:
    started = time.monotonic()
    messages: Any = [{"role": "user", "content": "[delay=0.8] [tokens=5]"}]
    stream = sdk.chat.completions.create(model="m", messages=messages, stream=True)
    times = [time.monotonic() - started for chunk in stream if chunk.choices[0].delta.content]
    # Never early; how late depends on the machine.
    assert all(at >= due for at, due in zip(times, (0.4, 0.5, 0.6, 0.7, 0.8), strict=True))
    assert times[-1] - times[0] > 0.2


def test_a_plain_answer_takes_its_whole_delay(sdk: openai.OpenAI) -> None:
    started = time.monotonic()
    said(sdk, "[first=0.2] [gap=0.1] [tokens=4]")
    assert 0.5 <= time.monotonic() - started < 5


def test_tool_calls_then_an_answer_that_quotes_their_results(sdk: openai.OpenAI) -> None:
    question: Any = {"role": "user", "content": '[tool=weather {"city": "Rome"}] [tool=weather {"city": "Oslo"}]'}
    turn = sdk.chat.completions.create(model="m", messages=[question], tools=[WEATHER]).choices[0]
    assert turn.finish_reason == "tool_calls"
    assert turn.message.content is None
    calls: Any = turn.message.tool_calls
    assert [call.function.arguments for call in calls] == ['{"city": "Rome"}', '{"city": "Oslo"}']
    results: Any = [
        {"role": "tool", "tool_call_id": call.id, "content": weather}
        for call, weather in zip(calls, ("sunny", "snow"), strict=True)
    ]
    messages: Any = [question, turn.message.model_dump(exclude_none=True), *results]
    answer = sdk.chat.completions.create(model="m", messages=messages).choices[0]
    assert "sunny; snow" in str(answer.message.content)
    assert answer.finish_reason == "stop"


def test_tool_calls_stream_in_pieces(sdk: openai.OpenAI) -> None:
    arguments = '{"city": "a city whose name does not fit into one piece"}'
    messages: Any = [{"role": "user", "content": f"[tool=weather {arguments}] [tool=clock]"}]
    with sdk.chat.completions.stream(model="m", messages=messages, tools=[WEATHER]) as stream:
        events = list(stream)
        turn: Any = stream.get_final_completion().choices[0]
    assert turn.finish_reason == "tool_calls"
    assert [(call.function.name, call.function.arguments) for call in turn.message.tool_calls] == [
        ("weather", arguments),
        ("clock", "{}"),
    ]
    assert sum(event.type == "tool_calls.function.arguments.delta" for event in events) > 2


def converse(sdk: openai.OpenAI, text: str, result: str = "{}", **options: Any) -> list[Any]:
    """The turns of the model until it calls nothing any more, each read from its stream; all calls get `result`."""
    messages: list[Any] = [{"role": "user", "content": text}]
    turns: list[Any] = []
    while True:
        with sdk.chat.completions.stream(model="m", messages=messages, tools=[WEATHER], **options) as stream:
            turns.append(stream.get_final_completion().choices[0].message)
        calls = turns[-1].tool_calls or []
        if not calls:
            return turns
        messages.append(turns[-1].model_dump(exclude_none=True, include={"role", "content", "tool_calls"}))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": result} for call in calls]


def test_a_whole_conversation_with_tools_is_scripted(sdk: openai.OpenAI, control: httpx.Client) -> None:
    steps = [{"say": "I look.", "tool": ["weather", "clock"]}, {"tool": "weather"}, {"say": "It is {result.sky}."}]
    control.post("/rules", json=[{"match": "^report$", "steps": steps}]).raise_for_status()
    directives = "[say=I look.] [tool=weather] [tool=clock] [then] [tool=weather] [then] [say=It is {result.sky}.]"
    for text in ("report", directives):
        turns = converse(sdk, text, '{"sky": "blue"}')
        assert [turn.content for turn in turns] == ["I look.", "", "It is blue."]
        assert [len(turn.tool_calls or []) for turn in turns] == [2, 1, 0]


def test_an_error_among_the_results_ends_a_scripted_conversation(sdk: openai.OpenAI) -> None:
    text = "[tool=weather] [then] [tool=weather] [on_error=I give up: {result.error.detail}] [then] [say=done]"
    assert [turn.content for turn in converse(sdk, text)] == ["", "", "done"]
    refused = converse(sdk, text, '{"error": {"code": "rejected", "detail": "not today"}}')
    assert [turn.content for turn in refused] == ["", "I give up: not today"]


def test_it_calls_no_tool_where_none_may_be_called(sdk: openai.OpenAI) -> None:
    assert "no tools were offered" in said(sdk, "[tool=weather]")
    assert "'tool_choice' is 'none'" in said(sdk, "[tool=weather]", tools=[WEATHER], tool_choice="none")
    insisting = streamed(sdk, "[tool=weather] [insist]", tools=[WEATHER], tool_choice="none")
    assert insisting[-1].choices[0].finish_reason == "tool_calls"


def called(chunks: list[ChatCompletionChunk]) -> list[Any]:
    """All parts of tool calls in a stream."""
    return [part for chunk in chunks for part in chunk.choices[0].delta.tool_calls or []]


def test_calls_that_no_program_should_believe_arrive_as_they_are(sdk: openai.OpenAI, control: httpx.Client) -> None:
    deep = "[" * 50_000 + "]" * 50_000
    bad = ["{not json", '{"a": "\\u0000\\ud800", "a": 2}', '{"a": "\0\ud800"}', deep, ""]
    calls = [{"name": "weather", "raw": raw} for raw in bad]
    calls += [{"name": "x" * 5_000, "id": "y" * 5_000}, {"name": "", "id": ""}, {"name": "é", "id": ""}]
    # The escapes as such: a lone surrogate has no UTF-8 form.
    rules = json.dumps([{"match": "^bad$", "tool": calls, "piece": 100_000}])
    control.post("/rules", content=rules).raise_for_status()
    parts = called(streamed(sdk, "bad", tools=[WEATHER]))
    heads, pieces = [part for part in parts if part.type], [part for part in parts if not part.type]
    assert [head.function.name for head in heads] == ["weather"] * 5 + ["x" * 5_000, "", "é"]
    assert [head.id for head in heads[5:]] == ["y" * 5_000, "", ""]
    assert [piece.function.arguments for piece in pieces] == [*bad[:4], "{}", "{}", "{}"]
    assert [piece.index for piece in pieces] == [0, 1, 2, 3, 5, 6, 7]
    answer: Any = sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "bad"}], tools=[WEATHER])
    assert [call.function.arguments for call in answer.choices[0].message.tool_calls][:5] == bad


def test_two_hundred_calls_can_come_in_one_turn_and_side_by_side(sdk: openai.OpenAI) -> None:
    text = '[interleave] [piece=1] [tool={"name": "weather", "arguments": {"a": 1}, "times": 200}]'
    parts = called(streamed(sdk, text, tools=[WEATHER]))
    assert [part.index for part in parts[:400]] == [*range(200), *range(200)]
    assert len({part.id for part in parts if part.id}) == 200
    pieces = [part.function.arguments for part in parts if part.index == 199]
    assert pieces == ["", *'{"a": 1}']


def test_a_turn_can_lie_about_its_end(sdk: openai.OpenAI) -> None:
    calls = streamed(sdk, "[tool=weather] [finish=stop]", tools=[WEATHER])
    assert (called(calls) != [], calls[-1].choices[0].finish_reason) == (True, "stop")
    none = streamed(sdk, "[say=soon] [finish=tool_calls]", tools=[WEATHER])
    assert (called(none), none[-1].choices[0].finish_reason) == ([], "tool_calls")


def test_a_stream_can_break_in_the_middle_of_a_call(sdk: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": '[piece=1] [tool=weather {"city": "Rome"}] [break=5x1]'}]
    with pytest.raises(openai.APIConnectionError):
        list(sdk.chat.completions.create(model="m", messages=messages, tools=[WEATHER], stream=True))
    again = list(sdk.chat.completions.create(model="m", messages=messages, tools=[WEATHER], stream=True))
    assert "".join(part.function.arguments for part in called(again)) == '{"city": "Rome"}'


def test_an_answer_by_schema_is_the_smallest_that_is_valid(sdk: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"tasks": {"type": "array"}, "note": {}}, "required": ["tasks"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "list", "schema": schema}}
    assert said(sdk, "plan", response_format=wanted) == '{"tasks": []}'
    assert said(sdk, 'plan [say={"tasks": ["a"]}]', response_format=wanted) == '{"tasks": ["a"]}'


def test_a_failure_is_the_error_that_the_sdk_knows(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as caught:
        said(sdk, "[fail=429] [retry_after=2]")
    assert caught.value.response.headers["Retry-After"] == "2"
    with pytest.raises(openai.InternalServerError) as failed:
        streamed(sdk, "[fail=503]")
    assert failed.value.status_code == 503
    assert failed.value.response.headers["Retry-After"] == "0"


def test_a_counted_failure_ends(sdk: openai.OpenAI) -> None:
    for _ in range(2):
        with pytest.raises(openai.InternalServerError):
            said(sdk, "one [fail=503x2] [say=fine]")
    assert said(sdk, "one [fail=503x2] [say=fine]") == "fine"
    with pytest.raises(openai.InternalServerError):
        said(sdk, "another [fail=503x2] [say=fine]")


def test_a_broken_stream_breaks_after_its_tokens(sdk: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "[tokens=20] [break=5x1]"}]
    words: list[str] = []
    with pytest.raises(openai.APIConnectionError):
        collect(sdk.chat.completions.create(model="m", messages=messages, stream=True), words)
    assert len(words) == 5
    stream = sdk.chat.completions.create(model="m", messages=messages, stream=True)
    assert len([chunk for chunk in stream if chunk.choices[0].delta.content]) == 20


def test_a_broken_plain_answer_is_a_connection_error(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.APIConnectionError):
        said(sdk, "[break=0]")


def test_a_silent_model_sends_nothing_and_notices_that_its_client_left(
    sdk: openai.OpenAI, control: httpx.Client
) -> None:
    for stream in (False, True):
        with pytest.raises(openai.APITimeoutError):
            said(sdk, "[silent=30]", stream=stream, timeout=0.3)
    assert seen(control, "m")["total"] == 2
    assert eventually(lambda: seen(control, "m")["current"] == 0)


def test_a_message_that_makes_no_sense_is_refused(sdk: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="delay=soon"):
        said(sdk, "[delay=soon]")
    with pytest.raises(openai.BadRequestError, match="non-empty list"):
        sdk.chat.completions.create(model="m", messages=[])


def test_rules_answer_by_user_message_system_prompt_and_model(sdk: openai.OpenAI, control: httpx.Client) -> None:
    rules = [
        {"match": "^weather in (Rome|Oslo)$", "say": "sunny"},
        {"match": "planner", "in": "system", "say": "a plan"},
        {"match": "^big$", "in": "model", "tool": ["look {}", {"name": "find", "arguments": {"n": 1}}]},
    ]
    assert control.post("/rules", json=rules).json() == {"rules": 3}
    assert said(sdk, "weather in Oslo") == "sunny"
    assert said(sdk, "weather in Oslo [say=but here it rains]") == "but here it rains"
    messages: Any = [{"role": "system", "content": "You are a planner."}, {"role": "user", "content": "go"}]
    assert sdk.chat.completions.create(model="m", messages=messages).choices[0].message.content == "a plan"
    turn = sdk.chat.completions.create(model="big", messages=messages[1:], tools=[WEATHER]).choices[0]
    calls: Any = turn.message.tool_calls
    assert [call.function.name for call in calls] == ["look", "find"]
    control.delete("/rules")
    assert said(sdk, "weather in Oslo").startswith(INTRODUCTION)


def test_a_rule_that_cannot_be_understood_is_refused(control: httpx.Client) -> None:
    for rule in ({"match": "("}, {"in": "moon"}, {"sey": "x"}, {"tokens": "many"}):
        answer = control.post("/rules", json=[rule])
        assert answer.status_code == 400, rule


def test_the_witness_counts_simultaneous_requests_for_each_agent(sdk: openai.OpenAI, control: httpx.Client) -> None:
    def ask(agent: str) -> None:
        said(sdk, "[delay=0.5] [tokens=2]", stream=False, extra_headers={"X-Codelab-Agent": agent})

    with ThreadPoolExecutor(5) as threads:
        list(threads.map(ask, ["a", "a", "a", "b", "b"]))
    for _ in range(3):
        said(sdk, "hello", user="c")
    assert seen(control, "a") == {"current": 0, "max": 3, "total": 3}
    assert seen(control, "b") == {"current": 0, "max": 2, "total": 2}
    assert seen(control, "c") == {"current": 0, "max": 1, "total": 3}
    assert control.get("/witness").json()["all"] == {"current": 0, "max": 5, "total": 8}


def test_a_client_that_gave_up_is_not_counted_with_its_successor(sdk: openai.OpenAI, control: httpx.Client) -> None:
    messages: Any = [{"role": "user", "content": "[silent=5]"}]
    for _ in range(5):
        with pytest.raises(openai.APITimeoutError):
            sdk.chat.completions.create(model="m", messages=messages, timeout=0.05)
    said(sdk, "hello")
    assert seen(control, "m")["max"] == 1


def test_the_requests_can_be_read_back(sdk: openai.OpenAI, control: httpx.Client) -> None:
    for number in range(3):
        said(sdk, f"number {number}", temperature=0.5)
    requests = control.get("/requests", params={"limit": 2}).json()["requests"]
    assert [each["body"]["messages"][0]["content"] for each in requests] == ["number 1", "number 2"]
    assert requests[0]["body"]["temperature"] == 0.5
    assert requests[0]["path"] == "/v1/chat/completions"


def test_a_request_counts_as_served_once_its_whole_answer_was_sent(sdk: openai.OpenAI, control: httpx.Client) -> None:
    def served() -> list[bool]:
        return [each["served"] for each in control.get("/requests").json()["requests"]]

    said(sdk, "[say=all of it]")
    streamed(sdk, "[say=all of it]")
    assert eventually(lambda: served() == [True, True], 1.0)
    messages: Any = [{"role": "user", "content": "[tokens=100] [gap=0.05]"}]
    with sdk.chat.completions.create(model="m", messages=messages, stream=True) as stream:
        next(iter(stream))
    messages = [{"role": "user", "content": "[tokens=10] [break=5]"}]
    with pytest.raises(openai.APIConnectionError):
        list(sdk.chat.completions.create(model="m", messages=messages, stream=True))
    assert eventually(lambda: seen(control, "m")["current"] == 0, 1.0)
    assert served() == [True, True, False, False]


def test_models_are_listed(sdk: openai.OpenAI) -> None:
    assert "stand-in" in [model.id for model in sdk.models.list()]


@pytest.mark.parametrize("name", ["stand-in", "any other", "maker/model:tag", "a?b#c%2F"])
def test_a_model_of_any_name_can_be_looked_up(sdk: openai.OpenAI, name: str) -> None:
    model = sdk.models.retrieve(name)
    assert (model.id, model.object, model.owned_by) == (name, "model", "codelab-core")


def test_a_look_up_fails_as_its_rule_says(sdk: openai.OpenAI, control: httpx.Client) -> None:
    rules = [
        {"match": "^gone$", "in": "lookup", "fail": 404},
        {"match": "^ill$", "in": "model", "fail": "503x1", "retry_after": 3},
        {"match": "^cut$", "in": "lookup", "break": "0x1"},
    ]
    control.post("/rules", json=rules).raise_for_status()
    with pytest.raises(openai.NotFoundError):
        sdk.models.retrieve("gone")
    assert sdk.chat.completions.create(model="gone", messages=[{"role": "user", "content": "hi"}]).choices
    with pytest.raises(openai.InternalServerError) as caught:
        sdk.models.retrieve("ill")
    assert caught.value.response.headers["Retry-After"] == "3"
    assert sdk.models.retrieve("ill").id == "ill"
    with pytest.raises(openai.APIConnectionError):
        sdk.models.retrieve("cut")
    assert sdk.models.retrieve("cut").id == "cut"


def test_a_silent_look_up_waits(sdk: openai.OpenAI, control: httpx.Client) -> None:
    control.post("/rules", json=[{"match": "^slow$", "in": "lookup", "silent": "0.5x1"}]).raise_for_status()
    started = time.monotonic()
    sdk.models.retrieve("slow")
    assert time.monotonic() - started >= 0.5
    control.post("/rules", json=[{"match": "^hung$", "in": "lookup", "silent": 30}]).raise_for_status()
    with pytest.raises(openai.APITimeoutError):
        sdk.models.retrieve("hung", timeout=0.3)


def test_look_ups_are_no_visits_and_not_among_the_requests(sdk: openai.OpenAI, control: httpx.Client) -> None:
    sdk.models.retrieve("seen")
    assert control.get("/requests").json()["requests"] == []
    assert control.get("/witness").json()["all"]["total"] == 0


def test_embeddings_are_deterministic_lexical_and_normalised(sdk: openai.OpenAI) -> None:
    texts = ["The cat sat on the mat", "A cat sits on a mat", "Quarterly revenue grew by nine percent"]
    first, near, far = (each.embedding for each in sdk.embeddings.create(model="e", input=texts).data)

    def similarity(left: list[float], right: list[float]) -> float:
        return sum(x * y for x, y in zip(left, right, strict=True))

    assert len(first) == 1536
    assert similarity(first, first) == pytest.approx(1, abs=1e-5)
    assert similarity(first, near) > similarity(first, far) + 0.2
    again = sdk.embeddings.create(model="e", input=texts[0]).data[0].embedding
    assert again == first


def test_embeddings_honour_dimensions_and_both_formats(address: str, sdk: openai.OpenAI) -> None:
    assert len(sdk.embeddings.create(model="e", input="x", dimensions=64).data[0].embedding) == 64
    body: dict[str, Any] = {"model": "e", "input": ["hello world"], "dimensions": 8}
    with httpx.Client(base_url=f"{address}/v1", trust_env=False) as http:
        plain = http.post("/embeddings", json=body).json()["data"][0]["embedding"]
        packed = http.post("/embeddings", json=body | {"encoding_format": "base64"}).json()["data"][0]["embedding"]
        assert http.post("/embeddings", json=body | {"input": ""}).status_code == 400
    assert list(array("f", base64.b64decode(packed))) == pytest.approx(plain, abs=1e-6)


def test_it_holds_hundreds_of_streams_at_once(address: str, control: httpx.Client) -> None:
    count = 500
    body = b'{"model": "crowd", "stream": true, "messages": [{"role": "user", "content": "[delay=2] [tokens=5]"}]}'
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"

    async def one() -> int:
        # Not the SDK: its client alone takes longer for so many connections than the server does.
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address.rpartition(":")[2]))
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"data: [DONE]")
        writer.close()
        return answer.count(b'"content": "tok')

    async def talk() -> list[int]:
        return await asyncio.gather(*(one() for _ in range(count)))

    assert asyncio.run(talk()) == [5] * count
    assert seen(control, "crowd")["total"] == count
    assert seen(control, "crowd")["max"] > count * 0.9


def test_a_stream_that_is_closed_early_leaves_the_witness(sdk: openai.OpenAI, control: httpx.Client) -> None:
    messages: Any = [{"role": "user", "content": "[tokens=100] [gap=0.05]"}]
    started = threading.Event()
    with sdk.chat.completions.create(model="m", messages=messages, stream=True) as stream:
        for _ in stream:
            started.set()
            break
    assert started.is_set()
    assert eventually(lambda: seen(control, "m")["current"] == 0, 1.0)
