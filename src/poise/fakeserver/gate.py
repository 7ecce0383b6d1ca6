"""What stands before a fake server: its key, its faults, its tally."""

from __future__ import annotations

import asyncio
import hmac
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from poise.fakeserver.refusals import Refused, wrong_key
from poise.fakeserver.server import FakeServer
from poise.fakeserver.troubles import FAULTS, Faults

DRAWING = frozenset({
    "/v1/completions", "/v1/chat/completions", "/completion", "/completions", "/api/generate", "/api/chat",
})  # fmt: skip
OPEN = frozenset({"/health", "/v1/health", "/fake/tally"})  # asked without a key
HTML = b"<!DOCTYPE html><html><head><title>Welcome</title></head><body><h1>It works</h1></body></html>"
PAUSE = 0.02  # seconds between two spaces of an endless answer


@dataclass(slots=True)
class Tally:
    """What came, and what became of it.

    Args:
        requests: for texts.
        whole: that were answered as they should be, or rejected for what they asked.
        faults: that met a fault, by its name.
        denied: requests of any kind with a missing or a wrong key.
    """

    requests: int = 0
    whole: int = 0
    denied: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def record(self) -> dict[str, Any]:
        """As plain data."""
        return {"requests": self.requests, "whole": self.whole, "denied": self.denied, "faults": dict(self.faults)}


class Gate:
    """The server with its key, its faults and its tally.

    Args:
        app: the server.
        server: what answers.
        faults: what goes wrong.
        key: that requests need; None for none.
        tally: what is counted.
    """

    def __init__(self, app: ASGIApp, server: FakeServer, faults: Faults, key: str | None, tally: Tally) -> None:
        self._app, self._server, self._faults, self._key, self.tally = app, server, faults, key, tally

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One exchange, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if self._key is not None and scope["path"] not in OPEN and not await self._welcome(scope, send):
            self.tally.denied += 1
            return
        if scope["method"] != "POST" or scope["path"] not in DRAWING:
            await self._app(scope, receive, send)
            return
        met = self._faults.of(self.tally.requests)
        self.tally.requests += 1
        if met:
            self.tally.faults[met] += 1
            await self._go_wrong(met, scope, receive, send)
        else:
            await self._app(scope, receive, send)
            self.tally.whole += 1

    async def _welcome(self, scope: Scope, send: Send) -> bool:
        sent = dict(scope["headers"]).get(b"authorization", b"").decode("latin-1")
        given = sent.removeprefix("Bearer ").strip()
        if hmac.compare_digest(given.encode(), (self._key or "").encode()):
            return True
        refused = wrong_key(self._server.style, given, bool(self._server.lies.find("key=echoed")))
        await self._refuse(send, refused)
        return False

    async def _refuse(self, send: Send, refused: Refused, *headers: tuple[bytes, bytes]) -> None:
        body = json.dumps(refused.body(self._server.style)).encode()
        await _answer(send, refused.status, body, *headers)

    async def _go_wrong(self, met: str, scope: Scope, receive: Receive, send: Send) -> None:
        if met in ("429", "500", "503"):
            wait = ((b"retry-after", f"{self._faults.wait:g}".encode()),) if met == "429" else ()
            await self._refuse(send, Refused(int(met), FAULTS[met]), *wait)
        elif met in ("content-type", "empty", "hollow"):
            kind = b"text/html" if met == "content-type" else b"application/json"
            body = {"content-type": HTML, "empty": b"", "hollow": b'{"choices": []}'}[met]
            await _answer(send, 200, body, kind=kind)
        elif met == "slow":
            await asyncio.sleep(self._faults.slow)
            await self._app(scope, receive, send)
        elif met in ("truncated", "malformed"):
            status, body = await self._made(scope, receive)
            half = body[: len(body) // 2]
            await _answer(send, status, half, length=len(body) if met == "truncated" else len(half))
            if met == "truncated":
                await _hang_up(send, at_once=False)
        else:
            await self._keep_waiting(met, receive, send)

    async def _keep_waiting(self, met: str, receive: Receive, send: Send) -> None:
        """No answer, or no end of one, until the client has enough or the connection breaks."""
        gone = asyncio.ensure_future(_gone(receive))
        try:
            if met == "stall":
                await asyncio.wait([gone], timeout=self._faults.stall)
            elif met == "endless":
                await _start(send, 200)
                for _ in range(int(self._faults.stall / PAUSE)):
                    await send({"type": "http.response.body", "body": b" " * 64, "more_body": True})
                    if (await asyncio.wait([gone], timeout=PAUSE))[0]:
                        return
        finally:
            gone.cancel()
        await _hang_up(send, at_once=True)

    async def _made(self, scope: Scope, receive: Receive) -> tuple[int, bytes]:
        """The right answer, kept back."""
        status, body = 200, b""

        async def keep(message: Message) -> None:
            nonlocal status, body
            status = message.get("status", status)
            body += message.get("body", b"")

        await self._app(scope, receive, keep)
        return status, body


async def _answer(
    send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes], kind: bytes = b"application/json",
    length: int | None = None,
) -> None:  # fmt: skip
    size = len(body) if length is None else length
    await _start(send, status, (b"content-length", str(size).encode()), *headers, kind=kind)
    await send({"type": "http.response.body", "body": body, "more_body": size > len(body)})


async def _start(send: Send, status: int, *headers: tuple[bytes, bytes], kind: bytes = b"application/json") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), *headers]})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _hang_up(send: Send, *, at_once: bool) -> None:
    """Break the connection: on a server its transport, in process as an exception."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("the fake server broke the connection")
    if at_once:
        transport.abort()
    else:
        transport.close()  # what was sent still arrives
    await asyncio.sleep(0)  # lets the server see that it is gone
