"""How long a fake server takes, how much at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Latency:
    """Times of an exchange.

    Args:
        request: seconds that each takes.
        token: seconds for each new token of its longest text.
        capacity: exchanges at once; others wait in line; 0 for any number.
    """

    request: float = 0.0
    token: float = 0.0
    capacity: int = 0

    def seconds(self, tokens: int) -> float:
        """That an exchange with so many new tokens takes."""
        return self.request + self.token * tokens


class Line:
    """The waiting line of one server.

    Args:
        latency: of the server.
    """

    def __init__(self, latency: Latency) -> None:
        self.latency = latency
        self._places = asyncio.Semaphore(latency.capacity) if latency.capacity else None

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
        """A place in the server; what it gives waits as long as new tokens take."""
        if self._places is None:
            yield self._wait
            return
        async with self._places:
            yield self._wait

    async def _wait(self, tokens: int) -> None:
        seconds = self.latency.seconds(tokens)
        if seconds > 0:
            await asyncio.sleep(seconds)
