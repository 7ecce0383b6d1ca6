"""When a request is tried again, and a server given up."""

from __future__ import annotations

import random
from typing import NamedTuple

from poise.servers.calls import Fault


class Patience(NamedTuple):
    """How often and how long a server is tried.

    Args:
        attempts: of one request at most; refusals for want of room (429) do not count.
        first, longest: seconds before the second attempt at most, doubled with each, and at most.
        faults, seconds: so many faults in a row, over at least so many seconds, and the server is down.
        busy: seconds without any answer in which it only refuses for want of room, or that it asks to wait.
        grace: seconds that requests under way have when asking ends before its time.
    """

    attempts: int = 8
    first: float = 0.5
    longest: float = 8.0
    faults: int = 8
    seconds: float = 10.0
    busy: float = 300.0
    grace: float = 2.0

    def delay(self, tries: int, fault: Fault, chance: random.Random) -> float:
        """Seconds to wait before a request is sent again: exponential with full jitter, or what the server asks.

        Args:
            tries: how often it was tried, at least 1.
            fault: what came of the last try.
            chance: the generator of the jitter.

        Returns:
            Seconds, at least those that the server asked for.

        Source: Brooker 2015, "Exponential Backoff And Jitter", full jitter.
        """
        most = min(self.first * 2.0 ** min(tries - 1, 32), self.longest)
        return max(fault.wait or 0.0, chance.uniform(0.0, most))


class Watch:
    """Whether a server still answers.

    Args:
        patience: how long it may not.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._faults, self._broken_since, self._busy_since = 0, 0.0, 0.0
        self._busy = False

    @property
    def doubtful(self) -> bool:
        """Whether so many requests failed in a row that the server may be down."""
        return self._faults >= self._patience.faults

    def answered(self) -> None:
        """Note an answer: the server is there."""
        self._faults, self._busy = 0, False

    def failed(self, fault: Fault, now: float) -> bool:
        """Note a fault.

        Args:
            fault: of a passing kind.
            now: seconds on any clock that only goes forward.

        Returns:
            Whether the server is to be given up.
        """
        if fault.kind == "busy":
            if not self._busy:
                self._busy, self._busy_since = True, now
            return max(fault.wait or 0.0, now - self._busy_since) > self._patience.busy
        if not self._faults:
            self._broken_since = now
        self._faults += 1
        return self.doubtful and now - self._broken_since >= self._patience.seconds
