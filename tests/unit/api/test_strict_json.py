"""The JSON loader refuses what a store or a later layer would choke on, and never answers slowly."""

import contextlib
import json
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask import json as flask_json
from flask import request as current_request
from hypothesis import example, given, settings
from hypothesis import strategies as st
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.test import EnvironBuilder, run_wsgi_app

from api.strict_json import StrictJSONProvider, StrictRequest, UnsupportedContentType
from workspace.strict_json import InvalidJson, JsonValue, loads

MEGABYTE = 1_048_576
SLOW = 5.0
"""Seconds that no body within the cap may take; the slowest takes 0.2, quadratic work would take minutes."""

CAP = 100


def nested(depth: int, *, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    return opening * depth + closing * depth


def refusal(data: bytes, **options: Any) -> str:
    with pytest.raises(InvalidJson) as caught:
        loads(data, **options)
    return caught.value.detail


# What passes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'{"content": "hello", "n": [1, 2.5, true, null]}', {"content": "hello", "n": [1, 2.5, True, None]}),
        (b" \n\t7\r ", 7),
        (b"null", None),
        ('"gr\u00fc\u00df \U0001f600"'.encode(), "gr\u00fc\u00df \U0001f600"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b'"\\\\u0000 and \\\\ud800 are text here"', "\\u0000 and \\ud800 are text here"),
        (b'[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}]),
        (b"[1e308, -1e308, 1e-999]", [1e308, -1e308, 0.0]),
    ],
)
def test_ordinary_json_is_returned_as_it_is(data: bytes, value: JsonValue) -> None:
    assert loads(data) == value


def test_the_largest_and_the_smallest_integer_of_63_bits_pass() -> None:
    assert loads(b"[9223372036854775807, -9223372036854775808]") == [2**63 - 1, -(2**63)]


def test_a_depth_of_64_passes_for_lists_and_objects() -> None:
    loads(nested(64))
    loads(b'{"a":' * 63 + b"{}" + b"}" * 63)


def test_many_brackets_side_by_side_are_not_depth() -> None:
    assert loads(b"[" + b",".join([b"[]"] * 1000) + b"]") == [[]] * 1000


def test_brackets_in_strings_are_not_depth() -> None:
    tricky = ["[" * 100, '"' + "[" * 100, "\\" + "{" * 100, '\\"' + "[" * 100, "[" * 100 + "\\\\"]
    assert loads(json.dumps(tricky).encode()) == tricky


# What is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"", "the body is empty"),
        (b"  ", "Expecting value (line 1, column 3)"),
        (b'"\xff"', "not UTF-8 (byte 1)"),
        (b'"\xed\xa0\x80"', "not UTF-8 (byte 1)"),
        (b'"\xc0\x80"', "not UTF-8 (byte 1)"),
        (b"\xef\xbb\xbf{}", "starts with a byte order mark"),
        (b"NaN", "NaN and Infinity are not JSON"),
        (b"[Infinity]", "NaN and Infinity are not JSON"),
        (b'{"a": -Infinity}', "NaN and Infinity are not JSON"),
        (b"1e999", "a number is too large"),
        (b"-1e999", "a number is too large"),
        (b'{"a": 1, "a": 1}', "an object holds the same key twice"),
        (b'[{"b": {"a": 1, "\\u0061": 2}}]', "an object holds the same key twice"),
        (b"9223372036854775808", "an integer is beyond 63 bits"),
        (b"-9223372036854775809", "an integer is beyond 63 bits"),
        (b"[100000000000000000000000]", "an integer is beyond 63 bits"),
        (b'"a\x00"', "Invalid control character at (line 1, column 3)"),
        (b'"a\\u0000"', "a string holds the NUL character"),
        (b'{"a\\u0000": 1}', "a string holds the NUL character"),
        (b'{"a": [{"b": "\\u0000"}]}', "a string holds the NUL character"),
        (b'"\\ud800"', "a string holds a lone surrogate"),
        (b'"\\uDFFF"', "a string holds a lone surrogate"),
        (b'"\\ude00\\ud83d"', "a string holds a lone surrogate"),
        (b'{"\\ud800": 1}', "a string holds a lone surrogate"),
        (b'["\\ud83d\\ude00", ["\\ud83d"]]', "a string holds a lone surrogate"),
        (b"{} {}", "Extra data (line 1, column 4)"),
        (b"[1,]", "Expecting value (line 1, column 4)"),
        (b"{'a': 1}", "Expecting property name enclosed in double quotes (line 1, column 2)"),
        (b"01", "Extra data (line 1, column 2)"),
        (b"// comment\n1", "Expecting value (line 1, column 1)"),
    ],
)
def test_what_is_not_strict_json_is_refused_with_a_plain_reason(data: bytes, detail: str) -> None:
    assert refusal(data) == detail


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_of_unicode_are_refused(encoding: str) -> None:
    refusal('{"a": "b"}'.encode(encoding))


