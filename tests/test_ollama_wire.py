"""OllamaWire: what is sent to Ollama's own protocol, and what comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from poise.errors import ModelError, UsageError
from poise.servers.calls import About, Answer, Call, Fault, Likely
from poise.servers.ollama_wire import OllamaWire, find_host, parameters_of
from talking_servers import HELLO, Stand

DIGEST = "9f438cb9cd581fc025612d27f7c1a6669ff83a8bb0ed86c94fcf4c5440555697"
TAGS = {
    "models": [
        {"name": "qwen3:latest", "model": "qwen3:latest", "digest": DIGEST, "size": 1, "details": {"format": "gguf"}},
        {"name": "llama3:8b", "model": "llama3:8b", "digest": "fe938a131f40", "size": 1},
    ]
}
SHOW = {
    "modelfile": "FROM …",
    "parameters": 'temperature                    0.6\ntop_k                20\nstop            "<|im_end|>"\n'
    "repeat_penalty                 1.05\nnum_ctx   8192",
    "details": {"family": "qwen3"},
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960},
    "capabilities": ["completion", "thinking"],
}
CHAT = {
    "model": "qwen3", "created_at": "2024-09-12T21:17:29.110811Z",
    "message": {"role": "assistant", "content": "4", "thinking": "2+2"}, "done_reason": "stop", "done": True,
    "total_duration": 5, "prompt_eval_count": 26, "eval_count": 7,
}  # fmt: skip
TEXT = {
    "model": "qwen3",
    "response": " there",
    "done": True,
    "done_reason": "length",
    "prompt_eval_count": 3,
    "eval_count": 1,
}


def ollama(**more: Any) -> Stand:
    return Stand({
        "GET /api/version": {"version": "0.12.6"}, "GET /api/tags": TAGS, "POST /api/show": SHOW,
        "POST /api/chat": CHAT, "POST /api/generate": TEXT, **more,
    })  # fmt: skip


def use(stand: Stand, what: Callable[[OllamaWire], Coroutine[Any, Any, Any]], name: str = "qwen3") -> Any:
    async def go() -> Any:
        wire = OllamaWire(name, "", 5, stand.transport)
        try:
            return await what(wire)
        finally:
            await wire.close()

    return asyncio.run(go())


def ask(stand: Stand, call: Call) -> Answer:
    found = use(stand, lambda wire: wire.ask(call))
    assert isinstance(found, Answer)
    return found


def about(stand: Stand, name: str = "qwen3") -> About:
    found = use(stand, lambda wire: wire.about(), name)
    assert isinstance(found, About)
    return found


def test_it_says_what_it_is() -> None:
    found = about(ollama())
    assert (found.kind, found.version, found.model) == ("ollama", "0.12.6", "qwen3")
    assert found.models == ("qwen3:latest", "llama3:8b")
    assert found.identity == f"digest {DIGEST}"
    assert found.defaults == {"temperature": 0.6, "top_k": 20, "repetition_penalty": 1.05}
    assert (found.context_length, found.takes_ids, found.has_chat, found.has_text) == (8192, False, True, True)


def test_the_context_is_that_of_the_loaded_model() -> None:
    bare = {**SHOW, "parameters": ""}
    assert about(ollama(**{"POST /api/show": bare})).context_length is None
    running = {"models": [{"name": "other", "context_length": 1}, {"name": "qwen3:latest", "context_length": 4096}]}
    assert about(ollama(**{"POST /api/show": bare, "GET /api/ps": running})).context_length == 4096


def test_a_model_that_is_not_there() -> None:
    stand = ollama(**{"POST /api/show": (404, {"error": "model 'gemma' not found"})})
    with pytest.raises(ModelError) as caught:
        about(stand, "gemma")
    for part in ("qwen3:latest, llama3:8b", "'gemma'", "ollama pull gemma"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "junk", [[], 7, None, {"models": 7}, {"models": [7, {}, {"name": 3}]}, {"version": 3}, {"parameters": []}]
)
def test_nonsense_is_no_news(junk: Any) -> None:
    stand = ollama(**{"GET /api/version": junk, "GET /api/tags": junk, "POST /api/show": junk, "GET /api/ps": junk})
    found = about(stand)
    assert (found.kind, found.identity, found.defaults, found.context_length) == ("ollama", "", {}, None)


# What is sent.


def test_only_what_is_asked_is_sent() -> None:
    stand = ollama()
    ask(stand, Call(HELLO))
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    whole = {"model": "qwen3", "stream": False, "truncate": False, "shift": False, "options": {}}
    assert stand.body("POST /api/chat") == {**whole, "messages": turns}
    ask(stand, Call(text="Hi"))
    assert stand.body("POST /api/generate") == {**whole, "prompt": "Hi", "raw": True}


def test_a_whole_call() -> None:
    stand = ollama()
    call = Call(
        HELLO, fields={"repeat_penalty": 1.1, "top_k": 5}, max_tokens=9, seed=0, stop=("x",), logprobs=3, thinking=False
    )
    ask(stand, call)
    sent = stand.body("POST /api/chat")
    assert sent["options"] == {"num_predict": 9, "seed": 0, "stop": ["x"], "repeat_penalty": 1.1, "top_k": 5}
    assert (sent["think"], sent["logprobs"], sent["top_logprobs"]) == (False, True, 3)
    assert "keep_alive" not in sent


def test_names() -> None:
    wire = OllamaWire("qwen3", "", transport=ollama().transport)
    assert wire.names["repetition_penalty"] == "repeat_penalty"
    assert (wire.url, wire.model, wire.most_logprobs) == ("http://127.0.0.1:11434", "qwen3", 20)


@pytest.mark.parametrize(("call", "field"), [(Call(ids=(1, 2)), "prompt"), (Call(HELLO, n=2), "n")])
def test_what_ollama_cannot_do_is_rejected_without_asking(call: Call, field: str) -> None:
    stand = ollama()
    with pytest.raises(Fault) as caught:
        ask(stand, call)
    assert (caught.value.kind, caught.value.field) == ("rejected", field)
    assert stand.asked == []


def test_it_tells_no_tokens() -> None:
    assert use(ollama(), lambda wire: wire.tokenize("a")) is None
    assert use(ollama(), lambda wire: wire.detokenize((1,))) is None


# What comes back.


def test_a_chat_is_read() -> None:
    found = ask(ollama(), Call(HELLO))
    choice = found.choices[0]
    assert (choice.text, choice.thinking, choice.finish, found.model) == ("4", "2+2", "eos", "qwen3")
    assert (found.prompt_tokens, found.new_tokens) == (26, 7)


def test_a_text_is_read() -> None:
    choice = ask(ollama(), Call(text="Hi")).choices[0]
    assert (choice.text, choice.thinking, choice.finish) == (" there", "", "length")


def test_think_tags_of_a_chat_are_kept_apart() -> None:
    stand = ollama(
        **{"POST /api/chat": {**CHAT, "message": {"role": "assistant", "content": "<think>hm</think>\n\n4"}}}
    )
    choice = ask(stand, Call(HELLO)).choices[0]
    assert (choice.text, choice.thinking) == ("4", "hm")


def test_an_empty_prompt_only_loads_the_model() -> None:
    stand = ollama(**{"POST /api/generate": {"model": "qwen3", "response": "", "done": True, "done_reason": "load"}})
    assert ask(stand, Call(text="")).choices[0].finish == "load"


def test_log_probabilities() -> None:
    top = [{"token": " there", "logprob": -0.1, "bytes": [32]}, {"token": " you", "logprob": -2.5}]
    logprobs = [{"token": " there", "logprob": -0.1, "bytes": [32], "top_logprobs": top}]
    stand = ollama(**{"POST /api/generate": {**TEXT, "logprobs": logprobs}})
    positions = ask(stand, Call(text="Hi", logprobs=2)).choices[0].positions
    assert positions[0].drawn == Likely(" there", None, -0.1)
    assert positions[0].likeliest == (Likely(" there", None, -0.1), Likely(" you", None, -2.5))


@pytest.mark.parametrize(
    "answer",
    [{}, [], None, {"done": True}, {"message": {"content": "x"}}, {"message": {"content": "x"}, "done": False},
     {"message": None, "done": True}, {"message": {"content": 7}, "done": True}, b'{"message": {"content": "cu', b"",
     b'{"message":{"content":"a"},"done":false}\n{"message":{"content":"b"},"done":true}\n'],
)  # fmt: skip
def test_what_is_no_answer_is_malformed(answer: Any) -> None:
    with pytest.raises(Fault) as caught:
        ask(ollama(**{"POST /api/chat": answer}), Call(HELLO))
    assert caught.value.kind == "malformed"


@pytest.mark.parametrize(
    ("status", "error", "kind", "field"),
    [
        (404, "model 'qwen3' not found", "absent", ""),
        (404, 'model "qwen3" not found, try pulling it first', "absent", ""),
        (400, '"qwen3" does not support thinking', "rejected", ""),
        (400, "top_logprobs must be between 0 and 20", "rejected", "top_logprobs"),
        (400, 'option "top_k" must be of type integer', "rejected", "top_k"),
        (400, "the input length exceeds the context length", "context", ""),
        (500, "llama runner process has terminated: exit status 2", "broken", ""),
        (503, "server busy, please try again. maximum pending requests exceeded", "broken", ""),
        (401, "unauthorized", "denied", ""),
        (200, "an error was encountered while running the model", "broken", ""),
    ],
)
def test_errors(status: int, error: str, kind: str, field: str) -> None:
    with pytest.raises(Fault) as caught:
        ask(ollama(**{"POST /api/chat": (status, {"error": error})}), Call(HELLO, fields={"top_k": 1}, logprobs=30))
    assert (caught.value.kind, caught.value.field) == (kind, field)
    assert error in caught.value.told


# Where it is.


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("", "http://127.0.0.1:11434"), ("127.0.0.1", "http://127.0.0.1:11434"),
        ("example.com", "http://example.com:11434"), ("example.com:56789", "http://example.com:56789"),
        ("http://example.com", "http://example.com:80"),
        ("https://example.com", "https://example.com:443"),
        ("https://example.com/ollama/", "https://example.com:443/ollama"),
        ("0.0.0.0", "http://127.0.0.1:11434"), ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:80", "http://127.0.0.1:80"), ("[::1]", "http://[::1]:11434"), (" 'example.com' ", "http://example.com:11434"),
        (":8080", None), ("ftp://x", None), ("example.com:port", None), ("http://", "http://127.0.0.1:80"),
        ("a?b=c", None), ("[::1", None), ("x:99999", None),
    ],
)  # fmt: skip
def test_a_host_is_read_as_ollama_s_client_reads_it(written: str, url: str | None) -> None:
    if url is None:
        with pytest.raises(UsageError, match="OLLAMA_HOST"):
            find_host(written)
    else:
        assert find_host(written) == url


def test_a_user_in_the_host_is_not_repeated() -> None:
    with pytest.raises(UsageError) as caught:
        find_host("http://me:sk-secret-0123@example.com")
    assert "secret" not in str(caught.value)


def test_the_environment_names_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", "example.com:1")
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-secret-0123456789")
    assert OllamaWire("m").url == "http://example.com:1"
    assert "secret" not in str(vars(OllamaWire("m", "https://example.com")))


def test_a_key_goes_over_https_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_API_KEY", "sk-secret-0123456789")
    for host, sent in (("https://example.com", "Bearer sk-secret-0123456789"), ("http://example.com", None)):
        stand = ollama()

        async def go(host: str = host, stand: Stand = stand) -> None:
            wire = OllamaWire("qwen3", host, 5, stand.transport)
            await wire.ask(Call(HELLO))
            await wire.close()

        asyncio.run(go())
        assert stand.asked[0].headers.get("authorization") == sent


@pytest.mark.parametrize("name", ["", "  "])
def test_a_model_has_a_name(name: str) -> None:
    with pytest.raises(ModelError, match="ollama:NAME"):
        OllamaWire(name)


@pytest.mark.parametrize("found", [None, 7, "", "temperature", "temperature hot", 'stop "a\n\n"', "x 'unclosed"])
def test_parameters_that_are_none(found: Any) -> None:
    assert parameters_of(found) == {}
