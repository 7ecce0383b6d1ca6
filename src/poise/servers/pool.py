"""Many requests to one server: paced, tried again, given up politely."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

from poise.errors import UsageError
from poise.servers.calls import Answer, Call, Fault, Wire
from poise.servers.pace import Lap, Pace
from poise.servers.patience import Patience, Watch

Key = TypeVar("Key")
Check = Callable[[Call, Answer], None]  # raises Fault for an answer that is none
_STRAINS = ("busy", "timeout")
_DOUBTFUL = 0.5  # seconds between requests to a server that may be down


class _Job(NamedTuple, Generic[Key]):
    """A call, and how often it failed: attempts that count, and refusals for want of room."""

    key: Key
    call: Call
    failed: int = 0
    refused: int = 0


class _Outcome(NamedTuple, Generic[Key]):
    """What came of one exchange, sent in a lap of `Pace` and perhaps at its level."""

    job: _Job[Key]
    lap: Lap
    reached: bool
    seconds: float
    came: Answer | Exception
    task: asyncio.Task[None]


class Pool:
    """Asks one server many things at once, in one event loop.

    A call that fails in passing is sent again later; meanwhile others take its place. A server that asks to wait is
    left alone by everybody. When nothing has succeeded for a while, nothing more is sent.

    Args:
        wire: to the server.
        concurrency: requests under way at once; None to find it, see `Pace`.
        rate: requests sent per second at most, tries counted; None for no limit.
        patience: how often and how long it tries.
        seed: of the jitter between tries.
        check: looks at every answer; raises Fault for one that is to count as malformed.

    Raises:
        UsageError: no such concurrency or rate.
    """

    def __init__(
        self, wire: Wire, concurrency: int | None = None, rate: float | None = None, *,
        patience: Patience | None = None, seed: int = 0, check: Check | None = None,
    ) -> None:  # fmt: skip
        check_limits(concurrency, rate)
        self.wire, self.patience = wire, patience or Patience()
        self.pace = Pace(concurrency)
        self.sent = self.again = 0  # exchanges in all; of these, second and later tries
        self._rate, self._check = rate, check
        self._chance = random.Random(seed)  # noqa: S311  jitter is no secret
        self._sleeps_until = self._next_slot = 0.0
        self._ends_at: float | None = None
        self._nudge: Callable[[], None] = lambda: None

    async def answers(self, calls: Iterable[tuple[Key, Call]]) -> AsyncGenerator[tuple[Key, Answer | Fault], None]:
        """Ask everything.

        Args:
            calls: each with a key of the caller's; taken one by one as there is room. One iteration at a time.

        Yields:
            Every key once, as its call ends: with the answer, or with the fault that no further try can cure.

        Raises:
            Fault: the server is down, or too busy for too long; what ended before was yielded.
        """
        self._ends_at = None
        batch = _Batch(self, iter(calls))
        self._nudge = batch.nudge
        try:
            while (ended := await batch.next()) is not None:
                yield ended
            if batch.given_up is not None:
                raise batch.given_up
        finally:
            await batch.cancel()

    def stop(self) -> None:
        """Send nothing more; what is under way has `patience.grace` seconds. `answers` then ends."""
        self._ends_at = asyncio.get_running_loop().time() + self.patience.grace
        self._nudge()

    @property
    def ends_at(self) -> float | None:
        """When `answers` ends at the latest, on the loop's clock; None while it goes on."""
        return self._ends_at

    def free_at(self, now: float) -> float:
        """When the next request may be sent, on the loop's clock."""
        return max(now, self._sleeps_until, self._next_slot)

    def paced(self, now: float) -> bool:
        """Whether only the rate keeps the next request from being sent."""
        return self._sleeps_until <= now < self._next_slot

    def sleep_until(self, when: float) -> None:
        """Leave the server alone until then."""
        self._sleeps_until = max(self._sleeps_until, when)

    def delay(self, job: _Job[Any], fault: Fault) -> float:
        """Seconds until a call is sent again."""
        return self.patience.delay(job.failed + job.refused, fault, self._chance)

    async def exchange(self, call: Call) -> Answer:
        """One exchange, checked."""
        answer = await self.wire.ask(call)
        if self._check is not None:
            self._check(call, answer)
        return answer

    def note_sent(self, now: float, *, again: bool, gap: float) -> None:
        """Count a request, take its slot, and leave at least so many seconds until the next."""
        self.sent, self.again = self.sent + 1, self.again + again
        gap = gap if self._rate is None else max(gap, 1 / self._rate)
        if gap:
            self._next_slot = max(now, self._next_slot) + gap