@pytest.mark.parametrize(
    "data",
    [
        nested(65),
        b'{"a":' * 64 + b"{}" + b"}" * 64,
        b'[{"a":' * 33 + b"1" + b"}]" * 33,
        b'["\\\\", ' + nested(64) + b"]",
        b'["[\\"[", ' + nested(64) + b"]",
        b"[[], " + nested(64) + b"]",
    ],
)
def test_a_depth_of_65_is_refused(data: bytes) -> None:
    assert refusal(data) == "nested deeper than 64 levels"


def test_the_depth_is_checked_before_the_rest_of_the_text() -> None:
    assert refusal(nested(65) + b"nonsense") == "nested deeper than 64 levels"


def test_a_smaller_depth_may_be_asked_for() -> None:
    assert loads(nested(2), max_depth=2) == [[]]
    assert refusal(nested(3), max_depth=2) == "nested deeper than 2 levels"


def test_a_limit_that_the_scanner_cannot_follow_still_refuses_cleanly() -> None:
    assert refusal(nested(50_000), max_depth=100_000) == "nested too deep"


def test_a_refusal_does_not_repeat_the_input() -> None:
    marker = "SENSITIVE"
    for data in (f'{{"{marker}": 1, "{marker}": 2}}', f'"\\{marker}"', f'["{marker}" {marker}]', f'"{marker}\\ud800"'):
        assert marker not in refusal(data.encode())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" * MEGABYTE, id="open brackets"),
        pytest.param(b'{"a":' * (MEGABYTE // 5), id="open objects"),
        pytest.param(b"[" + b"[]," * 340_000 + b"[]]", id="flat lists"),
        pytest.param(b"[" + b",".join([nested(63)] * 8_000) + b"]", id="deep lists"),
        pytest.param(b"[" * 65 + b'"' + b'\\"' * 500_000, id="open string of escaped quotes"),
        pytest.param(b"[" * 65 + b'"' + b"\\" * 1_000_000, id="backslashes"),
        pytest.param(b"[" * 65 + b'"",' * 340_000, id="empty strings"),
        pytest.param(b"1" * 1_000_000, id="an integer of a million digits"),
        pytest.param(b"-" + b"9" * 1_000_000, id="a negative integer of a million digits"),
        pytest.param(b"0." + b"1" * 1_000_000, id="a fraction of a million digits"),
        pytest.param(b"1" * 1_000_000 + b".5", id="a float of a million digits"),
        pytest.param(b"[" + b'"\\ud83d\\ude00",' * 69_000 + b"1]", id="escaped emoji"),
        pytest.param(b"[" + b"1," * 500_000 + b"1]", id="integers"),
    ],
)
def test_no_hostile_megabyte_is_slow_or_breaks_the_loader(data: bytes) -> None:
    begin = time.perf_counter()
    with contextlib.suppress(InvalidJson):
        loads(data)
    assert time.perf_counter() - begin < SLOW


# Properties -------------------------------------------------------------------------------------------------------

at_any_speed = settings(deadline=None)
storable_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | storable_text,
    lambda children: st.lists(children) | st.dictionaries(storable_text, children),
    max_leaves=30,
)


