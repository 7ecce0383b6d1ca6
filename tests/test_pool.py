"""Many requests at once: none lost, none doubled, given up politely; on a clock that jumps."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from tests.jumping import StandIn, asked, everything, on_clock, texts

from poise.errors import UsageError
from poise.servers.calls import Answer, Call, Fault
from poise.servers.patience import Patience, Watch
from poise.servers.pool import Pool


def test_every_call_ends_once_in_order_of_completion() -> None:
    async def work() -> None:
        wire = StandIn()
        pool = Pool(wire, concurrency=7)
        found = await everything(pool, asked(100))
        assert Counter(key for key, _ in found) == Counter(range(100))
        assert texts(found) == {i: str(i) for i in range(100)}
        assert wire.most == 7
        assert pool.sent == 100
        assert pool.again == 0

    on_clock(work())


def test_calls_are_taken_as_there_is_room() -> None:
    """A million calls are never in memory at once, also while all of them fail."""

    async def work(fails: bool) -> None:
        taken = 0

        def endless() -> Iterator[tuple[int, Call]]:
            nonlocal taken
            while True:
                taken += 1
                yield taken, Call(text="x")

        wire = StandIn(fails=lambda n, call: Fault("broken") if fails else None)
        pool = Pool(wire, concurrency=5, patience=Patience(attempts=1000, faults=10_000))
        stream = pool.answers(endless())
        if fails:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(anext(stream), 100)
            assert taken <= 5 + 2 * 5 + 1
        else:
            for done in range(1, 20):
                await anext(stream)
                assert taken <= done + 5
        await stream.aclose()  # type: ignore[attr-defined]
        assert wire.now == 0, "what was under way was hung up on"

    on_clock(work(False))
    on_clock(work(True))


KINDS = ("busy", "broken", "reset", "timeout", "malformed")


@pytest.mark.parametrize("seed", range(3))
def test_one_in_ten_fails_and_nothing_is_lost_or_doubled(seed: int) -> None:
    chance = random.Random(seed)

    def fails(n: int, call: Call) -> Fault | None:
        wait = 0.5 if chance.random() < 0.5 else None
        return Fault(chance.choice(KINDS), wait=wait) if chance.random() < 0.1 else None  # type: ignore[arg-type]

    async def work() -> None:
        pool = Pool(StandIn(0.1, fails=fails), seed=seed)
        found = await everything(pool, asked(5000))
        assert Counter(key for key, _ in found) == Counter(range(5000))
        assert texts(found) == {i: str(i) for i in range(5000)}
        assert pool.again == pool.sent - 5000 > 300

    on_clock(work())


def test_what_no_try_can_cure_ends_at_once() -> None:
    kinds = ("tls", "denied", "absent", "rejected", "context")

    async def work() -> None:
        wire = StandIn(fails=lambda n, call: Fault(kinds[n]) if n < 5 else None)  # type: ignore[arg-type]
        pool = Pool(wire, concurrency=1)
        found = await everything(pool, asked(8))
        assert [came.kind for _, came in found if isinstance(came, Fault)] == [*kinds]
        assert pool.sent == 8

    on_clock(work())


def test_a_call_that_always_fails_ends_with_its_fault_and_the_others_are_answered() -> None:
    def fails(n: int, call: Call) -> Fault | None:
        return Fault("broken", "poisonous") if call.text == "3" else None

    async def work() -> None:
        pool = Pool(StandIn(fails=fails), concurrency=4)
        found = dict(await everything(pool, asked(200)))
        assert len(found) == 200
        assert str(found[3]) == str(Fault("broken", "poisonous"))
        assert sum(isinstance(came, Answer) for came in found.values()) == 199
        assert pool.sent == 199 + Patience().attempts

    on_clock(work())


def test_tries_back_off_with_full_jitter_from_the_seed() -> None:
    async def work(seed: int) -> list[float]:
        wire = StandIn(0.0, fails=lambda n, call: Fault("reset") if n < 7 else None)
        await everything(Pool(wire, concurrency=1, seed=seed, patience=Patience(faults=100)), asked(1))
        return [b - a for a, b in zip(wire.times, wire.times[1:], strict=False)]

    first, again, other = on_clock(work(0)), on_clock(work(0)), on_clock(work(1))
    assert first == again != other
    for tries, gap in enumerate(first):
        assert 0 <= gap <= min(0.5 * 2**tries, 8.0)
    gaps = [on_clock(work(seed))[3] for seed in range(60)]
    assert 1.0 < sum(gaps) / 60 < 3.0, "uniform from 0 to 4 s"


def test_one_refusal_pauses_everybody_for_as_long_as_the_server_says() -> None:
    async def work() -> None:
        wire = StandIn(1.0, fails=lambda n, call: Fault("busy", wait=30.0) if n == 20 else None)
        await everything(Pool(wire, concurrency=8), asked(100))
        refused = wire.times[20] + 0.01
        later = [t for t in wire.times if t > refused]
        assert min(later) >= refused + 30 - 1e-6
        assert len(later) > 70

    on_clock(work())


def test_refusals_for_want_of_room_do_not_use_up_a_calls_tries() -> None:
    async def work() -> None:
        wire = StandIn(0.1, fails=lambda n, call: Fault("busy") if n % 20 else None)  # one in 20 gets through
        found = await everything(Pool(wire), asked(30))
        assert len(texts(found)) == 30

    on_clock(work())


@pytest.mark.parametrize("wait", [None, 20.0, 4 * 3600.0])
def test_a_server_that_only_refuses_is_given_up(wait: float | None) -> None:
    async def work() -> float:
        with pytest.raises(Fault) as caught:
            await everything(Pool(StandIn(0.1, fails=lambda n, call: Fault("busy", "quota", wait=wait))), asked(100))
        assert caught.value.told == "quota"
        return asyncio.get_running_loop().time()

    spent = on_clock(work())
    assert spent < 10 if wait and wait > 300 else 300 < spent < 340, "it asks for hours: at once"


@pytest.mark.parametrize("kind", ["unreachable", "reset", "broken", "malformed"])
@pytest.mark.parametrize("concurrency", [1, 8, None])
def test_a_server_that_is_down_is_given_up_within_seconds(kind: Any, concurrency: int | None) -> None:
    """What was answered before came out; nothing more is sent."""

    async def work() -> None:
        wire = StandIn(0.2, fails=lambda n, call: Fault(kind, "gone", 500) if n >= 50 else None)
        pool, found = Pool(wire, concurrency=concurrency), []

        async def collect() -> None:
            async for ended in pool.answers(asked(1000)):
                found.append(ended)

        with pytest.raises(Fault) as caught:
            await collect()
        assert (caught.value.kind, caught.value.told) == (kind, "gone")
        assert len(texts(found)) == 50
        down = wire.times[50]
        assert wire.times[-1] - down > 9.8
        assert asyncio.get_running_loop().time() - down < 45
        assert pool.sent < 50 + 100

    on_clock(work())


def test_a_server_that_comes_back_in_time_loses_nothing() -> None:
    async def work() -> None:
        def fails(n: int, call: Call) -> Fault | None:
            return Fault("unreachable") if 5 < asyncio.get_running_loop().time() < 12 else None

        found = await everything(Pool(StandIn(0.1, fails=fails)), asked(2000))
        assert len(texts(found)) == 2000

    on_clock(work())


def test_slow_answers_under_way_are_no_silence() -> None:
    """Resets all at once, then answers that take a minute each: the server is there."""

    async def work() -> None:
        wire = StandIn(60.0, fails=lambda n, call: Fault("reset") if n < 16 else None)
        found = await everything(Pool(wire, concurrency=16), asked(16))
        assert len(texts(found)) == 16

    on_clock(work())


def test_a_rate_is_kept_also_by_second_tries() -> None:
    async def work() -> None:
        wire = StandIn(0.5, fails=lambda n, call: Fault("broken") if n % 5 == 0 else None)
        await everything(Pool(wire, rate=10.0), asked(100))
        gaps = [b - a for a, b in zip(wire.times, wire.times[1:], strict=False)]
        assert min(gaps) >= 0.1 - 1e-9
        assert asyncio.get_running_loop().time() < 20, "and it is used"

    on_clock(work())


def test_stopping_lets_what_is_under_way_finish_for_a_moment() -> None:
    async def work() -> None:
        wire = StandIn(1.0)
        pool, found = Pool(wire, concurrency=4), []
        async for key, _ in pool.answers(asked(1000)):
            found.append(key)
            if len(found) == 10:
                pool.stop()
        assert len(found) == pool.sent < 16
        assert wire.now == 0

        slow = StandIn(100.0, room=1)
        pool, found = Pool(slow, concurrency=4), []
        async for key, _ in pool.answers(asked(1000)):
            found.append(key)
            pool.stop()
        assert len(found) == 1, "no longer than that"
        assert slow.now == 0
        assert asyncio.get_running_loop().time() < 110

    on_clock(work())


def test_stop_is_heard_while_nothing_happens() -> None:
    async def work() -> None:
        pool = Pool(StandIn(10_000.0), concurrency=1)
        asyncio.get_running_loop().call_later(5, pool.stop)
        assert await everything(pool, asked(3)) == []
        assert asyncio.get_running_loop().time() == pytest.approx(7)

    on_clock(work())


def test_other_errors_are_passed_on_and_everything_is_hung_up() -> None:
    class Odd(StandIn):
        async def ask(self, call: Call) -> Answer:
            if len(self.calls) == 5:
                raise ZeroDivisionError
            return await super().ask(call)

    def feed() -> Iterator[tuple[int, Call]]:
        yield 0, Call(text="0")
        raise KeyError

    async def work() -> None:
        wire = Odd()
        with pytest.raises(ZeroDivisionError):
            await everything(Pool(wire, concurrency=5), asked(100))
        assert wire.now == 0
        with pytest.raises(KeyError):
            await everything(Pool(wire := StandIn(), concurrency=5), feed())
        assert wire.now == 0

    on_clock(work())


def test_an_answer_that_does_not_pass_the_check_is_asked_again() -> None:
    seen = 0

    def check(call: Call, got: Answer) -> None:
        nonlocal seen
        seen += 1
        if seen % 3 == 0:
            raise Fault("malformed", "no choices")

    async def work() -> None:
        found = await everything(Pool(StandIn(), check=check), asked(50))
        assert len(texts(found)) == 50

    on_clock(work())


def test_no_calls_end_at_once() -> None:
    async def work() -> None:
        assert await everything(Pool(StandIn()), asked(0)) == []

    on_clock(work())


def test_the_watch_needs_faults_and_time() -> None:
    watch, fault = Watch(Patience(faults=3, seconds=10)), Fault("reset")
    assert not any(watch.failed(fault, t) for t in (0, 1, 2, 9.9))
    assert watch.failed(fault, 10)
    watch.answered()
    assert not watch.failed(fault, 11)
    assert not watch.failed(fault, 22), "long, but only two"
    assert watch.failed(fault, 23)


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"concurrency": 0}, "A concurrency is a whole number of at least 1, but got 0."),
        ({"concurrency": 2.5}, "A concurrency is a whole number of at least 1, but got 2.5."),
        ({"concurrency": True}, "A concurrency is a whole number of at least 1, but got True."),
        ({"rate": 0}, "A rate is requests a second, above 0, but got 0."),
        ({"rate": float("nan")}, "A rate is requests a second, above 0, but got nan."),
        ({"rate": "5"}, "A rate is requests a second, above 0, but got '5'."),
    ],
)
def test_limits_that_are_none(limits: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match="A ") as caught:
        on_clock(_made(limits))
    assert str(caught.value).startswith(said)


async def _made(limits: dict[str, Any]) -> None:
    Pool(StandIn(), **limits)
