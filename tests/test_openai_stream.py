"""Streams of the OpenAI-compatible front: what is replayed is assembled to the same, however it is cut in pieces."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_upstream import chunks_of, completion
from vsearch.api.openai.answers import answer_of, may_keep, same
from vsearch.api.openai.answers import completion as completed
from vsearch.api.openai.settings import MAX_ANSWER_BYTES
from vsearch.api.openai.stream import Assembler, replay

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
calls = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.text("abc", min_size=1),
            "type": st.just("function"),
            "function": st.fixed_dictionaries({"name": st.text("fgh", min_size=1), "arguments": texts}),
        }
    ),
    min_size=1,
    max_size=3,
)
messages = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": st.none() | texts},
    optional={"tool_calls": calls, "reasoning_content": texts.filter(bool), "annotations": st.just([{"type": "x"}])},
)
answers = st.builds(
    lambda message, usage, more: {
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, **more}],
        "model": "m",
        **usage,
    },
    messages,
    st.sampled_from([{}, {"usage": {"total_tokens": 3}}]),
    st.sampled_from([{}, {"logprobs": {"content": [{"token": "a", "logprob": -1.0}], "refusal": None}}]),
)


def assembled(raw: bytes, cuts: list[int]) -> Any:
    assembler = Assembler()
    places = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    for start, end in itertools.pairwise(places):
        assembler.feed(raw[start:end])
    return assembler.end()


@given(answers, st.lists(st.integers(0, 1 << 20), max_size=30), st.booleans())
def test_a_replayed_answer_is_assembled_to_itself(answer: Any, cuts: list[int], crlf: bool) -> None:
    raw = b"".join(replay(answer, with_usage=True))
    if crlf:
        raw = raw.replace(b"\n", b"\r\n")
    found = assembled(raw, cuts)
    message = answer["choices"][0]["message"]
    choice = {**answer["choices"][0]}
    if not message["content"]:
        choice.pop("logprobs", None)  # there is no token that they are of
    assert found == {**answer, "choices": [choice]}
    assert same(found, answer)


@given(st.lists(st.integers(0, 1 << 20), max_size=30), st.sampled_from(["plain", "tools", "logprobs", "refusal"]))
def test_a_stream_is_assembled_to_the_plain_answer(cuts: list[int], model: str) -> None:
    whole = completion({"model": model, "messages": [{"role": "user", "content": "é 🎈"}]}, 1)
    events = [b"data: " + json.dumps(chunk).encode() for chunk in chunks_of(whole, True)]
    raw = b": a comment\n\n" + b"\n\nevent: message\n".join([*events, b"data: [DONE]"]) + b"\n\n"
    found, plain = assembled(raw, cuts), answer_of(json.dumps(whole).encode())
    assert found is not None
    assert plain is not None
    message = found["choices"][0]["message"]
    for given_back in (found["choices"][0], plain["choices"][0], message):
        for name in ("logprobs", "refusal"):
            if given_back.get(name) is None:
                given_back.pop(name, None)
    assert found == plain


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_no_bytes_break_the_assembler(raw: bytes, cuts: list[int]) -> None:
    assembled(raw, cuts)
    assembled(b"data: " + raw + b"\n\n", cuts)
    assembled(b'data: {"choices": [' + raw + b"]}\n\ndata: [DONE]\n\n", cuts)


@pytest.mark.parametrize(
    "chunk",
    [
        '{"choices": 7}', '{"choices": [7]}', '{"choices": [{"index": 1, "finish_reason": "stop"}]}', "[]", "7", "null",
        '{"choices": [{"index": 0, "delta": 7}]}', '{"choices": [{"delta": {"tool_calls": [{"index": 9}]}}]}',
        '{"choices": [{"delta": {"tool_calls": [7]}}]}', '{"choices": [{"delta": {"tool_calls": [{"index": "a"}]}}]}',
        '{"choices": [{"logprobs": 7}]}',
        '{"error": {"message": "no"}, "choices": []}',
        '{"choices": [{"delta": ' + '{"a":' * 1000 + "1" + "}" * 1000 + "}]}",
    ],
)  # fmt: skip
def test_chunks_of_a_wrong_shape_are_not_assembled(chunk: str) -> None:
    good = '{"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]}'
    raw = f"data: {good}\n\ndata: {chunk}\n\ndata: [DONE]\n\n".encode()
    assert assembled(raw, []) is None
    assert assembled(f"data: {good}\n\n".encode(), []) is not None


def deep(levels: int) -> Any:
    """A list in a list in a list ..."""
    return json.loads("[" * levels + "]" * levels)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True), ({"content": None}, False), ({"content": ""}, False), ({"content": [1]}, False),
        ({"refusal": "no"}, False), ({"tool_calls": [{"id": "a"}]}, False), ({"function_call": {"name": "f"}}, False),
        ({"tool_calls": []}, True), ({"content": "x" * MAX_ANSWER_BYTES}, False),
    ],
)  # fmt: skip
def test_what_may_be_kept(change: dict[str, Any], kept: bool) -> None:
    message = {"role": "assistant", "content": "yes", **change}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    assert may_keep({"choices": [choice]}, tools=False) is kept
    for reason in (None, "length", "content_filter"):
        assert not may_keep({"choices": [{**choice, "finish_reason": reason}]}, tools=True)
    wrongs: list[Any] = [{}, {"choices": []}, {"choices": [choice, choice]}, {"choices": [7]}]
    for wrong in (*wrongs, {"choices": [choice], "error": 1}, {"choices": [{**choice, "deep": deep(500)}]}):
        assert not may_keep(wrong, tools=True)
    assert json.loads(completed({"choices": [choice]}))["choices"] == [choice]
