"""Keys of chat requests: requests with different answers have different keys, and only the last turn's text is free."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsearch.errors import InvalidArgument
from vsearch.integrations.chat import IGNORED, chat_key, fingerprint

SYSTEM = {"role": "system", "content": "Be brief."}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
BODY: dict[str, Any] = {
    "model": "m-1",
    "messages": [
        SYSTEM,
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "What is the capital of France?"},
    ],
    "temperature": 0.2,
}


def with_last(content: Any, **extra: Any) -> dict[str, Any]:
    return {**BODY, "messages": [SYSTEM, {"role": "user", "content": content, **extra}]}


def text(value: str) -> dict[str, Any]:
    return {"type": "text", "text": value}


def test_the_prompt_is_the_last_text_of_the_user() -> None:
    assert chat_key(BODY).prompt == "What is the capital of France?"


def test_another_last_text_has_the_same_scope() -> None:
    one, other = with_last("What is the capital of France?"), with_last("Capital of France, please")
    assert chat_key(one).scope == chat_key(other).scope
    assert chat_key(one).prompt != chat_key(other).prompt


@pytest.mark.parametrize(
    "change",
    [
        {"model": "m-2"},
        {"temperature": 0.3},
        {"top_p": 0.5},
        {"seed": 1},
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"stop": ["\n"]},
        {"n": 2},
        {"logprobs": True},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"tool_choice": "none"},
        {"response_format": {"type": "json_object"}},
        {"reasoning_effort": "low"},
        {"user": "ann"},
        {"not_invented_yet": 1},
        {"messages": BODY["messages"][1:]},
        {"messages": [{**SYSTEM, "role": "developer"}, *BODY["messages"][1:]]},
        {"messages": [{**SYSTEM, "content": "Be long."}, *BODY["messages"][1:]]},
        {"messages": [SYSTEM, *BODY["messages"][3:]]},
        {"messages": [*BODY["messages"][:3], {**BODY["messages"][3], "name": "ann"}]},
        {"messages": [*BODY["messages"], {"role": "assistant", "content": "Well"}]},
        {"messages": [*BODY["messages"], {"role": "tool", "tool_call_id": "1", "content": "Paris"}]},
    ],
    ids=str,
)
def test_whatever_an_answer_depends_on_is_scope(change: dict[str, Any]) -> None:
    changed = chat_key({**BODY, **change})
    assert changed.prompt == chat_key(BODY).prompt
    assert changed.scope != chat_key(BODY).scope


@pytest.mark.parametrize("change", [{name: {"a": 1}} for name in sorted(IGNORED)], ids=str)
def test_how_an_answer_is_sent_changes_nothing(change: dict[str, Any]) -> None:
    assert chat_key({**BODY, **change}) == chat_key(BODY)


def test_a_caller_may_leave_out_more() -> None:
    body = {**BODY, "service_tier": "flex"}
    assert chat_key(body) != chat_key(BODY)
    assert chat_key(body, ignore=["service_tier"]) == chat_key(BODY)


def test_identities_are_kept_apart() -> None:
    keys = [chat_key(BODY), chat_key(BODY, ("a",)), chat_key(BODY, ("b",)), chat_key(BODY, {"key": "a"})]
    scopes = [json.dumps(key.scope) for key in keys]
    assert len(set(scopes)) == len(scopes)
    assert chat_key({**BODY, "user": "a"}).scope != chat_key(BODY, ("a",)).scope


def test_the_order_of_names_changes_nothing() -> None:
    assert chat_key(dict(reversed(BODY.items()))) == chat_key(BODY)


def test_a_string_is_one_part_of_text() -> None:
    assert chat_key(with_last("Hello")) == chat_key(with_last([text("Hello")]))


def test_what_is_no_text_is_scope() -> None:
    plain, seen = chat_key(with_last("What is it?")), chat_key(with_last([IMAGE, text("What is it?")]))
    other = chat_key(with_last([{**IMAGE, "detail": "low"}, text("What is it?")]))
    after = chat_key(with_last([text("What is it?"), IMAGE]))
    assert plain.prompt == seen.prompt == other.prompt == after.prompt
    assert len({plain.scope, seen.scope, other.scope, after.scope}) == 4
    assert chat_key(with_last([IMAGE])).prompt == ""


def test_an_image_and_a_similar_text_have_the_same_scope() -> None:
    one, other = (
        with_last([text("Look:"), IMAGE, text("a cat?")]),
        with_last([text("See:"), IMAGE, text("is it a cat?")]),
    )
    assert chat_key(one).scope == chat_key(other).scope
    assert chat_key(one).prompt == "Look:\na cat?"


def test_texts_are_not_confused_where_they_meet() -> None:
    splits = [["a\nb\nc"], ["a", "b\nc"], ["a\nb", "c"], ["a", "b", "c"], ["", "a\nb\nc"]]
    keys = [chat_key(with_last([text(part) for part in parts])) for parts in splits]
    assert len(set(keys)) == len(keys)


def test_the_request_is_not_changed() -> None:
    body = with_last([text("a"), IMAGE, text("b")])
    before = copy.deepcopy(body)
    chat_key(body)
    assert body == before


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([], "the request is a list"),
        ({"messages": BODY["messages"]}, "model is None"),
        ({**BODY, "model": 3}, "model is 3"),
        ({**BODY, "user": 3}, "user is 3"),
        ({"model": "m"}, "messages is no list"),
        ({"model": "m", "messages": "hello"}, "messages is no list"),
        ({"model": "m", "messages": []}, "no message is of the user"),
        ({"model": "m", "messages": [SYSTEM]}, "no message is of the user"),
        ({"model": "m", "messages": ["hello"]}, r"messages\[0\] is no message"),
        ({"model": "m", "messages": [{"content": "hello"}]}, r"messages\[0\] is no message"),
        ({"model": "m", "messages": [{"role": "user"}]}, r"messages\[0\].content is None"),
        (with_last(7), r"messages\[1\].content is 7"),
        (with_last(["hello"]), r"messages\[1\].content has a part without a type"),
        (with_last([{"type": "text"}]), r"messages\[1\].content has a text that is None"),
        ({**BODY, "temperature": math.nan}, "not JSON"),
        ({**BODY, "tools": [object()]}, "not JSON"),
        ({**BODY, "tools": {1: 1, "a": 2}}, "not JSON"),
    ],
)
def test_what_is_no_chat_request_is_refused(body: Any, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        chat_key(body)


def test_a_request_nested_without_end_is_refused() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidArgument, match="not JSON"):
        fingerprint(deep)


@st.composite
def pieces(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """Two ways to cut one text into parts, with images between some."""
    whole = draw(st.text(alphabet="a\n", max_size=6))
    cuts = st.lists(st.tuples(st.integers(0, len(whole)), st.booleans()), max_size=3).map(sorted)
    ways = []
    for _ in range(2):
        content, start = [], 0
        for end, image in draw(cuts):
            content += [text(whole[start:end])] + [IMAGE] * image
            start = end
        ways.append([*content, text(whole[start:])])
    return ways


@given(pieces())
def test_keys_are_equal_only_of_equal_parts(ways: list[list[dict[str, Any]]]) -> None:
    one, other = ways
    assert (chat_key(with_last(one)) == chat_key(with_last(other))) == (one == other)
