"""The concurrency is found: raised while it gains, lowered where the server refuses."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.jumping import StandIn, asked, everything, on_clock, texts

from poise.servers.calls import Answer, Call, Fault
from poise.servers.pace import Pace
from poise.servers.pool import Pool


@pytest.mark.parametrize("room", [1, 2, 6, 32, 100, 1000])
def test_the_concurrency_is_found(room: int) -> None:
    async def work() -> None:
        n = 60 * min(room, 512) + 300
        pool = Pool(StandIn(0.4, room))
        await everything(pool, asked(n))
        spent = asyncio.get_running_loop().time()
        best = n * 0.4 / min(room, 512)
        assert spent < best * 1.08 + 4, f"{spent:.1f} s where {best:.1f} s are needed"
        assert min(room, 512) <= pool.pace.level <= max(4 * room, 5)

    on_clock(work())


@pytest.mark.parametrize("seed", range(5))
def test_the_concurrency_is_found_where_texts_have_very_different_lengths(seed: int) -> None:
    chance = random.Random(seed)

    async def work() -> None:
        wire = StandIn(0.055, room=32)
        wire.tokens = lambda: 1 + int(chance.expovariate(1 / 60))
        pool = Pool(wire)
        await everything(pool, asked(3000))
        assert 30 <= pool.pace.level <= 100

    on_clock(work())


def test_a_server_with_fixed_room_that_refuses_the_rest_is_not_pressed() -> None:
    class Strict(StandIn):
        refused = 0

        async def ask(self, call: Call) -> Answer:
            if self.now >= 16:
                self.refused += 1
                raise Fault("busy", status=429)
            return await super().ask(call)

    async def work() -> None:
        wire = Strict(0.5)
        pool = Pool(wire)
        assert len(texts(await everything(pool, asked(4000)))) == 4000
        assert wire.refused < 0.05 * 4000
        assert 8 <= pool.pace.level <= 20

    on_clock(work())


def answered(pace: Pace, room: int, number: int) -> None:
    """Answers of a server with room for some requests, spread evenly."""
    at = 0.0
    for _ in range(number):
        at += 1 / min(pace.level, room)
        pace.answered(pace.lap, True, at, max(1.0, pace.level / room), 100)


def test_timeouts_lower_the_level() -> None:
    pace = Pace()
    while not pace.settled:
        answered(pace, 40, 1)
    before = pace.level
    for _ in range(10):
        pace.strained(pace.lap)
    assert 1 <= pace.level < before
    fixed = Pace(6)
    for _ in range(100):
        fixed.strained(fixed.lap)
        answered(fixed, 3, 1)
    assert (fixed.level, fixed.settled) == (6, True)


def test_a_kept_level_does_not_creep() -> None:
    """It is tried anew, and stands where more gains nothing."""
    pace, seen = Pace(), set()
    for _ in range(20_000):
        answered(pace, 32, 10)
        if pace.settled:
            seen.add(pace.level)
    assert seen == {40}


def test_a_kept_level_rises_when_there_is_more_room() -> None:
    pace = Pace()
    answered(pace, 4, 5_000)
    assert pace.level == 5
    answered(pace, 64, 40_000)
    assert 64 <= pace.level <= 100
