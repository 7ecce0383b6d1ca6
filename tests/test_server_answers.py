"""What servers answer, read: texts, endings, thinking, log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poise.servers.answers import Reader
from poise.servers.calls import Answer, Call, Fault, Likely
from poise.servers.llama_native import native_answer
from poise.servers.ollama_wire import read_answer as read_ollama
from talking_servers import (
    CHAT,
    HELLO,
    TEXT,
    Stand,
    ask,
    continued,
    llama_server,
    models,
    plain,
    run,
    said,
    vllm,
    wire_to,
)


def test_a_chat_is_read() -> None:
    found = ask(plain(**{CHAT: {**said(), "system_fingerprint": "fp_1"}}), Call(HELLO), known=False)
    assert (found.choices[0].text, found.choices[0].finish, found.model, found.system) == ("Hi.", "eos", "m", "fp_1")
    assert (found.prompt_tokens, found.new_tokens) == (11, 3)
    assert found.seconds > 0


@pytest.mark.parametrize(
    ("finish", "more", "expected"),
    [("stop", {}, "eos"), ("stop", {"stop_reason": None}, "eos"), ("stop", {"stop_reason": 151645}, "eos"),
     ("stop", {"stop_reason": "END"}, "stop"), ("stop", {"matched_stop": "END"}, "stop"),
     ("stop", {"matched_stop": 2}, "eos"), ("length", {}, "length"), ("content_filter", {}, "content_filter"),
     ("eos_token", {}, "eos"), ("stop_sequence", {}, "stop"), ("max_tokens", {}, "length"), ("new", {}, "new"),
     ("", {}, "unknown"), (None, {}, "unknown"), (7, {}, "unknown")],
)  # fmt: skip
def test_how_a_text_ended(finish: Any, more: dict[str, Any], expected: str) -> None:
    assert ask(plain(**{CHAT: said(finish=finish, **more)}), Call(HELLO), known=False).choices[0].finish == expected


@pytest.mark.parametrize(
    ("content", "apart", "text", "thinking"),
    [
        ("4", {"reasoning_content": "2+2"}, "4", "2+2"),
        ("4", {"reasoning": "2+2"}, "4", "2+2"),
        ("<think>2+2</think>\n\n4", {"reasoning_content": None}, "4", "2+2"),
        ("2+2\n</think>\n\n4", {}, "4", "2+2"),
        ("<think>2+2 is", {}, "", "2+2 is"),
        (None, {"reasoning_content": "2+2 is"}, "", "2+2 is"),
        ("say <think> aloud", {}, "say <think> aloud", ""),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], {}, "ab", ""),
        (7, {"reasoning": 7}, "", ""),
    ],
)
def test_thinking_is_kept_apart(content: Any, apart: dict[str, Any], text: str, thinking: str) -> None:
    found = ask(plain(**{CHAT: said(content, message=apart)}), Call(HELLO), known=False).choices[0]
    assert (found.text, found.thinking) == (text, thinking)


def test_think_tags_of_a_continued_text_are_part_of_it() -> None:
    found = ask(plain(**{TEXT: continued("<think>a</think>b")}), Call(text="x"), known=False).choices[0]
    assert (found.text, found.thinking) == ("<think>a</think>b", "")


@pytest.mark.parametrize(
    ("answer", "refusal"),
    [(said(None, message={"refusal": "I cannot help."}), "I cannot help."),
     (said("", "content_filter"), ""), (said("half", "content_filter"), ""), (said("no"), "")],
)  # fmt: skip
def test_refusals(answer: Any, refusal: str) -> None:
    assert ask(plain(**{CHAT: answer}), Call(HELLO), known=False).choices[0].refusal == refusal


def test_several_texts_come_in_order() -> None:
    three = {**said(), "choices": [{**said(f"{i}")["choices"][0], "index": i} for i in (2, 0, 1)]}
    assert [c.text for c in ask(plain(**{CHAT: three}), Call(HELLO, n=3), known=False).choices] == ["0", "1", "2"]


def test_log_probabilities_of_a_chat() -> None:
    top = [{"token": "a", "logprob": -2.0, "bytes": [97]}, {"token": "Hi", "logprob": -0.1, "bytes": [72, 105]}]
    content = [
        {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": top},
        {"token": "�", "logprob": -1.0, "bytes": [226, 128], "top_logprobs": []},
    ]
    call = Call(HELLO, logprobs=2)
    found = ask(vllm(**{CHAT: said(logprobs={"content": content}, token_ids=[7, 8])}), call).choices[0]
    assert found.token_ids == (7, 8)
    first, second = found.positions
    assert first.drawn == Likely("Hi", 7, -0.1)
    assert first.likeliest == (Likely("Hi", None, -0.1), Likely("a", None, -2.0))
    assert second.drawn.token == "\udce2\udc80"  # bytes that are no whole character
    assert second.drawn.token.encode("utf-8", "surrogateescape") == b"\xe2\x80"


def test_log_probabilities_of_vllm_s_completions_name_ids() -> None:
    logprobs = {"text_offset": [0], "tokens": ["token_id:9"], "token_logprobs": [-5.0],
                "top_logprobs": [{"token_id:9": -5.0, "token_id:4": -0.5, "token_id:7": -2.0}]}  # fmt: skip
    stand = vllm(**{TEXT: continued(logprobs=logprobs, token_ids=[9], prompt_token_ids=[1])})
    found = ask(stand, Call(ids=(1,), max_tokens=1, logprobs=2)).choices[0]
    assert found.positions[0].drawn.id == 9
    assert [t.id for t in found.positions[0].likeliest] == [4, 7]  # the drawn one came on top of the two asked for
    assert found.token_ids == (9,)
    stand.table[TEXT] = continued(logprobs=logprobs)
    assert ask(stand, Call(ids=(1,), max_tokens=1, logprobs=2)).choices[0].token_ids == (9,)  # they say it too


def test_no_more_likeliest_tokens_than_asked_for() -> None:
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}]}
    found = ask(plain(**{TEXT: continued(logprobs=logprobs)}), Call(text="x", logprobs=0), known=False).choices[0]
    assert (found.positions[0].drawn.logprob, found.positions[0].likeliest) == (-1.0, ())


def test_a_probability_of_zero() -> None:
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0, "b": None}]}
    found = ask(plain(**{TEXT: continued(logprobs=logprobs)}), Call(text="x", logprobs=5), known=False).choices[0]
    assert found.positions[0].likeliest[1] == Likely("b", None, float("-inf"))


# llama-server's own endpoint.

NATIVE = {
    "index": 0, "content": " hello", "tokens": [28120], "stop": True, "model": "m", "tokens_predicted": 1,
    "tokens_evaluated": 3, "stop_type": "limit", "stopping_word": "", "truncated": False,
    "completion_probabilities": [
        {"id": 28120, "token": " hello", "bytes": [32], "logprob": -0.5, "top_logprobs": [
            {"id": 28120, "token": " hello", "bytes": [32], "logprob": -0.5},
            {"id": 2, "token": "", "bytes": [], "logprob": -3.0},
        ]}
    ],
}  # fmt: skip


def test_llama_server_continues_text_by_its_own_endpoint() -> None:
    stand = llama_server(**{"POST /completion": NATIVE})
    call = Call(ids=(1, 2), fields={"repeat_penalty": 1.1}, max_tokens=1, seed=3, stop=("x",), logprobs=2)
    found = ask(stand, call)
    assert stand.body("POST /completion") == {
        "prompt": [1, 2], "n_predict": 1, "seed": 3, "stop": ["x"], "n_probs": 2, "return_tokens": True,
        "repeat_penalty": 1.1,
    }  # fmt: skip
    choice = found.choices[0]
    assert (choice.text, choice.finish, choice.token_ids) == (" hello", "length", (28120,))
    assert choice.positions[0].drawn.id == 28120
    assert [t.id for t in choice.positions[0].likeliest] == [28120, 2]
    assert (found.prompt_tokens, found.new_tokens, found.model) == (3, 1, "m")


@pytest.mark.parametrize(
    ("native", "finish"), [("eos", "eos"), ("word", "stop"), ("limit", "length"), (None, "unknown")]
)
def test_llama_server_says_how_a_text_ended(native: Any, finish: str) -> None:
    stand = llama_server(**{"POST /completion": {**NATIVE, "stop_type": native}})
    assert ask(stand, Call(text="x")).choices[0].finish == finish


def test_llama_server_behind_a_gateway_is_asked_by_the_protocol() -> None:
    stand = Stand({"GET /v1/models": models("m", owned_by="llamacpp"), TEXT: continued(), CHAT: said()})
    ask(stand, Call(text="x"))
    assert stand.paths()[-1] == TEXT
    stand = llama_server(**{TEXT: continued()})
    ask(stand, Call(text="x", n=2))
    assert stand.paths()[-1] == TEXT


# What is no answer.

DEEP = b'{"choices": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
HUGE = b'{"choices": [], "n": ' + b"9" * 10_000 + b"}"


@pytest.mark.parametrize(
    "answer",
    [{}, [], None, 7, "text", {"choices": None}, {"choices": []}, {"choices": {}}, {"choices": [None]},
     {"choices": [[]]}, {"choices": [{}]}, {"choices": [{"message": None}]}, {"choices": [{"message": "Hi"}]}, DEEP,
     HUGE, b"", b"{", b"\xff", b'{"choices": [{"message": {"content": "cut'],
)  # fmt: skip
def test_what_is_no_answer_is_malformed(answer: Any) -> None:
    with pytest.raises(Fault) as caught:
        ask(plain(**{CHAT: answer}), Call(HELLO), known=False)
    assert (caught.value.kind, caught.value.passing) == ("malformed", True)
    assert caught.value.told
    assert len(caught.value.told) <= 300


@pytest.mark.parametrize("finish", ["error", "abort"])
def test_a_text_that_broke_off_is_no_text(finish: str) -> None:
    with pytest.raises(Fault, match="broke a text off") as caught:
        ask(plain(**{CHAT: said("Once upon", finish)}), Call(HELLO), known=False)
    assert caught.value.passing


@pytest.mark.parametrize("text", [None, 7, [], {}])
def test_a_continuation_without_text_is_malformed(text: Any) -> None:
    with pytest.raises(Fault, match="without text"):
        ask(plain(**{TEXT: continued(text)}), Call(text="x"), known=False)


@pytest.mark.parametrize("answer", [{}, [], [NATIVE, NATIVE], {"content": None}, {**NATIVE, "content": 3}, "x", None])
def test_what_is_no_native_answer_is_malformed(answer: Any) -> None:
    with pytest.raises(Fault) as caught:
        ask(llama_server(**{"POST /completion": answer}), Call(text="x"))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize("logprob", [b"NaN", b'"x"', b"true", b"[]", b"0.5", b"Infinity", b"-" + b"9" * 4000])
def test_a_log_probability_that_is_no_number_is_malformed(logprob: bytes) -> None:
    raw = b'{"choices": [{"text": "a", "logprobs": {"tokens": ["a"], "token_logprobs": [' + logprob + b"]}}]}"
    with pytest.raises(Fault, match="no number"):
        ask(plain(**{TEXT: raw}), Call(text="x", logprobs=1), known=False)


@pytest.mark.parametrize(
    "logprobs",
    [None, 7, [], {}, {"content": None}, {"content": []}, {"tokens": ["a"]}, {"tokens": ["a"], "token_logprobs": []},
     {"tokens": "a", "token_logprobs": "b"}, {"content": 7, "tokens": None}],
)  # fmt: skip
def test_log_probabilities_that_are_not_there(logprobs: Any) -> None:
    found = ask(plain(**{TEXT: continued(logprobs=logprobs)}), Call(text="x", logprobs=1), known=False)
    assert found.choices[0].positions == ()


@pytest.mark.parametrize("others", [None, 7, [], [None], {"b": "x"}, {"b": []}, "text", {"token_id:": -1.0}])
def test_likeliest_tokens_that_are_none(others: Any) -> None:
    logprobs = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [others]}
    found = ask(plain(**{TEXT: continued(logprobs=logprobs)}), Call(text="x", logprobs=3), known=False)
    assert all(t.id is None for t in found.choices[0].positions[0].likeliest)


@pytest.mark.parametrize(
    ("name", "value"),
    [("usage", None), ("usage", 7), ("usage", {"prompt_tokens": "many", "completion_tokens": -1}),
     ("usage", {"prompt_tokens": 1.5, "completion_tokens": True}), ("model", 7), ("system_fingerprint", [1])],
)  # fmt: skip
def test_what_surrounds_an_answer_may_be_anything(name: str, value: Any) -> None:
    found = ask(plain(**{CHAT: {**said(), name: value}}), Call(HELLO), known=False)
    assert found.choices[0].text == "Hi."
    if name == "usage":
        assert (found.prompt_tokens, found.new_tokens) == (None, None)


@pytest.mark.parametrize("ids", [None, 7, ["a"], [-1], [1.5], [True], [2**40], {}])
def test_token_ids_that_are_none(ids: Any) -> None:
    assert ask(vllm(**{TEXT: continued(token_ids=ids)}), Call(text="x")).choices[0].token_ids == ()


@pytest.mark.parametrize("index", ["0", None, -1, 1.5])
def test_indices_that_are_none_leave_the_order(index: Any) -> None:
    two = {**said(), "choices": [{**said(t)["choices"][0], "index": index} for t in ("a", "b")]}
    assert [c.text for c in ask(plain(**{CHAT: two}), Call(HELLO, n=2), known=False).choices] == ["a", "b"]


def test_a_key_that_comes_back_is_taken_out() -> None:
    key = "sk-secret-0123456789"
    logprobs = {"content": [{"token": key, "logprob": -1.0, "top_logprobs": []}]}
    answer = {**said(f"Your key is {key}.", message={"reasoning": key}, logprobs=logprobs), "model": key}
    answer["system_fingerprint"] = key
    found = run(lambda w: w.ask(Call(HELLO, logprobs=0)), wire_to(plain(**{CHAT: answer}), "m", key=key))
    assert key not in repr(found)
    assert found.choices[0].text == "Your key is [key]."


# Anything at all.

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
DRAWN = {"token": "a", "logprob": -1.0, "id": 3, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2}]}
LOGPROBS = {"content": [DRAWN]}
LEGACY = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0, "token_id:7": -2.0}]}
WHOLE: list[tuple[Any, Callable[[Any, Reader], Answer], bool]] = [
    (said(logprobs=LOGPROBS, token_ids=[3], message={"reasoning": "hm"}), lambda d, r: r.answer(d), True),
    (continued(logprobs=LEGACY, stop_reason="x"), lambda d, r: r.answer(d), False),
    (NATIVE, native_answer, False),
    (
        {"message": {"content": "a", "thinking": "b"}, "done": True, "done_reason": "stop"},
        read_ollama,
        True,
    ),
]


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in inner:
        yield from places(value, (*path, key))


def replaced(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    copied = dict(data) if isinstance(data, dict) else list(data)
    copied[path[0]] = replaced(data[path[0]], path[1:], value)
    return copied


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_an_answer_with_anything_in_any_place_is_read_or_is_a_fault(data: st.DataObject) -> None:
    whole, read, chat = data.draw(st.sampled_from(WHOLE))
    broken = replaced(whole, data.draw(st.sampled_from(list(places(whole)))), data.draw(JSON))
    try:
        found = read(broken, Reader(str, chat, 0.0, 3))
    except Fault:  # and nothing else
        return
    for choice in found.choices:
        assert isinstance(choice.text + choice.thinking + choice.finish + choice.refusal, str)
        assert all(isinstance(i, int) for i in choice.token_ids)
        assert all(not math.isnan(p.drawn.logprob) for p in choice.positions)
        assert all(len(p.likeliest) <= 3 for p in choice.positions)