class _Batch(Generic[Key]):
    """One iteration of a pool: what waits, what is under way."""

    def __init__(self, pool: Pool, feed: Iterator[tuple[Key, Call]]) -> None:
        self.given_up: Fault | None = None
        self._pool, self._pace, self._feed = pool, pool.pace, feed
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[_Outcome[Key] | None] = asyncio.Queue()  # None: time to look again
        self._under_way: set[asyncio.Task[None]] = set()
        self._later: list[tuple[float, int, _Job[Key]]] = []  # a heap by time
        self._number = itertools.count()
        self._watch = Watch(pool.patience)
        self._alarm: asyncio.TimerHandle | None = None
        self._more = True

    async def next(self) -> tuple[Key, Answer | Fault] | None:
        """The next call that ended; None when there are no more."""
        while True:
            self._fill()
            waits = self._goes_on and (self._more or self._later)
            if not (self._under_way or waits) or (self._over and self._inbox.empty()):
                return None
            outcome = await self._inbox.get()
            if outcome is not None:
                self._under_way.discard(outcome.task)
                if (ended := self._read(outcome)) is not None:
                    return ended

    def nudge(self) -> None:
        """Have it look again at what may be done."""
        self._inbox.put_nowait(None)

    async def cancel(self) -> None:
        """Hang up on everything under way."""
        if self._alarm is not None:
            self._alarm.cancel()
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    @property
    def _goes_on(self) -> bool:
        return self._pool.ends_at is None

    @property
    def _over(self) -> bool:
        return self._pool.ends_at is not None and self._loop.time() >= self._pool.ends_at

    def _fill(self) -> None:
        """Send what may be sent now, and see to being woken when more may be."""
        pool, now = self._pool, self._loop.time()
        wake = pool.ends_at
        while self._goes_on and len(self._under_way) < self._pace.level:
            if (free := pool.free_at(now)) > now:
                wake = free
                if pool.paced(now):
                    self._pace.idle()
                break
            job = self._take(now)
            if job is None:
                wake = self._later[0][0] if self._later else None
                self._pace.idle()
                break
            self._send(job, now)
        self._wake_at(wake)

    def _take(self, now: float) -> _Job[Key] | None:
        """What is due to be tried again, else the next new call; no more of these while many wait."""
        if self._later and self._later[0][0] <= now:
            return heapq.heappop(self._later)[2]
        if self._more and len(self._later) < 2 * self._pace.level:
            try:
                return _Job(*next(self._feed))
            except StopIteration:
                self._more = False
        return None

    def _send(self, job: _Job[Key], now: float) -> None:
        gap = _DOUBTFUL if self._watch.doubtful else 0.0
        self._pool.note_sent(now, again=job.failed + job.refused > 0, gap=gap)
        reached = len(self._under_way) + 1 >= self._pace.level
        task = self._loop.create_task(self._exchange(job, self._pace.lap, reached))
        self._under_way.add(task)

    async def _exchange(self, job: _Job[Key], lap: Lap, reached: bool) -> None:
        began = self._loop.time()
        came: Answer | Exception
        try:
            came = await self._pool.exchange(job.call)
        except Exception as error:  # read where the caller waits
            came = error
        task = asyncio.current_task()
        assert task is not None
        self._inbox.put_nowait(_Outcome(job, lap, reached, self._loop.time() - began, came, task))

    def _read(self, outcome: _Outcome[Key]) -> tuple[Key, Answer | Fault] | None:
        """What a call ended with; None where it is sent again."""
        job, came = outcome.job, outcome.came
        if isinstance(came, Answer):
            self._watch.answered()
            now = self._loop.time()
            self._pace.answered(outcome.lap, outcome.reached, now, outcome.seconds, came.new_tokens or 0)
            return job.key, came
        if not isinstance(came, Fault):
            raise came
        if not came.passing:
            self._watch.answered()  # it said no, so it is there
            return job.key, came
        return self._again(job, came, outcome.lap)

    def _again(self, job: _Job[Key], fault: Fault, lap: Lap) -> tuple[Key, Fault] | None:
        pool, now = self._pool, self._loop.time()
        if fault.kind in _STRAINS:
            self._pace.strained(lap)
        if self._watch.failed(fault, now) and self._goes_on:
            self.given_up = fault
            pool.stop()
        busy = fault.kind == "busy"
        job = job._replace(failed=job.failed + (not busy), refused=job.refused + busy)
        if job.failed >= pool.patience.attempts:
            return None if self.given_up is not None else (job.key, fault)
        due = now + pool.delay(job, fault)
        if busy and fault.wait is not None:
            pool.sleep_until(now + fault.wait)
        heapq.heappush(self._later, (due, next(self._number), job))
        return None

    def _wake_at(self, when: float | None) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = None if when is None else self._loop.call_at(when, self.nudge)


def check_limits(concurrency: int | None, rate: float | None) -> None:
    """Refuse what is no concurrency and no rate.

    Args:
        concurrency: requests under way at once, at least 1.
        rate: requests a second, above 0.

    Raises:
        UsageError: something else.
    """
    whole = isinstance(concurrency, int) and not isinstance(concurrency, bool)
    if concurrency is not None and not (whole and concurrency >= 1):
        raise UsageError(
            "A concurrency is a whole number of at least 1", repr(concurrency), "Leave it out to have it found"
        )
    if rate is not None and not (isinstance(rate, (int, float)) and not isinstance(rate, bool) and 0 < rate < 1e9):
        raise UsageError("A rate is requests a second, above 0", repr(rate), "Leave it out for no limit")
