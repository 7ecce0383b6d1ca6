"""Settings raced over rounds of prompts: who falls, when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.families import LEVEL, Pairs, compare_all, family_size
from poise.looks import nominal_levels
from poise.stats import MIN_UNITS, UNBOUNDED, Bounds

Matrix = NDArray[np.float64]
STOPS = {
    "one left": "one setting is left",
    "within what matters": "all that are left differ by less than matters",
}


@dataclass(frozen=True, slots=True)
class Rules:
    """What was fixed before the first look.

    Args:
        sizes: the planned looks: units seen at each, rising. Strata of draws have a single look.
        settings: positions of the settings that start.
        better: +1 where larger values are better, -1 where smaller ones are, or distances with `hold`.
        hold: whether values are signed distances from a target; see `families.compare_all`.
        bounds: the range of the values.
        matters: the smallest difference that matters; None where only one left stops the race.
        level: error of all claims together.
    """

    sizes: tuple[int, ...]
    settings: tuple[int, ...]
    better: int
    hold: bool = False
    bounds: Bounds = UNBOUNDED
    matters: float | None = None
    level: float = LEVEL

    @property
    def family(self) -> int:
        """Comparisons that share the error: every pair that could ever be compared."""
        return family_size(len(self.settings), self.hold)


class Fall(NamedTuple):
    """How a setting left the race.

    Args:
        units: seen when it left.
        by: position of the setting that was shown to be better; None where it broke a constraint.
        difference, low, high: its value minus the other's, simultaneous interval; 0 where it broke one.
    """

    units: int
    by: int | None
    difference: float = 0.0
    low: float = 0.0
    high: float = 0.0


class Race(NamedTuple):
    """What looks at growing data have shown.

    Args:
        alive: positions of the settings that are not out.
        fallen: the others, by position.
        pairs: the last look's comparisons, in the order of `entrants`; None where too few units had values.
        entrants: positions of the settings that the last look compared.
        seen: units seen at each look taken.
        nominal: error of one comparison at the last look.
        stopped: a key of `STOPS`; empty while undecided.
    """

    alive: tuple[int, ...]
    fallen: Mapping[int, Fall]
    pairs: Pairs | None
    entrants: tuple[int, ...]
    seen: tuple[int, ...]
    nominal: float
    stopped: str


class Standing(NamedTuple):
    """What constraints say after some units: who keeps them in the mean, and who surely breaks one."""

    keeps: frozenset[int]
    breaks: frozenset[int]


def race(
    strata: Sequence[Matrix],
    rules: Rules,
    seen: int | None = None,
    standing: Callable[[int, float], Standing] | None = None,
) -> Race:
    """Look at growing data, drop settings shown to be worse, stop when nothing is left to decide.

    The error is shared among all pairs that could ever be compared and all planned looks, so that all claims
    of all looks together err in at most 5 % of races. Only a setting that keeps the constraints can put
    another one out.

    Args:
        strata: (n, K) each, rows in the order they were drawn; NaN where a setting has no value.
        rules: fixed beforehand.
        seen: units drawn so far; None for all planned.
        standing: constraints after so many units, at this error per setting; None where there are none.

    Returns:
        The state after the last look that could be taken.
    """
    levels = nominal_levels(rules.sizes, rules.level / rules.family)
    state = Race(rules.settings, {}, None, rules.settings, (), levels[0], "")
    for size, nominal in zip(rules.sizes, levels, strict=True):
        if (seen is not None and size > seen and state.seen) or state.stopped:
            break
        state = _look(strata, rules, state, size, nominal, standing)
    return state


def _look(
    strata: Sequence[Matrix],
    rules: Rules,
    state: Race,
    size: int,
    nominal: float,
    standing: Callable[[int, float], Standing] | None,
) -> Race:
    entrants, fallen = list(state.alive), dict(state.fallen)
    held = Standing(frozenset(entrants), frozenset())
    if standing is not None:
        held = standing(size, nominal * rules.family / len(rules.settings))
    rows = [s[:size, entrants] if len(strata) == 1 else s[:, entrants] for s in strata]
    rows = [s[~np.isnan(s).any(axis=1)] for s in rows]
    pairs = None
    alive = [k for k in entrants if k not in held.breaks]
    fallen.update({k: Fall(size, None) for k in entrants if k in held.breaks})
    if sum(len(s) for s in rows) >= MIN_UNITS and min(len(s) for s in rows) > 1:
        level = nominal * rules.family
        pairs = compare_all(rows, rules.bounds, hold=rules.hold, family=rules.family, level=level)
        falls = _falls(pairs, entrants, rules.better, size, held.keeps)
        fallen.update({k: fall for k, fall in falls.items() if k in alive})
        alive = [k for k in alive if k not in falls]
    stopped = "" if pairs is None else _reason(pairs, [entrants.index(k) for k in alive], rules.matters)
    return Race(tuple(alive), fallen, pairs, tuple(entrants), (*state.seen, size), nominal, stopped)


def _falls(pairs: Pairs, entrants: Sequence[int], better: int, size: int, keeps: frozenset[int]) -> dict[int, Fall]:
    """Those that another one was shown to beat, and by whom: of several, the one with the best mean."""
    gain = better * pairs.difference  # [a, b]: by how much b is better than a
    beaten = pairs.detected & (gain > 0) & np.array([k in keeps for k in entrants])[None, :]
    found = {}
    for i, k in enumerate(entrants):
        if beaten[i].any():
            j = int(np.argmax(np.where(beaten[i], gain[i], -np.inf)))
            ends = (float(x[j, i]) for x in (pairs.difference, pairs.low, pairs.high))
            found[k] = Fall(size, entrants[j], *ends)
    return found


def _reason(pairs: Pairs, alive: Sequence[int], matters: float | None) -> str:
    if len(alive) <= 1:
        return "one left"
    if matters is None:
        return ""
    low, high = pairs.low[np.ix_(alive, alive)], pairs.high[np.ix_(alive, alive)]
    inside = (low >= -matters) & (high <= matters)  # false where withheld
    return "within what matters" if inside.all() else ""
