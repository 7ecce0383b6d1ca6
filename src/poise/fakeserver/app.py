"""The fake server as an ASGI application."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from poise.fakeserver.gate import Gate, Tally
from poise.fakeserver.latency import Latency, Line
from poise.fakeserver.reading import Asked, read_chat, read_ollama, read_text
from poise.fakeserver.refusals import Refused, no_model
from poise.fakeserver.server import FakeServer, Told
from poise.fakeserver.styles import STYLES, Style
from poise.fakeserver.surroundings import Surroundings
from poise.fakeserver.troubles import Faults
from poise.fakeserver.writing import chat_answer, native_answer, ollama_answer, text_answer

Answer = Callable[[Request], Awaitable[Response]]


class Troubles(NamedTuple):
    """What a served fake has beside its answers.

    Args:
        faults: what goes wrong.
        latency: how long it takes.
        key: that requests need; None for none.
    """

    faults: Faults = Faults()
    latency: Latency = Latency()
    key: str | None = None


NO_TROUBLES = Troubles()


def make_app(server: FakeServer, troubles: Troubles = NO_TROUBLES) -> Gate:
    """The application that speaks a server's protocols.

    Args:
        server: what answers.
        troubles: what goes wrong, how long it takes, which key it needs.

    Returns:
        An ASGI application; its `tally` counts what came.
    """
    tally = Tally()
    desk = Desk(server, Line(troubles.latency))
    routes = [*_routes(desk), Route("/fake/tally", _told_as_json(tally.record))]
    app = Starlette(routes=routes, exception_handlers={404: _nowhere})
    return Gate(app, server, troubles.faults, troubles.key, tally)


class Desk:
    """Where requests become calls and texts become answers.

    Args:
        server: what answers.
        line: that requests wait in.
    """

    def __init__(self, server: FakeServer, line: Line) -> None:
        self.server, self._line, self._numbers = server, line, itertools.count(1)
        # Ollama's /v1 has defaults and names of its own.
        own = server.style.name == "ollama"
        self.compatible = server.beside(STYLES["ollama-v1"]) if own else server

    async def chat(self, request: Request) -> Response:
        """``POST /v1/chat/completions``."""
        return await self._exchange(request, self.compatible, self._chat)

    async def text(self, request: Request) -> Response:
        """``POST /v1/completions``."""
        return await self._exchange(request, self.compatible, self._text)

    async def native(self, request: Request) -> Response:
        """``POST /completion`` of llama-server."""
        return await self._exchange(request, self.server, self._native)

    async def ollama_chat(self, request: Request) -> Response:
        """``POST /api/chat`` of Ollama."""
        return await self._exchange(request, self.server, self._ollama, native=True)

    async def ollama_generate(self, request: Request) -> Response:
        """``POST /api/generate`` of Ollama."""
        return await self._exchange(request, self.server, self._ollama, native=True)

    async def _exchange(
        self, request: Request, server: FakeServer, make: Callable[[Any, str], Awaitable[Any]], native: bool = False
    ) -> Response:
        try:
            try:
                data = await request.json()
            except ValueError as error:
                raise Refused(400, f"Invalid JSON: {error}", "", "invalid_json") from None
            self._check_model(server, data)
            return JSONResponse(await make(data, request.url.path))
        except Refused as refused:
            return JSONResponse(refused.body(server.style, native), refused.status)

    def _check_model(self, server: FakeServer, data: object) -> None:
        """llama.cpp and llama-cpp-python serve what they have, whatever is named."""
        named = data.get("model") if isinstance(data, dict) else None
        known = {server.model, f"{server.model}:latest"} if server.style.kind == "ollama" else {server.model}
        if server.style.kind.startswith("llama") or (named is None and server.style.kind == "vllm"):
            return
        if named not in known:
            raise no_model(server.style, str(named or ""))

    async def _draw(self, server: FakeServer, asked: Asked, cuts: bool = False) -> Told:
        async with self._line.place() as wait:
            told = server.answer(asked.call, cuts)
            await wait(max(len(drawn.ids) for drawn in told.drawn))
            return told

    async def _chat(self, data: Any, path: str) -> Any:
        server = self.compatible
        asked = read_chat(data, server.style)
        return chat_answer(server.style, asked, await self._draw(server, asked), next(self._numbers))

    async def _text(self, data: Any, path: str) -> Any:
        server = self.compatible
        asked = read_text(data, server.style)
        told = [await self._draw(server, one) for one in asked]
        return text_answer(server.style, asked, told, next(self._numbers))

    async def _native(self, data: Any, path: str) -> Any:
        asked = read_text(data, self.server.style)
        told = [await self._draw(self.server, one) for one in asked]
        made = [native_answer(self.server.style, a, t) for a, t in zip(asked, told, strict=True)]
        return made[0] if len(made) == 1 else made

    async def _ollama(self, data: Any, path: str) -> Any:
        chat = path == "/api/chat"
        asked = read_ollama(data, self.server.style, chat)
        told = await self._draw(self.server, asked, data.get("truncate") is not False)
        return ollama_answer(self.server.style, told, chat)


def _routes(desk: Desk) -> list[Route]:
    server, style = desk.server, desk.server.style
    around = Surroundings(server)
    routes = [
        _post("/v1/chat/completions", desk.chat),
        _post("/v1/completions", desk.text),
        Route("/v1/models", _told_as_json(around.models, _server_of(style))),
    ]
    if style.kind == "llama.cpp":
        routes += [_post("/completion", desk.native), _post("/completions", desk.native)]
    if style.name == "ollama":
        routes += [_post("/api/chat", desk.ollama_chat), _post("/api/generate", desk.ollama_generate)]
    routes += [Route(path, _told_as_json(tell, _server_of(style))) for path, tell in around.told().items()]
    routes += [_post(path, _asked_beside(answer, style)) for path, answer in around.asked().items()]
    if style.name == "ollama":
        routes.append(Route("/", lambda request: PlainTextResponse("Ollama is running")))
    return routes


def _post(path: str, answer: Answer) -> Route:
    return Route(path, answer, methods=["POST"])


def _server_of(style: Style) -> dict[str, str]:
    return {"server": "llama.cpp"} if style.kind == "llama.cpp" else {}


def _told_as_json(tell: Callable[[], Any], headers: dict[str, str] | None = None) -> Answer:
    async def answer(request: Request) -> Response:
        told = tell()
        return Response(headers=headers) if told is None else JSONResponse(told, headers=headers)

    return answer


def _asked_beside(made: Callable[[Any], Any], style: Style) -> Answer:
    async def answer(request: Request) -> Response:
        try:
            return JSONResponse(made(json.loads(await request.body())))
        except ValueError as error:
            refused = Refused(400, f"Invalid JSON: {error}", "", "invalid_json")
        except Refused as error:
            refused = error
        return JSONResponse(refused.body(style, style.kind == "ollama"), refused.status)

    return answer


async def _nowhere(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": "Not Found"}, 404)
