"""Connections to one server, bounded in size and time."""

from __future__ import annotations

import asyncio
import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from poise.errors import UsageError
from poise.servers.address import on_this_machine
from poise.servers.calls import Fault
from poise.servers.faults import find_fault, hiding, short, status_fault

if TYPE_CHECKING:
    import httpx2

MOST_BYTES = 64 * 2**20  # of one answer; 4,096 tokens with 100 log-probabilities each take half of it
_CONNECT = 10.0  # seconds
_KEPT_HEADERS = frozenset(
    {b"host", b"accept", b"connection", b"user-agent", b"content-type", b"content-length", b"transfer-encoding",
     b"cookie"}
)  # fmt: skip
_REPLACED = frozenset({b"accept-encoding", b"authorization"})


class Reply(NamedTuple):
    """What came back: plain data, headers by lower-case names, seconds from sending to the last byte."""

    data: object
    headers: Mapping[str, str]
    seconds: float


class Line:
    """Connections to one server.

    Args:
        url: of the server. One on this machine is not asked through the proxies of the environment.
        key: what the server asks for; None for none.
        timeout: seconds that an exchange may take in all.
        transport: in place of the network, for tests.
        bare: whether only headers that an exchange needs are sent: the client would otherwise tell any server the
            user's organisation and headers meant for others.

    Raises:
        UsageError: the library of the extra `server` is not there.
    """

    def __init__(self, url: str, key: str | None, timeout: float, transport: Any = None, bare: bool = True) -> None:
        check_library()
        self.timeout = timeout
        self.hide = hiding(key)
        self._key, self._transport, self._bare = key, transport, bare
        self._secure, self._local = url.startswith("https://"), on_this_machine(urlsplit(url).hostname or "")
        self._http: httpx2.AsyncClient | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def http(self) -> httpx2.AsyncClient:
        """The client of the running loop; connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        if self._http is None or self._loop is not loop:
            self._http, self._loop = self._connected(), loop
        return self._http

    async def exchange(
        self, send: Callable[[], Awaitable[httpx2.Response]], sent: tuple[str, ...] = (), timeout: float | None = None
    ) -> Reply:
        """One exchange, read as JSON.

        Args:
            send: sends and returns the whole response.
            sent: names of the parameters sent.
            timeout: seconds in all; None for the line's own.

        Returns:
            The reply.

        Raises:
            Fault: anything but an answer in time that is JSON.
        """
        began = time.perf_counter()
        try:
            async with asyncio.timeout(timeout or self.timeout):
                response = await send()
        except TimeoutError:
            raise Fault("timeout", f"no whole answer within {timeout or self.timeout:g} s") from None
        except Exception as error:
            raise self._fault(error, sent) from None
        return self.read(response, time.perf_counter() - began, sent)

    def _fault(self, error: Exception, sent: tuple[str, ...]) -> Fault:
        response = getattr(error, "response", None)  # the client's errors of status carry it
        if response is None:
            return find_fault(error, self.hide)
        return status_fault(response.status_code, _lower(response.headers), response.content, self.hide, sent)

    def read(self, response: httpx2.Response, seconds: float, sent: tuple[str, ...]) -> Reply:
        """The JSON of a response. Raises Fault."""
        headers = _lower(response.headers)
        if response.status_code >= 300:
            raise status_fault(response.status_code, headers, response.content, self.hide, sent)
        kind = headers.get("content-type", "application/json").lower()
        if "json" not in kind:
            start = short(response.content[:200].decode("utf-8", "replace"), self.hide)
            raise Fault("malformed", short(f"{kind} in place of JSON: {start}", self.hide), response.status_code)
        try:
            data: object = json.loads(response.content)
        except (ValueError, RecursionError) as error:
            why = "it nests too deep" if isinstance(error, RecursionError) else str(error)
            raise Fault("malformed", short(f"no JSON: {why}", self.hide), response.status_code) from None
        if (
            isinstance(data, dict) and data.get("error") and "choices" not in data
        ):  # gateways send 200 ahead of the rest
            told = data["error"].get("code") if isinstance(data["error"], dict) else None
            status = told if isinstance(told, int) and 400 <= told < 600 else 500
            raise status_fault(status, headers, response.content, self.hide, sent)
        return Reply(data, headers, seconds)

    async def get(self, url: str, timeout: float | None = None) -> Reply:
        """Fetch. Raises Fault."""
        return await self.exchange(lambda: self.http.get(url), (), timeout)

    async def post(self, url: str, body: Mapping[str, Any], sent: tuple[str, ...] = ()) -> Reply:
        """Send JSON. Raises Fault."""
        return await self.exchange(lambda: self.http.post(url, json=dict(body)), sent)

    async def close(self) -> None:
        """Hang up; the next exchange calls again."""
        http, self._http = self._http, None
        if http is not None and self._loop is asyncio.get_running_loop():
            await http.aclose()

    def _connected(self) -> httpx2.AsyncClient:
        import httpx2

        try:
            context = httpx2.create_ssl_context() if self._secure else False  # takes 50 ms
        except OSError as error:  # SSL_CERT_FILE, mostly
            raise Fault("tls", short(f"no certificates to check by: {error}", self.hide)) from None
        try:
            # Of the environment a server on this machine gets the certificates, and never the proxies.
            return httpx2.AsyncClient(
                transport=self._transport,
                verify=context,
                trust_env=not self._local,
                timeout=httpx2.Timeout(self.timeout, connect=min(_CONNECT, self.timeout)),
                limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None),
                follow_redirects=False,
                event_hooks={"request": [self._dress], "response": [_bound]},
            )
        except (ValueError, ImportError, httpx2.InvalidURL) as error:
            # The message may hold a proxy's password.
            raise Fault("unreachable", f"a proxy of the environment cannot be used ({type(error).__name__})") from None

    async def _dress(self, request: httpx2.Request) -> None:
        """Headers of a request: those it needs, and the key."""
        import httpx2

        mine = [(b"accept-encoding", b"identity")]  # what is packed may unpack to anything
        if self._key:
            mine.append((b"authorization", b"Bearer " + self._key.encode()))
        names = {name: name.lower() for name, _ in request.headers.raw}
        kept = [(n, v) for n, v in request.headers.raw if names[n] in _KEPT_HEADERS or not self._bare]
        request.headers = httpx2.Headers([*(h for h in kept if names[h[0]] not in _REPLACED), *mine])


class _Bounded:
    """A body that breaks off above `MOST_BYTES`."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        count = 0
        async for chunk in self._stream:
            count += len(chunk)
            if count > MOST_BYTES:
                raise _too_much()
            yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    """Refuse bodies that are too large, or packed although that was not asked: they may unpack to anything."""
    packed = response.headers.get("content-encoding", "identity")
    if packed.lower() not in ("", "identity"):
        raise Fault("malformed", f"an answer packed with {packed[:40]!r}, which was not asked", response.status_code)
    length = response.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and (len(length) > 15 or int(length) > MOST_BYTES):
        raise _too_much()
    response.stream = _bounded_class()(response.stream)


@functools.cache
def _bounded_class() -> Any:
    import httpx2

    return type("Bounded", (_Bounded, httpx2.AsyncByteStream), {})  # the library is there only when it is used


def _too_much() -> Fault:
    return Fault("malformed", f"an answer of more than {MOST_BYTES // 2**20} MiB")


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def check_library() -> None:
    """See that the client is there.

    Raises:
        UsageError: the extra `server` is not installed.
    """
    try:
        import httpx2  # noqa: F401
        import openai  # noqa: F401
    except ModuleNotFoundError:
        raise UsageError(
            "A server is asked with the library of the extra `server`", "no openai", "pip install 'poise[server]'"
        ) from None
