"""OpenAIWire: which server it is, what is sent, what comes back."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from poise.errors import ModelError, UsageError
from poise.servers.calls import Call
from poise.servers.ollama_wire import OllamaWire
from poise.servers.openai_wire import OpenAIWire, root_of
from talking_servers import (
    CHAT,
    HELLO,
    PROPS,
    TEXT,
    Stand,
    about,
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

KEY = "sk-secret-0123456789"


# Which server it is.


def test_vllm_is_known() -> None:
    found = about(vllm())
    assert (found.kind, found.version, found.model, found.context_length) == ("vllm", "0.11.0", "m", 512)
    assert (found.takes_ids, found.has_chat, found.has_text) == (True, True, True)
    assert found.defaults == {}
    assert found.identity == "root /models/m"


def test_llama_server_is_known_with_its_defaults() -> None:
    found = about(llama_server())
    assert (found.kind, found.version, found.context_length) == ("llama.cpp", "b6123-abc", 1024)
    assert found.defaults == {
        "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1, "repetition_penalty": 1,
        "presence_penalty": 0, "frequency_penalty": 0,
    }  # fmt: skip
    assert found.identity == "path ../models/m.gguf, n_params 134515008, size 91, n_vocab 49152"


def test_llama_server_is_known_by_its_header() -> None:
    stand = Stand({"GET /v1/models": (200, models("m"), {"server": "llama.cpp"}), "GET /props": PROPS})
    assert about(stand).kind == "llama.cpp"


def test_llama_cpp_python_is_known_and_takes_no_ids() -> None:
    invalid = "[{'type': 'string_type', 'loc': ('body', 'prompt', 'str'), 'msg': 'Input should be a valid string'}]"
    stand = Stand({
        "GET /v1/models": {"data": [{"id": "m", "object": "model", "owned_by": "me", "permissions": []}]},
        "GET /openapi.json": {"openapi": "3.1.0", "info": {"title": "🦙 llama.cpp Python API", "version": "0.3.36"}},
        TEXT: (500, {"error": {"message": invalid, "type": "internal_server_error", "param": None, "code": None}}),
    })  # fmt: skip
    found = about(stand)
    assert (found.kind, found.version, found.takes_ids, found.has_text) == ("llama-cpp-python", "0.3.36", False, True)
    assert found.context_length is None


def test_sglang_is_known_with_its_defaults() -> None:
    info = {"model_path": "/m", "tokenizer_path": "/m", "is_generation": True, "weight_version": "default",
            "preferred_sampling_params": {"temperature": 0.6, "top_p": 0.95}}  # fmt: skip
    stand = Stand({
        "GET /v1/models": models("m", owned_by="sglang", root="/m", max_model_len=4096),
        "GET /get_model_info": info, "GET /get_server_info": {"version": "0.5.3", "context_length": None},
    })  # fmt: skip
    found = about(stand)
    assert (found.kind, found.version, found.context_length, found.takes_ids) == ("sglang", "0.5.3", 4096, True)
    assert found.defaults == {"temperature": 0.6, "top_p": 0.95}
    assert found.identity == "path /m, weights default"


def test_lm_studio_is_known() -> None:
    mine = {"id": "m", "type": "llm", "publisher": "somebody", "arch": "qwen2", "quantization": "4bit",
            "state": "loaded", "max_context_length": 32768, "loaded_context_length": 4096}  # fmt: skip
    stand = Stand({
        "GET /v1/models": models("m", owned_by="organization_owner"), "GET /api/v0/models": {"data": [mine]},
        TEXT: (400, {"error": "'prompt' must be a string"}),
    })  # fmt: skip
    found = about(stand)
    assert (found.kind, found.context_length, found.takes_ids, found.has_text) == ("lm-studio", 4096, False, True)
    assert found.identity == "publisher somebody, arch qwen2, quantization 4bit"


def test_ollama_behind_v1_is_known() -> None:
    stand = Stand({"GET /v1/models": models("m", owned_by="library"), "GET /api/version": {"version": "0.12.6"}})
    found = about(stand)
    assert (found.kind, found.version, found.takes_ids) == ("ollama", "0.12.6", False)


def test_openai_is_known_by_its_host_and_dated() -> None:
    stand = Stand({"GET /v1/models": models("m", owned_by="system"), TEXT: (404, {"error": {"message": "no"}})})
    found = about(stand, url="https://api.openai.com/v1")
    assert (found.kind, found.has_text, found.takes_ids, found.identity) == (
        "openai",
        False,
        False,
        "created 1700000000",
    )


def test_a_server_that_hides_its_owner_is_found_by_its_endpoints() -> None:
    stand = Stand({"GET /v1/models": models("m", owned_by="me-and-you"), "GET /version": {"version": "1"}})
    assert about(stand).kind == "vllm"


@pytest.mark.parametrize(
    ("answer", "takes_ids", "has_text"),
    [(continued(), True, True), ((400, {"error": "no ids"}), False, True), ((422, {"detail": "no"}), False, True),
     ((404, {}), False, False), ((405, {}), False, False), ((500, {}), False, False)],
)  # fmt: skip
def test_an_unknown_server_is_asked_for_one_token(answer: Any, takes_ids: bool, has_text: bool) -> None:
    stand = plain(**{TEXT: answer})
    found = about(stand)
    assert (found.kind, found.takes_ids, found.has_text) == ("unknown", takes_ids, has_text)
    assert stand.body(TEXT) == {"model": "m", "prompt": [1], "max_tokens": 1}


@pytest.mark.parametrize("junk", [[], "x", None, 7, {"info": 3}, {"data": {}}, {"version": 3}, {"model_path": []},
                                  {"default_generation_settings": []}, b"<html>", b"\xff"])  # fmt: skip
def test_nonsense_beside_the_protocol_is_no_news(junk: Any) -> None:
    table = {f"GET {p}": junk for p in ("/props", "/version", "/api/version", "/api/v0/models", "/openapi.json",
                                        "/model_info", "/get_model_info", "/server_info")}  # fmt: skip
    found = about(plain(**table))
    assert (found.kind, found.version, found.identity) == ("unknown", "", "")
    for owner in ("vllm", "llamacpp", "sglang", "me", "library", "organization_owner"):
        junk_too = {} if isinstance(junk, bytes) else {"meta": junk, "root": junk}
        about(Stand({"GET /v1/models": models("m", owned_by=owner, **junk_too), **table}))


# Which model is asked.


def test_the_only_model_is_taken() -> None:
    stand = vllm(**{CHAT: said()})
    ask(stand, Call(HELLO), model="")
    assert stand.body(CHAT)["model"] == "m"


@pytest.mark.parametrize(
    ("names", "wanted", "parts"),
    [
        (("a", "b"), "", ["2 at http://localhost:8000/v1: a, b", "http://localhost:8000/v1#a"]),
        (("qwen3-8b", "b"), "qwen3-8", ["'qwen3-8'", "qwen3-8b, b", "#qwen3-8b"]),
        ((), "", ["none at", "#MODEL"]),
        (tuple(f"m{i}" for i in range(90)), "", ["90 at", "m19 and 70 more"]),
    ],
)
def test_which_model_is_said(names: tuple[str, ...], wanted: str, parts: list[str]) -> None:
    with pytest.raises(ModelError) as caught:
        about(Stand({"GET /v1/models": models(*names)}), wanted)
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "listed", [[{"id": "m"}], {"models": [{"id": "m"}]}, {"data": [{"id": "m"}, {"id": 3}, 7, None]}]
)
def test_lists_of_models_come_in_several_shapes(listed: Any) -> None:
    assert about(Stand({"GET /v1/models": listed})).models == ("m",)


def test_a_server_without_a_list_is_asked_what_was_named() -> None:
    stand = Stand({CHAT: (400, {"error": "no messages"})})
    assert about(stand, "m").model == "m"


# What is sent.


def test_only_what_is_asked_is_sent() -> None:
    stand = plain(**{CHAT: said(), TEXT: continued()})
    ask(stand, Call(HELLO), known=False)
    ask(stand, Call(text="Once"), known=False)
    turns = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello"}]
    assert stand.body(CHAT) == {"model": "m", "messages": turns}
    assert stand.body(TEXT) == {"model": "m", "prompt": "Once"}


FULL = Call(HELLO, None, None, {"top_k": 3, "min_p": 0.1}, 7, 2, 5, ("\n", "END"), 4, False)


def test_a_whole_call_to_vllm() -> None:
    stand = vllm(**{CHAT: said(), TEXT: continued()})
    ask(stand, FULL)
    sent = {k: v for k, v in stand.body(CHAT).items() if k not in ("model", "messages")}
    shared = {
        "top_k": 3,
        "min_p": 0.1,
        "max_tokens": 7,
        "n": 2,
        "seed": 5,
        "stop": ["\n", "END"],
        "return_token_ids": True,
    }
    assert sent == {**shared, "logprobs": True, "top_logprobs": 4, "chat_template_kwargs": {"enable_thinking": False}}
    ask(stand, FULL._replace(messages=(), ids=(1, 2)))
    sent = {k: v for k, v in stand.body(TEXT).items() if k != "model"}
    assert sent == {**shared, "prompt": [1, 2], "logprobs": 4, "return_tokens_as_token_ids": True}


def test_openai_has_names_of_its_own() -> None:
    stand = Stand({"GET /v1/models": models("m"), CHAT: said(), TEXT: (404, {})})

    async def go(wire: OpenAIWire) -> None:
        await wire.about()
        assert set(wire.names) == {"temperature", "top_p", "frequency_penalty", "presence_penalty"}
        await wire.ask(Call(HELLO, max_tokens=9, thinking=True))

    run(go, wire_to(stand, "m", url="https://api.openai.com/v1"))
    sent = stand.body(CHAT)
    assert (sent["max_completion_tokens"], sent["reasoning_effort"]) == (9, "medium")
    assert "max_tokens" not in sent


@pytest.mark.parametrize(
    ("owner", "name", "wire_name"),
    [("vllm", "repetition_penalty", "repetition_penalty"), ("llamacpp", "repetition_penalty", "repeat_penalty"),
     ("me", "repetition_penalty", "repeat_penalty"), ("organization_owner", "repetition_penalty", "repeat_penalty"),
     ("llamacpp", "typical_p", "typical_p"), ("vllm", "typical_p", None), ("sglang", "min_p", "min_p"),
     ("organization_owner", "min_p", None)],
)  # fmt: skip
def test_each_kind_has_its_names(owner: str, name: str, wire_name: str | None) -> None:
    async def go(wire: OpenAIWire) -> None:
        await wire.about()
        assert wire.names.get(name) == wire_name

    run(go, wire_to(Stand({"GET /v1/models": models("m", owned_by=owner), TEXT: (400, {})})))


def test_the_key_is_sent_and_nothing_else_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_API_KEY", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "private-of-the-user")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "x-mine: private-of-the-user\nauthorization: private-of-the-user")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://private-of-the-user/v1")
    stand = vllm(**{CHAT: said()})

    async def go(wire: OpenAIWire) -> None:
        await wire.about()
        await wire.ask(Call(HELLO))

    run(go, wire_to(stand, key=KEY))
    run(go, wire_to(stand, key=None))
    assert "private-of-the-user" not in str(stand.asked)
    half = len(stand.asked) // 2
    assert {a.headers.get("authorization") for a in stand.asked[:half]} == {f"Bearer {KEY}"}
    assert {a.headers.get("authorization") for a in stand.asked[half:]} == {None}


# Tokens.


def tokens(stand: Stand, special: bool) -> tuple[tuple[int, ...] | None, str | None]:
    async def go(wire: OpenAIWire) -> tuple[tuple[int, ...] | None, str | None]:
        await wire.about()
        return await wire.tokenize("a b", special), await wire.detokenize((5, 6))

    return run(go, wire_to(stand))


def test_vllm_tokenizes() -> None:
    stand = vllm(
        **{"POST /tokenize": {"count": 2, "max_model_len": 9, "tokens": [5, 6]}, "POST /detokenize": {"prompt": "a b"}}
    )
    assert tokens(stand, False) == ((5, 6), "a b")
    assert stand.body("POST /tokenize") == {"model": "m", "prompt": "a b", "add_special_tokens": False}
    assert stand.body("POST /detokenize") == {"model": "m", "tokens": [5, 6]}


def test_llama_server_tokenizes() -> None:
    stand = llama_server(**{"POST /tokenize": {"tokens": [1, 5]}, "POST /detokenize": {"content": "a b"}})
    assert tokens(stand, True) == ((1, 5), "a b")
    assert stand.body("POST /tokenize") == {"content": "a b", "add_special": True}


def test_sglang_keeps_special_tokens_in_a_text() -> None:
    info = {"GET /get_model_info": {"model_path": "/m"}, "POST /tokenize": {"tokens": [5, 6], "count": 2}}
    listed = models("m", owned_by="sglang")
    stand = Stand({"GET /v1/models": listed, "POST /detokenize": {"text": "a b"}, **info})
    assert tokens(stand, False) == ((5, 6), "a b")
    assert stand.body("POST /detokenize") == {"model": "m", "tokens": [5, 6], "skip_special_tokens": False}


@pytest.mark.parametrize(("special", "expected"), [(True, (1, 5, 6)), (False, (5, 6))])
def test_llama_cpp_python_always_adds_its_start_token(special: bool, expected: tuple[int, ...]) -> None:
    stand = Stand({
        "GET /v1/models": models("m", owned_by="me"), TEXT: (422, {}),
        "GET /openapi.json": {"info": {"title": "🦙 llama.cpp Python API"}},
        "POST /extras/tokenize": lambda body: {"tokens": [1, 5, 6] if body["input"] else [1]},
        "POST /extras/detokenize": {"text": "a b"},
    })  # fmt: skip
    assert tokens(stand, special) == (expected, "a b")


@pytest.mark.parametrize("stand", [vllm(), plain(**{TEXT: (404, {})}), vllm(**{"POST /tokenize": {"tokens": "x"}})])
def test_a_server_without_such_endpoints_tells_nothing(stand: Stand) -> None:
    ids, text = tokens(stand, False)
    assert not ids
    assert text is None


def test_the_root_of_a_url() -> None:
    assert root_of("http://h:1/v1") == "http://h:1"
    assert root_of("https://h/openai/v1") == "https://h/openai"
    assert root_of("http://h/api") == "http://h/api"


def test_a_wire_works_again_after_it_hung_up_and_in_another_loop() -> None:
    stand = plain(**{CHAT: said()})
    wire = wire_to(stand, "m")
    for _ in range(3):
        assert run(lambda w: w.ask(Call(HELLO)), wire).choices[0].text == "Hi."


@pytest.mark.parametrize("library", ["openai", "httpx2"])
def test_without_the_library_the_extra_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    for make in (lambda: wire_to(plain()), lambda: OllamaWire("m")):
        with pytest.raises(UsageError, match=r"pip install 'poise\[server\]'"):
            make()


def test_the_library_is_loaded_when_a_wire_is_made() -> None:
    code = "import sys, poise.servers.openai_wire, poise.servers.ollama_wire; print('openai' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
