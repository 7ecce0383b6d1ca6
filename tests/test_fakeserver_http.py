"""The fake server over HTTP: what the Wires make of it, faults, keys, the command line."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx2
import pytest

from poise.fakeserver import STYLES, FakeWire, read_lies
from poise.fakeserver.__main__ import main
from poise.fakeserver.app import Troubles, make_app
from poise.fakeserver.gate import Gate
from poise.fakeserver.latency import Latency
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.fakeserver.troubles import FAULTS, Faults, as_fault
from poise.records import Message
from poise.servers.address import Address
from poise.servers.calls import Answer, Call, Fault, Wire
from poise.servers.ollama_wire import OllamaWire
from poise.servers.openai_wire import OpenAIWire

HELLO = (Message("user", "hello the star"),)
TEXT = Call(text=" the ship", max_tokens=12, seed=3)
CHAT = Call(messages=HELLO, max_tokens=12, seed=3)
T = TypeVar("T")


class Served:
    """A fake server on a port."""

    def __init__(self, app: Gate, url: str, server: FakeServer) -> None:
        self.app, self.url, self.server = app, url, server

    def wire(self, key: str | None = None, timeout: float = 10.0) -> Wire:
        if self.server.style.name == "ollama":
            return OllamaWire(self.server.model, self.url, timeout)
        return OpenAIWire(Address(f"{self.url}/v1", "", key, "KEY"), timeout)

    def use(self, said: Callable[[Wire], Awaitable[T]], **given: Any) -> T:
        async def together() -> T:
            wire = self.wire(**given)
            try:
                await wire.about()
                return await said(wire)
            finally:
                await wire.close()

        return asyncio.run(together())

    def ask(self, call: Call, **given: Any) -> Answer:
        return self.use(lambda wire: wire.ask(call), **given)

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return httpx2.post(self.url + path, content=content, headers=headers, trust_env=False)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return httpx2.get(self.url + path, headers=headers, trust_env=False)


@contextmanager
def serve(style: str = "vllm", *lies: str, troubles: Troubles = Troubles(), **more: Any) -> Iterator[Served]:  # noqa: B008
    server = FakeServer(STYLES[style], read_lies(lies), **more)
    app = make_app(server, troubles)
    with served(app) as url:
        yield Served(app, url, server)


def same(found: Answer, expected: Answer, *, ids: bool = True) -> None:
    for one, other in zip(found.choices, expected.choices, strict=True):
        assert (one.text, one.thinking, one.finish) == (other.text, other.thinking, other.finish)
        assert [p.drawn.logprob for p in one.positions] == [p.drawn.logprob for p in other.positions]
        assert not ids or one.token_ids == other.token_ids
    assert (found.prompt_tokens, found.model) == (expected.prompt_tokens, expected.model)


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"reasoning", "ollama-v1"}))
def test_over_http_come_the_same_answers(style: str) -> None:
    direct = FakeWire(style, seed=2)
    fields = {direct.names["temperature"]: 0.6, direct.names["top_p"]: 0.9}
    with serve(style, seed=2) as fake:
        calls = [CHAT._replace(logprobs=3), CHAT._replace(fields=fields), CHAT._replace(stop=(" the", " in"))]
        if STYLES[style].has_text:
            calls += [TEXT._replace(logprobs=3, fields=fields), TEXT._replace(max_tokens=200, logprobs=1)]
        if STYLES[style].takes_ids:
            calls += [Call(ids=(3, 5), max_tokens=9, seed=1)]
        for call in calls:
            ids = not (style == "llama.cpp" and call.messages)  # its chat returns none
            same(fake.ask(call), asyncio.run(direct.ask(call)), ids=ids)


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"ollama-v1"}))
def test_what_a_server_says_of_itself(style: str) -> None:
    with serve(style, config={"top_p": 0.7}) as fake:
        about = fake.use(lambda wire: wire.about())
    expected = asyncio.run(FakeWire(style, config={"top_p": 0.7}).about())
    if STYLES[style].kind != "openai":  # known by its address alone
        assert (about.kind, about.version) == (expected.kind, expected.version)
    assert about.model == "fake-64"
    assert (about.takes_ids, about.has_chat, about.has_text) == (expected.takes_ids, True, expected.has_text)
    assert about.defaults.get("top_p") == expected.defaults.get("top_p")
    assert about.context_length == (None if style in ("llama-cpp-python", "openai", "reasoning") else 4096)


@pytest.mark.parametrize("style", ["vllm", "llama.cpp", "llama-cpp-python"])
def test_tokens_there_and_back(style: str) -> None:
    with serve(style) as fake:
        ids = fake.use(lambda wire: wire.tokenize(" the ship sailed"))
        assert ids == fake.server.language.spelt(" the ship sailed")
        assert fake.use(lambda wire: wire.detokenize(ids or ())) == " the ship sailed"
        path = "/extras/detokenize" if style == "llama-cpp-python" else "/detokenize"
        assert fake.post(path, {"tokens": [999]}).status_code in (400, 500)


@pytest.mark.parametrize("style", sorted(set(STYLES) - {"reasoning", "ollama-v1", "openai"}))
def test_mistakes_come_back_as_faults(style: str) -> None:
    with serve(style, context=64) as fake:
        for call, kind in (
            (CHAT._replace(messages=(Message("user", "star " * 99),)), "context"),
            (CHAT._replace(fields={"temperature": "hot"}), "rejected"),
        ):
            with pytest.raises(Fault) as caught:
                fake.ask(call)
            assert caught.value.kind == kind


def test_a_hosted_reasoning_model() -> None:
    with serve("reasoning") as fake:
        said = {"model": "fake-64", "messages": [{"role": "user", "content": "hello"}]}
        refused = fake.post("/v1/chat/completions", {**said, "max_tokens": 5})
        assert refused.status_code == 400
        assert "Use 'max_completion_tokens' instead" in refused.json()["error"]["message"]
        refused = fake.post("/v1/chat/completions", {**said, "temperature": 0.7})
        assert refused.json()["error"]["code"] == "unsupported_value"
        answer = fake.post("/v1/chat/completions", {**said, "max_completion_tokens": 300}).json()
        assert answer["usage"]["completion_tokens_details"]["reasoning_tokens"] > 0
        assert fake.post("/v1/completions", {"model": "fake-64", "prompt": "a"}).status_code == 404


def test_models_that_are_not_there() -> None:
    chat = {"messages": [{"role": "user", "content": "hello"}], "model": "other"}
    for style, status in (("vllm", 404), ("openai", 404), ("llama.cpp", 200), ("llama-cpp-python", 200)):
        with serve(style) as fake:
            assert fake.post("/v1/chat/completions", chat).status_code == status
    with serve("ollama") as fake:
        assert fake.post("/api/chat", chat).json() == {"error": "model 'other' not found"}
        assert fake.post("/v1/chat/completions", chat).json()["error"]["type"] == "not_found_error"
        assert fake.post("/api/show", {"model": "other"}).status_code == 404
        assert fake.get("/").text == "Ollama is running"
        assert fake.get("/nowhere").status_code == 404


def test_bodies_that_are_no_requests() -> None:
    chat = {"model": "fake-64", "messages": [{"role": "user", "content": "hello"}]}
    wrong: list[Any] = [b"{", b"[]", {**chat, "messages": []}, {**chat, "messages": [{"role": 1}]}, {**chat, "n": "2"},
                        {**chat, "stop": 5}, {**chat, "top_logprobs": 2}, {**chat, "stream": True},
                        {**chat, "logprobs": True, "top_logprobs": -1}, {**chat, "seed": 1.5}]  # fmt: skip
    with serve() as fake:
        for body in wrong:
            assert fake.post("/v1/chat/completions", body).status_code == 400, body
        for prompt in (None, 5, [1.5], [["a"], 1], {}):
            assert fake.post("/v1/completions", {"model": "fake-64", "prompt": prompt}).status_code == 400
        several = fake.post("/v1/completions", {"model": "fake-64", "prompt": [" the", " a"], "n": 2}).json()
        assert [c["index"] for c in several["choices"]] == [0, 1, 2, 3]
        parts = [{"type": "text", "text": "hello"}]
        spoken = {**chat, "messages": [{"role": "user", "content": parts}]}
        assert fake.post("/v1/chat/completions", spoken).status_code == 200
        assert fake.post("/tokenize", b"{").status_code == 400
    with serve("openai") as fake:
        assert fake.post("/v1/chat/completions", {**chat, "stop": list("abcde")}).status_code == 400
        assert fake.post("/v1/chat/completions", {**chat, "return_token_ids": True}).status_code == 400


def test_the_fields_of_each_software() -> None:
    with serve() as fake:
        body = {"model": "fake-64", "prompt": " the", "max_tokens": 3, "logprobs": 2, "seed": 1}
        plain = fake.post("/v1/completions", body).json()["choices"][0]
        assert set(plain["logprobs"]) == {"tokens", "token_logprobs", "top_logprobs", "text_offset"}
        assert plain["token_ids"] is None
        named = fake.post("/v1/completions", {**body, "return_token_ids": True, "return_tokens_as_token_ids": True})
        choice = named.json()["choices"][0]
        assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in choice["token_ids"]]
        assert fake.get("/health").content == b""
    with serve("llama.cpp") as fake:
        body = {"prompt": " the", "n_predict": 3, "n_probs": 2, "seed": 1, "top_k": 2}
        native = fake.post("/completion", {**body, "return_tokens": True}).json()
        assert (native["stop_type"], len(native["tokens"])) == ("limit", 3)
        assert len(native["completion_probabilities"][0]["top_logprobs"]) == 2
        after = fake.post("/completion", {**body, "n_probs": 9, "post_sampling_probs": True}).json()
        first = after["completion_probabilities"][0]["top_probs"]
        assert (len(first), round(sum(one["prob"] for one in first), 9)) == (2, 1.0)
        chat = {"messages": [{"role": "user", "content": "hello"}], "logprobs": True, "max_tokens": 2}
        content = fake.post("/v1/chat/completions", chat).json()["choices"][0]["logprobs"]["content"]
        assert len(content[0]["top_logprobs"]) == 20
        assert fake.get("/v1/models").headers["server"] == "llama.cpp"
        assert fake.get("/health").json() == {"status": "ok"}
        assert (
            fake.post("/v1/completions", {**body, "logprobs": 0, "n_probs": 0}).json()["choices"][0]["logprobs"] is None
        )


def test_ollama_has_two_faces() -> None:
    with serve("ollama", config={"temperature": 0.2, "top_k": 9}, context=64) as fake:
        said = {"model": "fake-64", "stream": False, "options": {"seed": 3, "num_predict": 8}}
        shown = fake.post("/api/show", {"model": "fake-64"}).json()
        assert shown["parameters"].split() == ["temperature", "0.2", "top_k", "9"]
        raw = fake.post("/api/generate", {**said, "prompt": " the ship", "raw": True}).json()
        assert (raw["done_reason"], raw["eval_count"]) == ("length", 8)
        direct = FakeWire("ollama", config={"temperature": 0.2, "top_k": 9})
        assert raw["response"] == asyncio.run(direct.ask(Call(text=" the ship", seed=3, max_tokens=8))).choices[0].text
        chat = {"model": "fake-64", "messages": [{"role": "user", "content": "hello"}], "seed": 3, "max_tokens": 8}
        compatible = fake.post("/v1/chat/completions", chat).json()["choices"][0]["message"]["content"]
        other = FakeWire("ollama-v1", config={"temperature": 0.2, "top_k": 9})  # which hears top_k alone
        call = Call(messages=(Message("user", "hello"),), seed=3, max_tokens=8)
        assert compatible == asyncio.run(other.ask(call)).choices[0].text
        long = {**said, "prompt": " the" * 99, "raw": True}
        assert fake.post("/api/generate", long).json()["prompt_eval_count"] == 32  # cut in silence
        assert fake.post("/api/generate", {**long, "truncate": False}).status_code == 400
        many = {**said, "prompt": " the", "logprobs": True, "top_logprobs": 21}
        assert fake.post("/api/generate", many).status_code == 400
        assert fake.post("/api/generate", {**said, "prompt": 5}).status_code == 400


@pytest.mark.parametrize("style", ["vllm", "llama.cpp", "llama-cpp-python", "openai"])
def test_a_key_is_asked_for(style: str) -> None:
    with serve(style, troubles=Troubles(key="sk-0123456789abcdef")) as fake:
        assert fake.get("/v1/models").status_code == 401
        assert fake.get("/v1/models", authorization="Bearer wrong").status_code == 401
        assert "0123456789" not in fake.get("/v1/models", authorization="Bearer sk-0123456789").text
        assert fake.get("/v1/models", authorization="Bearer sk-0123456789abcdef").status_code == 200
        with pytest.raises(Fault) as caught:
            fake.use(lambda wire: wire.about(), key="sk-another-one")
        assert caught.value.kind == "denied"
        assert fake.app.tally.denied == 4
    with serve(style, "key=echoed", troubles=Troubles(key="sk-0123456789abcdef")) as fake:
        assert "sk-mine-01" in fake.get("/v1/models", authorization="Bearer sk-mine-01").text
        with pytest.raises(Fault) as caught:
            fake.use(lambda wire: wire.about(), key="sk-another-one")
        assert "another" not in caught.value.told


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_seen_as_what_it_is(name: str) -> None:
    troubles = Troubles(Faults({name: 1.0}, wait=2.0, stall=0.6, slow=0.05))
    with serve(troubles=troubles) as fake:
        if name == "slow":
            assert fake.ask(TEXT).choices[0].text
        else:
            with pytest.raises(Fault) as caught:
                fake.ask(TEXT, timeout=0.3)
            expected = as_fault(name, 2.0)
            assert expected
            assert (caught.value.kind, caught.value.wait) == (expected.kind, expected.wait)
        assert fake.get("/fake/tally").json() == {"requests": 1, "whole": 0, "denied": 0, "faults": {name: 1}}


@pytest.mark.parametrize("name", ["stall", "endless", "reset"])
def test_what_never_ends_breaks_in_the_end(name: str) -> None:
    with serve(troubles=Troubles(Faults({name: 1.0}, stall=0.1))) as fake, pytest.raises(Fault) as caught:
        fake.ask(TEXT, timeout=5.0)
    assert caught.value.kind in ("reset", "malformed")


def test_many_requests_with_faults_are_counted() -> None:
    shares = {name: 0.02 for name in FAULTS if name not in ("stall", "endless", "slow")}
    troubles = Troubles(Faults(shares, seed=1), Latency(request=0.001, capacity=16))

    async def all_at_once(wire: Wire) -> int:
        async def one(number: int) -> int:
            try:
                await wire.ask(TEXT._replace(seed=number))
            except Fault:
                return 0
            return 1

        return sum(await asyncio.gather(*(one(i) for i in range(300))))

    with serve(troubles=troubles) as fake:
        answered = fake.use(all_at_once)
        assert fake.app.tally.requests == 300
        assert fake.app.tally.whole == answered == 300 - sum(fake.app.tally.faults.values())
        assert 220 < answered < 270  # 246 expected


def test_in_process_a_broken_connection_is_an_exception() -> None:
    app = make_app(FakeServer(STYLES["vllm"]), Troubles(Faults({"reset": 1.0})))

    async def asked() -> None:
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://fake") as client:
            await client.post("/v1/completions", json={"prompt": "a"})

    with pytest.raises(ConnectionResetError):
        asyncio.run(asked())


WRONG = [
    (["--port", "abc"], "invalid int value: 'abc'"), (["--nonsense"], "unrecognized arguments"),
    (["--lie", "topk=ignored"], "Did you mean top_k=ignored"), (["--style", "vlm"], "A style is one of vllm"),
    (["--faults", "2"], "between 0 and 1"), (["--config", "top_k"], "NAME=NUMBER"),
    (["--config", "topk=1"], "Did you mean top_k"), (["--config", "top_p=3"], "top_p must lie in"),
    (["--vocabulary", "2"], "a number from 4"), (["--latency", "-1"], "a number from 0"),
    (["--latency", "nan"], "a number from 0"), (["--key-env", "POISE_NO_SUCH"], "export POISE_NO_SUCH"),
    (["--port", "99999"], "--port 0 takes any"), (["--host", "192.0.2.1"], "--port 0 takes any"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "told"), WRONG)
def test_mistakes_on_the_command_line(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in capsys.readouterr().err


def test_the_extra_that_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("starlette.types", "poise.fakeserver.app", "poise.fakeserver.gate"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setitem(sys.modules, "starlette", None)
    assert main(["--port", "0"]) == 2
    assert "pip install 'poise[fakeserver]'" in capsys.readouterr().err


def test_the_lists_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert "model=replaced:N" in capsys.readouterr().out


def test_the_command_line_serves() -> None:
    words = [sys.executable, "-m", "poise.fakeserver", "--port", "0", "--style", "llama.cpp", "--key-env", "FAKE_KEY"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env={**os.environ, "FAKE_KEY": "secret-1"}) as made:
        try:
            assert made.stdout
            line = made.stdout.readline()
            assert line.startswith("llama.cpp, model fake-64, at http://127.0.0.1:")
            url = line.split(" at ")[1].split(";")[0]
            assert httpx2.get(f"{url}/models", trust_env=False).status_code == 401
            found = httpx2.get(f"{url}/models", headers={"authorization": "Bearer secret-1"}, trust_env=False)
            assert found.json()["data"][0]["owned_by"] == "llamacpp"
        finally:
            made.send_signal(signal.SIGINT)
            assert made.wait(10) in (0, 130)
