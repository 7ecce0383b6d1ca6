"""A case with its sample and race: who stands where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from poise.effects import Effect, explain
from poise.families import compare_all
from poise.fronts import front
from poise.goals import Aim
from poise.holdouts import worth
from poise.looks import nominal_levels
from poise.params import PARAMETERS
from poise.races import Race
from poise.samples import Sample
from poise.stats import LEVEL, MIN_UNITS
from poise.verdicts.case import Case
from poise.verdicts.verdict import Contender, Kept

ERROR = 1 - LEVEL


class View(NamedTuple):
    """A case with its sample and race; `order` are the settings compared, as columns."""

    case: Case
    sample: Sample
    state: Race
    able: tuple[int, ...]
    aside: Mapping[int, str]
    kept: Mapping[int, tuple[Kept, ...]]

    def keeps(self, setting: int) -> bool:
        return all(k.in_the_mean for k in self.kept[setting])

    @property
    def set(self) -> list[int]:
        """The settings that may be the best."""
        return [k for k in self.state.alive if self.keeps(k)] if self.state.pairs is not None else []


class Against(NamedTuple):
    """A setting against the baseline: simultaneous."""

    difference: float | None
    low: float | None
    high: float | None
    detected: bool


def against_baseline(view: View, setting: int) -> Against:
    """From the last look that compared both; of one that fell earlier, on the rows that both have."""
    base, state, pairs = view.case.baseline, view.state, view.state.pairs
    if setting == base:
        return Against(0.0, 0.0, 0.0, False)
    assert pairs is not None, "a race that is judged has looked"
    if {base, setting} <= {*state.entrants}:
        i, j = state.entrants.index(base), state.entrants.index(setting)
        found, detected = (float(x[i, j]) for x in (pairs.difference, pairs.low, pairs.high)), pairs.detected[i, j]
    else:
        units = min(state.fallen[k].units for k in (base, setting) if k in state.fallen)
        family = family_of(view)
        levels = nominal_levels(view.case.sizes, ERROR / family)
        nominal = levels[view.case.sizes.index(units)]
        pairs = compare_all(
            view.sample.of([base, setting], units), view.sample.bounds, hold=view.case.hold, family=family,
            level=nominal * family,
        )  # fmt: skip
        found, detected = (float(x[0, 1]) for x in (pairs.difference, pairs.low, pairs.high)), pairs.detected[0, 1]
    difference, low, high = (None if np.isnan(x) else x for x in found)
    return Against(difference, low, high, bool(detected))


def family_of(view: View) -> int:
    """Comparisons that share the error of the verdict."""
    return max(1, len(view.able) * (len(view.able) - 1) // 2) * (2 if view.case.hold else 1)


def beats(view: View, against: Against) -> bool:
    """Whether a difference to the baseline was shown, and is for the better."""
    return against.detected and (against.difference or 0.0) * view.case.better > 0


def worths(view: View, settings: Sequence[int]) -> dict[int, float]:
    """Means on the units that all of these have, as something of which more is better."""
    rows = view.sample.of(settings)
    means = np.mean([s.mean(axis=0) for s in rows if len(s)], axis=0)
    return dict(zip(settings, worth(means, view.case.better, view.case.hold).tolist(), strict=True))


def contenders_of(view: View, against: Mapping[int, Against]) -> tuple[Contender, ...]:
    """Every setting as the verdict shows it: the best set first, by value."""
    case, best = view.case, view.set
    fronts = _fronts(view)
    found = []
    for k, trial in enumerate(case.trials):
        column = np.concatenate(view.sample.strata)[:, k]
        known = column[np.isfinite(column)]
        said = against.get(k, Against(None, None, None, False))
        table = _mean(view, k)
        found.append(Contender(
            trial, table, len(known), said.difference, said.low, said.high, said.detected, k in best,
            "" if k in best else _why_out(view, k), view.kept[k], fronts.get(k),
        ))  # fmt: skip
    sign = 1 if case.better > 0 else -1

    def key(c: Contender) -> tuple[bool, float]:
        return not c.in_set, -sign * c.difference if c.difference is not None else np.inf

    return tuple(sorted(found, key=key))


def _mean(view: View, setting: int) -> float | None:
    """Of the metric itself, also where it is held near a target."""
    plain = view.case.sample(Aim(view.case.goal.aim.metric, "raise"), view.case.choosing)
    parts = [c[np.isfinite(c)] for c in (s[:, setting] for s in plain.strata)]
    parts = [p for p in parts if len(p)]
    return float(np.mean([p.mean() for p in parts])) if parts else None


def _why_out(view: View, setting: int) -> str:
    if setting in view.aside:
        return view.aside[setting]
    if setting not in view.able:
        return "not raced"
    broken = [str(k.constraint) for k in view.kept[setting] if not k.in_the_mean]
    if broken:
        return f"breaks {', '.join(broken)}"
    fall = view.state.fallen.get(setting)
    if fall is None or fall.by is None:
        return "broke a constraint when it left"
    return f"{view.case.trials[fall.by].label} was shown to be better"


def _fronts(view: View) -> dict[int, float]:
    """Probability of being in the Pareto set, of settings that keep the constraints."""
    also = view.case.goal.also
    settings = [k for k in view.state.entrants if view.keeps(k)]
    if also is None or len(settings) < 2 or view.sample.scope != "use_case":
        return {}
    second = view.case.sample(also, view.sample.prompts)
    if second.scope != "use_case":
        return {}
    rows = {p: i for i, p in enumerate(second.prompts)}
    both = [(i, rows[p]) for i, p in enumerate(view.sample.prompts) if p in rows]
    first_values = view.sample.strata[0][[i for i, _ in both]][:, settings]
    second_values = second.strata[0][[j for _, j in both]][:, settings]
    whole = np.isfinite(first_values).all(axis=1) & np.isfinite(second_values).all(axis=1)
    if whole.sum() < MIN_UNITS:
        return {}
    senses = (_sense(view.case.goal.aim), _sense(also))
    members = front(first_values[whole], second_values[whole], senses)
    return {settings[m.place]: m.probability for m in members}


def _sense(aim: Aim) -> int:
    return {"raise": 1, "lower": -1, "hold": 0}[aim.sense]


def effects_of(view: View) -> list[Effect]:
    """Of the settings that were swept, where several parameters vary; nothing where no difference was detected."""
    swept = [k for k in view.state.entrants if not view.case.trials[k].names]
    values = {n: [view.case.trials[k].params.active().get(n) for k in swept] for n in PARAMETERS}
    varied = {n: said for n, said in values.items() if len(set(said)) > 1}
    pairs = view.state.pairs
    if len(varied) < 2 or view.sample.scope != "use_case" or pairs is None or not pairs.detected.any():
        return []
    return explain(view.sample.of(swept)[0], varied)
