"""How many requests may be under way at once: found by trying."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

START, MOST = 4, 512
GAIN = 1.1  # a doubled level is worth it from here on
LOSS = 0.95  # a halved level is as good down to here
STRAIN = 0.15  # share of refused and late answers from which a level is too high
_PLAIN = 1.5  # a gain that few answers show
_LEAST = 8  # answers that a level is judged by
_SHRINK = 0.7
_AGAIN = 8, 64  # rounds until a level is tried anew: at first, and at most

Phase = Literal["raising", "lowering", "settled"]


@dataclass(slots=True)
class Answers:
    """Answers in sums: how many, tokens, seconds from sending, tokens², tokens · seconds."""

    number: int = 0
    tokens: float = 0.0
    seconds: float = 0.0
    squares: float = 0.0
    products: float = 0.0

    def add(self, seconds: float, tokens: float) -> None:
        """Note an answer."""
        self.number += 1
        self.tokens, self.seconds = self.tokens + tokens, self.seconds + seconds
        self.squares, self.products = self.squares + tokens * tokens, self.products + tokens * seconds

    def took(self, tokens: float) -> float:
        """Seconds for an answer of so many tokens, by least squares: longer texts by chance are no slower server."""
        mean, spread = self.tokens / self.number, self.squares - self.tokens**2 / self.number
        slope = (self.products - mean * self.seconds) / spread if spread > 1e-9 * self.squares else 0.0
        took = self.seconds / self.number
        return max(took + max(slope, 0.0) * (tokens - mean), took / 4, 1e-9)


@dataclass(slots=True)
class Lap:
    """What came while one level was held.

    Args:
        level: requests under way at once.
        strains: requests refused for want of room, or not answered in time.
        sent: answers to requests that were sent since it began.
        full: of these, answers to requests that were sent when the level was reached.
        first, last: when the first of them came, and the last answer of any lap since then.
        later: tokens of all answers of any lap after the first.
    """

    level: int
    strains: int = 0
    sent: Answers = field(default_factory=Answers)
    full: Answers = field(default_factory=Answers)
    first: float = 0.0
    last: float = 0.0
    later: float = 0.0

    def pass_by(self, at: float, tokens: float) -> None:
        """Note any answer that comes while the lap lasts, also to what was sent before."""
        if self.sent.number:
            self.last, self.later = at, self.later + max(tokens, 1.0)
        else:
            self.first = self.last = at

    def throughput(self, tokens: float, answers: Answers | None = None) -> float:
        """Answers of so many tokens per second, by Little's law: level / seconds that one takes.

        It does not mind that answers come in bursts, but is rough where they wait for each other.
        """
        known = answers or (self.full if self.full.number >= _LEAST // 2 else self.sent)
        return self.level / known.took(tokens)

    def flow(self) -> float:
        """Tokens per second as they came: sharp where answers wait for each other, rough where they come in bursts."""
        least = self.sent.seconds / self.level / 2  # as if twice as many were under way
        return self.later / max(self.last - self.first, least, 1e-9)


class Pace:
    """The level: how many requests may be under way.

    A level is doubled while that gains throughput, and then kept a little above the last one that gained, so that
    the server never waits. Where even the first doubling gains nothing, it is halved while that loses nothing. A
    server that refuses or does not answer in time lowers it. A kept level is tried anew now and then.

    Args:
        fixed: a level that stays; None to find it.
        most: the highest level.

    >>> pace, at = Pace(), 0.0
    >>> while not pace.settled:                     # room for 32: beyond, answers only take longer
    ...     at += 1 / min(pace.level, 32)
    ...     pace.answered(pace.lap, True, at, max(1.0, pace.level / 32), 100)
    >>> pace.level
    40
    """

    def __init__(self, fixed: int | None = None, most: int = MOST) -> None:
        self.lap = Lap(fixed or min(START, most))  # what is sent belongs to it
        self._fixed, self._most = fixed is not None, most
        self._phase: Phase = "raising"
        self._best: Lap | None = None
        self._first, self._found = self.level, False  # once found, only more is tried
        self._wait, self._laps = _AGAIN[0], 0
        self._answers, self._tokens = 0, 0.0  # of all laps

    @property
    def level(self) -> int:
        """Requests under way at once, at most."""
        return self.lap.level

    @property
    def settled(self) -> bool:
        """Whether the level was found, or given."""
        return self._fixed or self._phase == "settled"

    def answered(self, lap: Lap, reached: bool, at: float, seconds: float, tokens: float) -> None:
        """Note an answer.

        Args:
            lap: in which its request was sent.
            reached: whether as many were under way then as may be.
            at: now, in seconds.
            seconds: from sending to the answer.
            tokens: new ones; the same number always where nobody counts them.
        """
        self._answers, self._tokens = self._answers + 1, self._tokens + tokens
        self.lap.pass_by(at, tokens)
        if self._fixed or lap is not self.lap:
            return
        lap.sent.add(seconds, tokens)
        if reached:
            lap.full.add(seconds, tokens)
        if self._over():
            self._judge()

    def strained(self, lap: Lap) -> None:
        """Note that the server refused a request for want of room, or did not answer in time."""
        if self._fixed or lap is not self.lap:
            return
        lap.strains += 1
        seen = lap.strains + lap.sent.number
        if lap.strains > 1 and seen >= min(lap.level, _LEAST) and lap.strains > STRAIN * seen:
            self._settle(max(1, int(lap.level * _SHRINK)))

    def idle(self) -> None:
        """Note that fewer requests are under way than might be, for want of any: such a lap says nothing."""
        self._begin(self.level)

    def _gains(self, answers: Answers) -> tuple[float, float]:
        """Throughput of this lap over that of the best one: by the time that answers took, by when they came."""
        if self._best is None or not answers.number:
            return 0.0, 0.0
        tokens = self._tokens / self._answers
        taken = self.lap.throughput(tokens, answers) / self._best.throughput(tokens)
        return taken, self.lap.flow() / max(self._best.flow(), 1e-9)

    def _plain(self) -> bool:
        """Whether the first answers show that the level is worth it: too high a level costs least.

        They count although they were sent before the level was reached: where they wait, they wait for half of it.
        """
        enough = self.lap.sent.number >= max(self.level // 2, _LEAST // 2)
        return enough and self._phase == "raising" and min(self._gains(self.lap.sent)) >= _PLAIN

    def _over(self) -> bool:
        """Whether a lap has answers enough: few where the case is plain, many where it is not."""
        if self._phase == "raising" and self._best is None:
            return self.lap.sent.number >= self.level
        number, least = self.lap.full.number, max(self.level, _LEAST)
        if self._plain() or number >= 3 * least or (self._phase == "settled" and number >= least):
            return True
        low, high = sorted(self._gains(self.lap.full))
        if self._phase == "lowering":
            return number >= _LEAST // 2 and high < 1 / _PLAIN
        return self._phase == "raising" and number >= least and (low >= GAIN or high < 1)

    def _gained(self) -> bool:
        taken, come = self._gains(self.lap.full)
        return self._plain() or min(taken, come) >= GAIN or taken > _PLAIN

    def _judge(self) -> None:
        """A lap is over."""
        best, lap = self._best, self.lap
        if self._phase == "settled":
            self._laps += 1
            self._try_anew() if self._laps >= self._wait else self._begin(self.level)
        elif best is None or (self._phase == "raising" and self._gained()):
            self._best = lap
            self._begin(2 * lap.level) if lap.level < self._most else self._settle(lap.level)
        elif self._phase == "raising":
            self._stop_raising(best)
        elif max(self._gains(lap.full)) < LOSS:
            self._settle(_above(2 * lap.level, 4 * lap.level))
        elif lap.level == 1:
            self._settle(2)
        else:
            self._begin(lap.level // 2)

    def _stop_raising(self, best: Lap) -> None:
        if best.level > self._first:
            self._settle(_above(best.level, self.level))
        elif self._found or best.level == 1:
            self._settle(best.level)
        else:  # the lap that gained nothing is what lower ones are held against: it was long
            self._phase, self._best = "lowering", self.lap
            self._begin(best.level // 2)

    def _try_anew(self) -> None:
        self._wait = min(2 * self._wait, _AGAIN[1])
        self._phase, self._best, self._first = "raising", self.lap, self.level
        self._begin(2 * self.level)

    def _settle(self, level: int) -> None:
        self._phase, self._laps, self._found = "settled", 0, True
        self._begin(level)

    def _begin(self, level: int) -> None:
        self.lap = Lap(min(level, self._most))


def _above(level: int, most: int) -> int:
    """A little more than a level, so that a request waits wherever one ends."""
    return min(level + max(1, level // 4), most)
