"""An event loop in a thread, for callers that have none."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import aclosing, suppress
from typing import Any, NamedTuple, TypeVar

T = TypeVar("T")
_AHEAD = 256  # what may wait for the caller
_PATIENCE = 5.0  # seconds that something cancelled may take to clear up


class _Came(NamedTuple):
    """Something for the caller; an error ends it, None says that there is no more."""

    item: Any = None
    error: BaseException | None = None
    more: bool = True


class LoopThread:
    """Runs coroutines in one event loop, in a thread that ends with the process.

    Args:
        last: what the loop does last, when it is told to stop: hang up; None for nothing.
    """

    def __init__(self, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> None:
        self._loop, self._last = asyncio.new_event_loop(), last
        self._thread = threading.Thread(target=self._serve, name="poise-server", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        self._loop.run_forever()
        if self._last is not None:
            with suppress(Exception):  # nobody is left to hear of it
                self._loop.run_until_complete(self._last())
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end.

        Args:
            work: anything; an interrupt cancels it.

        Returns:
            What it returns; raises what it raises.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        finally:
            future.cancel()

    def iterate(self, make: Callable[[], AsyncGenerator[T, None]]) -> Generator[T, None, None]:
        """Iterate over an asynchronous generator; it works ahead a little.

        Args:
            make: makes it, in the loop.

        Yields:
            What it yields. Closing this generator closes that one; an interrupt does too.
        """
        inbox: queue.SimpleQueue[_Came] = queue.SimpleQueue()
        room = asyncio.Semaphore(_AHEAD)

        async def pump() -> None:
            try:
                async with aclosing(make()) as stream:
                    async for item in stream:
                        await room.acquire()
                        inbox.put(_Came(item))
            except Exception as error:  # raised where the caller waits
                inbox.put(_Came(error=error))

        async def start() -> asyncio.Task[None]:
            task = asyncio.ensure_future(pump())
            task.add_done_callback(lambda _: inbox.put(_Came(more=False)))
            return task

        task = self.run(start())
        came = _Came()
        try:
            while (came := inbox.get()).more:
                if came.error is not None:
                    raise came.error
                yield came.item
                self._loop.call_soon_threadsafe(room.release)
        finally:
            self._loop.call_soon_threadsafe(task.cancel)
            with suppress(queue.Empty):  # what does not clear up in time ends with the process
                while came.more:
                    came = inbox.get(timeout=_PATIENCE)

    def stop(self) -> None:
        """Have the loop end, without waiting for it; nothing may be running in it."""
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._loop.stop)

    def close(self) -> None:
        """End the loop, and wait until it has hung up."""
        self.stop()
        self._thread.join(_PATIENCE)
