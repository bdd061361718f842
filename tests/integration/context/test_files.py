"""An agent's memory as a file: what is exported can be imported, anywhere, and a part is never taken for the whole."""

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from tests.conftest import MakeUser
from tests.support.answers import error
from tests.support.api import ApiClient
from tests.support.contexts import Context, line
from workspace.memory.transfer import LONGEST_LINE

pytestmark = pytest.mark.stack

MANY = 450
"""More than two pages of an export, and than four parts of an import."""


@pytest.fixture(scope="module")
def lines() -> list[bytes]:
    """An import of many memories."""
    return [line(text=f"memory {number}", run_id=str(uuid4()), success=number % 3 > 0) for number in range(MANY)]


def _without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def test_an_export_has_every_memory_with_its_vector_the_oldest_first(mine: Context, lines: list[bytes]) -> None:
    mine.load(b"".join(lines))
    answer = mine.get("export/")
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="helper-memory.ndjson"'
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Transfer-Encoding"] == "chunked"
    assert answer.content.endswith(b"\n")
    told = [json.loads(each) for each in answer.content.splitlines()]
    assert [_without(each, "embedding") for each in told] == mine.all()[::-1]
    for each in told:
        assert _without(each["embedding"], "vector") == {"model": "stand-in-embedding", "dimensions": 384}


def test_what_was_exported_can_be_imported_by_another_agent_of_another_user(
    mine: Context, lines: list[bytes], make_user: MakeUser
) -> None:
    mine.load(b"".join(lines))
    theirs = Context.of_new_agent(make_user(), "another")
    exported = mine.export()

    assert theirs.load(exported) == {"stored": MANY, "embedded": 0}
    assert theirs.all() == [{**each, "provenance": "import"} for each in mine.all()]
    assert theirs.export().replace(b'"provenance":"import"', b"") == exported.replace(b'"provenance":"import"', b"")
    assert theirs.load(exported) == {"stored": MANY, "embedded": 0}
    assert theirs.page()["total"] == MANY


def test_a_text_is_enough_of_a_line(mine: Context) -> None:
    assert mine.load(
        line(text="one") + b"\n  \r\n" + line(text="two").replace(b"\n", b"\r\n") + line(text="three")[:-1]
    ) == {
        "stored": 3,
        "embedded": 3,
    }
    assert sorted(mine.texts()) == ["one", "three", "two"]
    assert {each["provenance"] for each in mine.all()} == {"import"}


@pytest.mark.parametrize("body", [b"", b"\n", b" \n\n\t\n" * 1_000])
def test_an_import_of_nothing_is_no_mistake(mine: Context, body: bytes) -> None:
    assert mine.load(body) == {"stored": 0, "embedded": 0}


BAD: dict[str, bytes] = {
    "no JSON": b"text\n",
    "a list": b'["text"]\n',
    "no text": b"{}\n",
    "a blank text": b'{"text": " "}\n',
    "an unknown field": b'{"text": "x", "user_id": 1}\n',
    "an id of a random kind": line(text="x", id=str(uuid4())),
    "an id beyond the calendar": line(text="x", id="ffffffff-ffff-7fff-bfff-ffffffffffff"),
    "a time without a zone": line(text="x", created_at="2026-01-01T00:00:00"),
    "a time before all": line(text="x", created_at="0001-01-01T00:00:00+01:00"),
    "a time after all": line(text="x", created_at="9999-12-31T23:59:59-01:00"),
    "the last line of an export that failed": b'{"error": {"error_code": "memory_unavailable", "detail": "x"}}\n',
    "two values": b'{"text": "x"} {"text": "y"}\n',
    "NUL": b'{"text": "\\u0000"}\n',
    "a lone surrogate": b'{"text": "\\ud800"}\n',
    "no UTF-8": b'{"text": "\xff"}\n',
    "too long": b'{"text": "x"' + b" " * LONGEST_LINE + b"}\n",
    "far too long": b"x" * (3 * LONGEST_LINE),
    "cut": b'{"text": "x',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_line_that_is_none_is_told_by_its_number_and_what_stands_before_it_is_kept(mine: Context, bad: bytes) -> None:
    good = [line(text=f"memory {number}") for number in range(103)]
    answer = mine.send_lines(b"".join([*good[:102], b"\n", bad, good[102]]))
    body = error(answer, 422, "validation_error", more={"line", "stored"})
    assert (body["line"], body["stored"]) == (104, 102)
    assert body["detail"].startswith("Line 104: ")
    assert mine.page()["total"] == 102
    assert "memory 102" not in mine.texts()


def test_the_longest_line_is_one(mine: Context) -> None:
    head, tail = b'{"text": "x"', b"}\n"
    longest = head + b" " * (LONGEST_LINE - len(head) - len(tail)) + tail
    assert mine.load(longest * 3 + line(text="y"))["stored"] == 4


@pytest.mark.parametrize("sent_as", ["application/json", "text/plain", "application/x-www-form-urlencoded", ""])
def test_an_import_that_is_not_sent_as_lines_is_refused(mine: Context, sent_as: str) -> None:
    answer = mine.send_lines(line(text="x"), **{"Content-Type": sent_as})
    assert "application/x-ndjson" in error(answer, 415, "validation_error")["detail"]
    assert mine.texts() == []


def test_an_import_may_be_larger_than_other_bodies(mine: Context) -> None:
    """It is sent in chunks, and the parts are kept as they come."""
    padding = "word " * 3_000

    def chunks() -> Iterator[bytes]:
        for number in range(120):
            each = line(text=f"{number} {padding}")
            yield each[:7_000]
            yield each[7_000:]

    assert mine.load(chunks()) == {"stored": 120, "embedded": 120}
    assert mine.page()["total"] == 120


def test_an_import_beyond_its_limit_is_refused(make_user: MakeUser, small_imports_url: str) -> None:
    mine = Context.of_new_agent(make_user().at(small_imports_url))
    most = b" " * 2_000_000
    whole = b"".join(line(text=f"{number} " + "word " * 3_000) for number in range(130))
    whole += most[len(whole) :]
    assert mine.load(whole)["stored"] == 130
    assert mine.load(iter([whole]))["stored"] == 130
    error(mine.send_lines(whole + b" "), 413, "payload_too_large")
    error(mine.send_lines(iter([whole, b" "])), 413, "payload_too_large")


def test_an_export_that_cannot_be_begun_is_an_error(user: ApiClient) -> None:
    answer = user.get(f"agents/{uuid4()}/context/export/")
    error(answer, 404, "not_found")
