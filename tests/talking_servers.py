"""Servers for tests: a table of answers in process, in documented shapes, and bytes on a real socket."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from poise.records import Message
from poise.servers.address import Address
from poise.servers.calls import About, Answer, Call
from poise.servers.openai_wire import OpenAIWire

Script = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Asked(NamedTuple):
    """One request that came in."""

    what: str
    headers: dict[str, str]
    body: Any


class Stand:
    """Answers from a table and remembers what it was asked.

    Args:
        table: by ``METHOD /path``: plain data for a 200, `(status, data)`, `(status, data, headers)`, or a function of
            the body that gives one of these. Data may be bytes, which are sent as they are. The rest is 404.
    """

    def __init__(self, table: dict[str, Any]) -> None:
        self.table, self.asked = table, list[Asked]()
        route = Route("/{path:path}", self._answer, methods=["GET", "POST", "PUT", "DELETE"])
        self.transport = httpx2.ASGITransport(Starlette(routes=[route]))

    async def _answer(self, request: Request) -> Response:
        raw = await request.body()
        body = json.loads(raw) if raw else None
        what = f"{request.method} {request.url.path}"
        self.asked.append(Asked(what, dict(request.headers), body))
        found = self.table.get(what, (404, {"detail": "Not Found"}))
        if callable(found):
            found = found(body)
        status, data, *more = found if isinstance(found, tuple) else (200, found)
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        headers = {"content-type": "application/json", **(more[0] if more else {})}
        return Response(content, status, headers)

    def body(self, what: str) -> Any:
        """The body of the last request of a kind."""
        return next(a.body for a in reversed(self.asked) if a.what == what)

    def paths(self) -> list[str]:
        """What was asked, in order."""
        return [a.what for a in self.asked]


@asynccontextmanager
async def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A socket that answers each request as the script writes it; gives its address, ``127.0.0.1:PORT``."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.read(5)
            if head[:1].isalpha():  # no handshake of TLS, which has no such end
                head += await reader.readuntil(b"\r\n\r\n")
            length = next(
                (int(h.split(b":")[1]) for h in head.lower().split(b"\r\n") if h[:15] == b"content-length:"), 0
            )
            await script(head + await reader.readexactly(length), writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", length: int | None = None, kind: str = "application/json") -> bytes:
    """A whole response; `length` may lie."""
    size = len(body) if length is None else length
    return f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {size}\r\n\r\n".encode() + body


def self_signed(folder: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    """A certificate for a host name or address, signed by itself, and a server's context with it."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    alt = f"subjectAltName={'IP' if name[0].isdigit() else 'DNS'}:{name}"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(key), "-out", str(cert), "-subj", "/CN=test", "-addext", alt],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return cert, context


CHAT, TEXT = "POST /v1/chat/completions", "POST /v1/completions"
HELLO = (Message("system", "Be short."), Message("user", "Hello"))
T = TypeVar("T")


def models(*names: str, **more: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": n, "object": "model", "created": 1_700_000_000, **more} for n in names]}


def said(text: str | None = "Hi.", finish: str = "stop", **more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, **more.pop("message", {})}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish, **more}
    usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
    return {"id": "c-1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def continued(text: str = " x", finish: str = "length", **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish, **more}
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


def vllm(**more: Any) -> Stand:
    listed = models("m", owned_by="vllm", root="/models/m", parent=None, max_model_len=512)
    return Stand({"GET /v1/models": listed, "GET /version": {"version": "0.11.0"}, **more})


PROPS = {
    "default_generation_settings": {
        "id": 0, "n_ctx": 1024, "speculative": False,
        "params": {
            "n_predict": -1, "seed": 4294967295, "temperature": 0.800000011920929, "top_k": 40,
            "top_p": 0.949999988079071, "min_p": 0.05000000074505806, "typical_p": 1.0, "repeat_last_n": 64,
            "repeat_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "mirostat": 0, "stop": [],
        },
    },
    "total_slots": 1, "model_path": "../models/m.gguf", "build_info": "b6123-abc",
}  # fmt: skip


def llama_server(**more: Any) -> Stand:
    meta = {"vocab_type": 2, "n_vocab": 49152, "n_ctx_train": 8192, "n_embd": 576, "n_params": 134515008, "size": 91}
    listed = models("m", owned_by="llamacpp", meta=meta)
    return Stand({"GET /v1/models": listed, "GET /props": PROPS, **more})


def plain(**more: Any) -> Stand:
    return Stand({"GET /v1/models": models("m", owned_by="somebody"), **more})


def wire_to(stand: Stand, model: str = "", key: str | None = None, url: str = "http://localhost:8000/v1") -> OpenAIWire:
    """A wire whose network is a stand."""
    return OpenAIWire(Address(url, model, key, "OPENAI_API_KEY"), timeout=5, transport=stand.transport)


def run(use: Callable[[OpenAIWire], Coroutine[Any, Any, T]], wire: OpenAIWire) -> T:
    """Use a wire in a loop of its own, and hang up."""

    async def go() -> T:
        try:
            return await use(wire)
        finally:
            await wire.close()

    return asyncio.run(go())


def about(stand: Stand, model: str = "", **more: Any) -> About:
    """What a stand says of itself."""
    return run(lambda wire: wire.about(), wire_to(stand, model, **more))


def ask(stand: Stand, call: Call, model: str = "m", known: bool = True) -> Answer:
    """Ask once, after `about` where the kind matters."""

    async def go(wire: OpenAIWire) -> Answer:
        if known:
            await wire.about()
        return await wire.ask(call)

    return run(go, wire_to(stand, model))