def strings_of(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_of(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings_of(item)


@at_any_speed
@given(json_values, st.booleans())
def test_every_acceptable_value_survives_its_encoding(value: JsonValue, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only).encode()) == value


@at_any_speed
@given(
    st.binary()
    | st.text(st.sampled_from('[]{}",:\\ud800e+-.0123456789 aNIfinty\n')).map(str.encode)
    | st.recursive(st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)).map(
        lambda value: json.dumps(value).encode()
    )
)
@example(b'"\\')
@example(b'{"a":1,"a":')
def test_any_bytes_give_a_storable_value_or_a_refusal(data: bytes) -> None:
    try:
        value = loads(data)
    except InvalidJson:
        return
    assert value == json.loads(data)
    for text in strings_of(value):
        assert "\0" not in text
        text.encode()


@at_any_speed
@given(st.lists(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b","]), max_size=60).map(b"".join))
def test_the_depth_check_never_lets_the_scanner_go_deeper(data: bytes) -> None:
    try:
        value = loads(data, max_depth=3)
    except InvalidJson:
        return
    assert depth_of(value) <= 3


def depth_of(value: JsonValue) -> int:
    if isinstance(value, list | dict):
        children = value if isinstance(value, list) else value.values()
        return 1 + max(map(depth_of, children), default=0)
    return 0


# The provider -----------------------------------------------------------------------------------------------------


def test_the_provider_of_the_application_loads_strictly() -> None:
    app = Flask(__name__)
    app.json = StrictJSONProvider(app)
    with app.app_context():
        assert flask_json.loads('{"a": [1]}') == {"a": [1]}
        for text in ('{"a": 1, "a": 2}', b"NaN", "\ud800"):
            with pytest.raises(InvalidJson):
                flask_json.loads(text)
        with pytest.raises(TypeError):
            flask_json.loads("1e999", parse_float=float)


# The request ------------------------------------------------------------------------------------------------------


class ServerStream:
    """A body as a WSGI server hands it out: only `read`, in pieces, and empty at the end."""

    def __init__(self, body: bytes, piece: int = 7) -> None:
        self._body, self._piece = BytesIO(body), piece

    def read(self, size: int = -1) -> bytes:
        return self._body.read(self._piece if size < 0 else min(size, self._piece))


class BrokenStream:
    """A body whose sender vanished."""

    def read(self, _size: int = -1) -> bytes:
        raise OSError("connection reset")


def request(body: bytes = b"", *, content_type: str | None = "application/json") -> StrictRequest:
    return StrictRequest(EnvironBuilder(method="POST", data=body, content_type=content_type).get_environ())


def chunked_request(stream: Any, content_type: str = "application/json") -> StrictRequest:
    environ = EnvironBuilder(method="POST", content_type=content_type).get_environ()
    environ.pop("CONTENT_LENGTH", None)
    environ.update({"wsgi.input": stream, "wsgi.input_terminated": True, "HTTP_TRANSFER_ENCODING": "chunked"})
    chunked = StrictRequest(environ)
    chunked.max_content_length = CAP
    return chunked


def body_of(size: int) -> bytes:
    return b'"' + b"a" * (size - 2) + b'"'


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/merge-patch+json"],
)
def test_a_json_body_is_parsed(content_type: str) -> None:
    assert request(b'{"a": 1}', content_type=content_type).get_json() == {"a": 1}
    assert request(b'{"a": 1}', content_type=content_type).json == {"a": 1}


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/jsonp",
        "multipart/form-data",
    ],
)
@pytest.mark.parametrize("options", [{}, {"silent": True}, {"force": True}])
def test_a_body_of_another_content_type_is_refused(content_type: str | None, options: dict[str, bool]) -> None:
    with pytest.raises(UnsupportedContentType) as caught:
        request(b'{"a": 1}', content_type=content_type).get_json(**options)
    assert caught.value.detail == "the body must be sent as application/json"


@pytest.mark.parametrize("options", [{}, {"silent": True}, {"force": True}, {"cache": False}])
def test_no_option_of_get_json_passes_by_the_strict_loader(options: dict[str, bool]) -> None:
    with pytest.raises(InvalidJson):
        request(b'{"a": 1, "a": 2}').get_json(**options)


