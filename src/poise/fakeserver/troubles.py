"""What goes wrong on purpose, planned so that a run repeats."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from poise.errors import UsageError
from poise.servers.calls import Fault

# Every fault, and what the client sees of it.
FAULTS: Mapping[str, str] = {
    "429": "Too many requests, with the seconds to wait.",
    "500": "The server failed.",
    "503": "The server is not available; nobody knows for how long.",
    "reset": "The connection breaks before an answer.",
    "stall": "Nothing comes for a while, then the connection breaks.",
    "truncated": "The answer breaks off in its middle.",
    "malformed": "The answer is cut off, and says that it is whole: no JSON.",
    "content-type": "A page of HTML with the status of success.",
    "empty": "An answer without a body.",
    "hollow": "An answer without choices.",
    "endless": "Spaces without an end.",
    "slow": "The right answer, late.",
}


@dataclass(frozen=True, slots=True)
class Faults:
    """How often what goes wrong, among requests for texts.

    Args:
        shares: of requests, by the names of `FAULTS`; together at most 1.
        seed: of the plan: the same number of a request meets the same fault in every run.
        wait: seconds that a 429 asks to wait.
        stall: seconds that a stalled answer, and an endless one, take before the connection breaks.
        slow: seconds that a slow answer is late.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    wait: float = 1.0
    stall: float = 30.0
    slow: float = 2.0

    def of(self, number: int) -> str:
        """The fault that a request meets; empty for none.

        Args:
            number: of the request, in the order of their coming, from 0.

        Returns:
            A name of `FAULTS`, or nothing.
        """
        if not self.shares:
            return ""
        u, reached = float(np.random.default_rng((self.seed, 3, number)).random()), 0.0
        for name, share in self.shares.items():
            reached += share
            if u < reached:
                return name
        return ""


def read_shares(specs: Iterable[str]) -> dict[str, float]:
    """Shares as they are written: ``0.1`` of all kinds alike, ``429=0.05`` of one.

    Args:
        specs: one each.

    Returns:
        The share of each fault.

    Raises:
        UsageError: no such fault, no share, or more than all requests.

    >>> read_shares(["429=0.05", "reset=0.01"])
    {'429': 0.05, 'reset': 0.01}
    """
    shares: dict[str, float] = {}
    for spec in specs:
        name, given, value = spec.rpartition("=")
        share = _share(spec, value)
        if not given:
            shares.update({kind: shares.get(kind, 0.0) + share / len(FAULTS) for kind in FAULTS})
        elif name in FAULTS:
            shares[name] = shares.get(name, 0.0) + share
        else:
            near = difflib.get_close_matches(name, FAULTS, n=1)
            hint = f"Did you mean {near[0]}?" if near else "`python -m poise.fakeserver --list` says what each is"
            raise UsageError(f"A fault is one of {', '.join(FAULTS)}", repr(name), hint)
    if sum(shares.values()) > 1 + 1e-9:
        raise UsageError("The shares of all faults are at most 1 together", f"{sum(shares.values()):g}", "Give less")
    return {name: share for name, share in shares.items() if share > 0}


def _share(spec: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UsageError(
            "A share of requests lies between 0 and 1", repr(spec), "--faults 0.1, or --faults 429=0.05 for one kind"
        )
    return share


def as_fault(name: str, wait: float) -> Fault | None:
    """What a client makes of a fault; None where it is only late.

    Args:
        name: a key of `FAULTS`.
        wait: seconds that a 429 asks to wait.

    Returns:
        The fault as a Wire raises it.
    """
    made: Mapping[str, Fault | None] = {
        "429": Fault("busy", "Rate limit reached for requests", 429, wait),
        "500": Fault("broken", "Internal server error", 500),
        "503": Fault("broken", "Service unavailable", 503),
        "reset": Fault("reset", "the connection broke"),
        "stall": Fault("timeout", "no answer in time"),
        "endless": Fault("timeout", "no answer in time"),
        "slow": None,
    }
    return made[name] if name in made else Fault("malformed", FAULTS[name], 200)
