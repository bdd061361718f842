"""A turn with tools, as the model is shown it again: in the form of the protocol, each answer to its call."""

from workspace.events import Usage
from workspace.tools.transcript import AnsweredCall, ToolTurn


def turn(said: str, *calls: AnsweredCall) -> ToolTurn:
    return ToolTurn(number=1, said=said, calls=calls, usage=Usage())


def test_what_was_said_and_asked_comes_first_and_the_answers_in_the_same_order() -> None:
    one = AnsweredCall("call_1", "read_file", '{"path":"a"}', '{"ok":true,"output":{}}')
    two = AnsweredCall("call_2", "write_file", "{}", '{"ok":false}')
    assert turn("let me look", one, two).messages() == [
        {
            "role": "assistant",
            "content": "let me look",
            "tool_calls": [
                {"id": "call_1", "type": "function", "function": {"name": "read_file", "arguments": '{"path":"a"}'}},
                {"id": "call_2", "type": "function", "function": {"name": "write_file", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": '{"ok":true,"output":{}}'},
        {"role": "tool", "tool_call_id": "call_2", "content": '{"ok":false}'},
    ]


def test_where_nothing_was_said_there_is_no_content() -> None:
    said, _ = turn("", AnsweredCall("call_1", "look", "{}", "{}")).messages()
    assert said["content"] is None
