"""A server for tests of the pool, on a clock that jumps to the next thing to do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

from poise.servers.calls import Answer, Call, Choice, Fault
from poise.servers.pool import Pool

T = TypeVar("T")


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing to do: hours take milliseconds, and always the same."""

    def __init__(self) -> None:
        super().__init__()
        self._jumped, select = 0.0, self._selector.select  # type: ignore[attr-defined]

        def jump(timeout: float | None = None) -> Any:
            found = select(0)
            if not found and timeout:
                self._jumped += timeout
            return found

        self._selector.select = jump  # type: ignore[attr-defined]

    def time(self) -> float:
        return self._jumped


def on_clock(work: Coroutine[Any, Any, T]) -> T:
    with contextlib.closing(JumpingLoop()) as loop:
        return loop.run_until_complete(asyncio.wait_for(work, 1e7))


def answer(call: Call, tokens: int | None = 1) -> Answer:
    return Answer((Choice(call.text or ""),), new_tokens=tokens)


class StandIn:
    """A server with room for some requests; what is more, waits. It takes its time, and may fail.

    Args:
        seconds: that an answer takes.
        room: answers under way at once.
        fails: says what becomes of an exchange, by number: a Fault to raise, None for an answer.
    """

    url, model, names, most_logprobs = "http://stand.in/v1", "stand-in", {"temperature": "temperature"}, 0

    def __init__(
        self, seconds: float = 1.0, room: int = 1000, fails: Callable[[int, Call], Fault | None] = lambda n, call: None
    ) -> None:
        self.seconds, self.fails = seconds, fails
        self.calls: list[Call] = []
        self.times: list[float] = []
        self.now = self.most = 0
        self.tokens = lambda: 1
        self._room = asyncio.Semaphore(room)

    async def ask(self, call: Call) -> Answer:
        number = len(self.calls)
        self.calls.append(call)
        self.times.append(asyncio.get_running_loop().time())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            async with self._room:
                fault = self.fails(number, call)
                tokens = self.tokens()
                await asyncio.sleep(0.01 * self.seconds if fault else self.seconds * (10 + tokens) / 11)
                if fault is not None:
                    raise fault
                return answer(call, tokens)
        finally:
            self.now -= 1


def asked(n: int) -> Iterator[tuple[int, Call]]:
    return ((i, Call(text=str(i))) for i in range(n))


async def everything(pool: Pool, calls: Iterable[tuple[int, Call]]) -> list[tuple[int, Answer | Fault]]:
    return [ended async for ended in pool.answers(calls)]


def texts(found: list[tuple[int, Answer | Fault]]) -> dict[int, str]:
    return {key: came.choices[0].text for key, came in found if isinstance(came, Answer)}
