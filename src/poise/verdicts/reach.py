"""What could have been seen, and what would settle a verdict."""

from __future__ import annotations

import numpy as np

from poise.stats import MIN_UNITS, POWER, t_quantile
from poise.verdicts.case import Case
from poise.verdicts.verdict import More
from poise.verdicts.view import ERROR, View, family_of, worths

_MOST_PROMPTS = 1_000_000


def smallest(view: View, winner: int) -> float | None:
    """Of the comparison of the best mean with the baseline; where that is the baseline, of the closest other."""
    pairs, state, base = view.state.pairs, view.state, view.case.baseline
    others = [k for k in state.entrants if k != base]
    if pairs is None or base not in state.entrants or not others:
        return None
    values = worths(view, others)
    rival = winner if winner != base else max(others, key=lambda k: values[k])
    return pairs.smallest_detectable(state.entrants.index(base), state.entrants.index(rival), state.nominal)


def more(view: View, winner: int) -> More | None:
    """How many prompts it takes to see a difference that matters, or without one the difference seen."""
    case, base = view.case, view.case.baseline
    others = [k for k in view.state.entrants if k != base]
    if view.sample.scope != "use_case" or base not in view.state.entrants or not others:
        return None
    values = worths(view, others)
    rival = winner if winner != base else max(others, key=lambda k: values[k])
    rows = view.sample.of([base, rival])[0]
    target = case.goal.matters or abs(float((rows[:, 1] - rows[:, 0]).mean()))
    variance = float((rows[:, 1] - rows[:, 0]).var(ddof=1))
    if not target > 0 or not variance > 0:
        return None
    within, draws = _within(case, base, rival)
    seen, have, nominal = smallest(view, winner), len(rows), ERROR / family_of(view)

    def lacking(share: float) -> int:
        """Prompts to add where the variance of a difference is this share of what it is now."""
        wanted = _prompts_for(variance * share, target, nominal)
        detectable = None if seen is None else seen * share**0.5
        if wanted <= have and detectable is not None and detectable > target:  # so few reach further than quantiles say
            wanted = int(np.ceil(have * (detectable / target) ** 2))
        return min(max(0, wanted - have), _MOST_PROMPTS)

    # Twice the draws halve at most what the draws of a prompt add, and never more than half of all there is.
    doubled = None if within is None else lacking(1 - min(within / variance, 1.0) / 2)
    return More(target, lacking(1.0), draws, doubled)


def _within(case: Case, base: int, rival: int) -> tuple[float | None, int]:
    """The part of a prompt's difference that comes from its draws, and how many draws there are."""
    parts, draws = [], 1
    values = case.readings.columns.get(case.goal.aim.metric)
    if values is None:
        return None, draws
    for prompt in case.choosing:
        arms = [
            values[(case.readings.prompt == prompt) & (case.readings.trial == k) & np.isfinite(values)]
            for k in (base, rival)
        ]
        draws = max(draws, *(len(a) for a in arms))
        if len(arms[0]) == len(arms[1]) > 1:  # draws share their noise: what varies is their difference
            parts.append(float((arms[1] - arms[0]).var(ddof=1)) / len(arms[0]))
        elif min(len(a) for a in arms) > 1:
            parts.append(sum(float(a.var(ddof=1)) / len(a) for a in arms))
    return (float(np.mean(parts)) if parts else None), draws


def _prompts_for(variance: float, target: float, nominal: float) -> int:
    """Prompts until a difference is found 4 times in 5 by a test of this error."""
    count = MIN_UNITS
    for _ in range(50):
        reach = t_quantile(1 - nominal / 2, count - 1) + t_quantile(POWER, count - 1)
        wanted = min(max(MIN_UNITS, int(np.ceil(reach**2 * variance / target**2))), _MOST_PROMPTS)
        if wanted == count:
            break
        count = wanted if wanted > count else (wanted + count) // 2
    return count