def test_an_empty_body_is_an_error() -> None:
    with pytest.raises(InvalidJson, match="the body is empty"):
        request().get_json()


@pytest.mark.parametrize("content_type", ["application/json", None])
def test_silent_turns_only_the_absence_of_a_body_into_none(content_type: str | None) -> None:
    assert request(content_type=content_type).get_json(silent=True) is None
    with pytest.raises(InvalidJson):
        request(b" ").get_json(silent=True)


def test_a_silent_look_does_not_excuse_the_next_one() -> None:
    empty = request()
    assert empty.get_json(silent=True) is None
    with pytest.raises(InvalidJson):
        empty.get_json()


@pytest.mark.parametrize("body", [b'{"a": 1}', b"null"])
def test_a_body_is_parsed_once_also_when_its_value_is_null(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = request(body)
    first = parsed.get_json(cache=False)
    monkeypatch.setattr("api.strict_json.loads", lambda _data: pytest.fail("parsed again"))
    assert parsed.get_json() is first
    assert parsed.get_json(silent=True) is first


def test_a_declared_charset_does_not_change_that_the_body_is_utf_8() -> None:
    with pytest.raises(InvalidJson):
        request('"\u00e9"'.encode("latin-1"), content_type="application/json; charset=latin-1").get_json()


@pytest.mark.parametrize("stream", [BytesIO, ServerStream])
@pytest.mark.parametrize("size", [2, CAP - 1, CAP])
def test_a_chunked_body_up_to_the_cap_is_read_whole(stream: Any, size: int) -> None:
    assert chunked_request(stream(body_of(size))).get_json() == "a" * (size - 2)


@pytest.mark.parametrize("stream", [BytesIO, ServerStream])
@pytest.mark.parametrize("size", [CAP + 1, CAP + 2, 10 * CAP])
def test_a_chunked_body_over_the_cap_is_refused_and_not_cut(stream: Any, size: int) -> None:
    body = b"1" + b" " * (size - 1)  # its first CAP bytes alone would be valid
    with pytest.raises(RequestEntityTooLarge):
        chunked_request(stream(body)).get_json()
    with pytest.raises(RequestEntityTooLarge):
        chunked_request(stream(body)).get_data()


def test_reading_a_chunked_body_piece_by_piece_ends_at_the_cap_as_well() -> None:
    pieces = chunked_request(ServerStream(b"x" * 10 * CAP)).stream
    with pytest.raises(RequestEntityTooLarge):
        list(iter(lambda: pieces.read(16), b""))
    exact = chunked_request(ServerStream(b"x" * CAP)).stream
    assert sum(len(piece) for piece in iter(lambda: exact.read(16), b"")) == CAP


def test_a_chunked_form_over_the_cap_is_refused_as_well() -> None:
    form = chunked_request(ServerStream(b"a=" + b"x" * CAP), content_type="application/x-www-form-urlencoded")
    with pytest.raises(RequestEntityTooLarge):
        _ = form.form


def test_a_chunked_body_whose_sender_vanished_is_a_client_error() -> None:
    with pytest.raises(Exception, match="400 Bad Request"):
        chunked_request(BrokenStream()).get_json()


def test_a_declared_length_over_the_cap_is_refused_before_reading() -> None:
    declared = chunked_request(BrokenStream())
    del declared.environ["HTTP_TRANSFER_ENCODING"]
    declared.environ["CONTENT_LENGTH"] = str(CAP + 1)
    with pytest.raises(RequestEntityTooLarge):
        declared.get_json()


def test_the_cap_is_the_one_of_the_application_and_answers_413() -> None:
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = CAP
    app.request_class = StrictRequest
    app.add_url_rule("/", view_func=lambda: str(current_request.get_json()), methods=["POST"])
    for body, expected in ((body_of(CAP), "200 OK"), (body_of(CAP + 1), "413 REQUEST ENTITY TOO LARGE")):
        _, status, _ = run_wsgi_app(app, chunked_request(ServerStream(body)).environ)
        assert status == expected
