"""A metric's values as units by settings, for a verdict."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.errors import MetricError, UseCaseError
from poise.goals import REFERENCE, Aim
from poise.measurements import absent_of, bounds_of
from poise.metrics import METRICS
from poise.metrics.metric import CompletionMetric
from poise.metrics.readings import Readings
from poise.metrics.units import Scope
from poise.references import reference_values
from poise.stats import MIN_UNITS, Bounds
from poise.study import Study

Matrix = NDArray[np.float64]
HOLDOUT_SHARE = 3  # one prompt in three is held out, where that leaves enough on both sides
MIN_SHARE = 0.5  # a setting with values for fewer of the prompts than this is set aside


class Sample(NamedTuple):
    """A metric's values under every setting.

    Args:
        strata: (n, K) each. One, with a row per prompt, where the prompt is the unit; one per prompt, with a row
            per draw, where the draw is. A mean held near a target is given as signed distances. NaN: no value.
        scope: what the numbers speak of.
        prompts: numbers of the prompts: one per row, or one per stratum.
        bounds: the range of the values.
        lacking: why there can be no interval, and what to add; empty where there can.
    """

    strata: tuple[Matrix, ...]
    scope: Scope
    prompts: tuple[int, ...]
    bounds: Bounds
    lacking: str

    @property
    def units(self) -> int:
        """How many units there are."""
        return sum(len(s) for s in self.strata)

    def of(self, settings: Sequence[int], units: int | None = None) -> list[Matrix]:
        """The complete rows of some settings.

        Args:
            settings: positions.
            units: only the first so many rows of the one stratum; None for all.

        Returns:
            (n, len(settings)) per stratum, without rows that lack a value.
        """
        chosen = [s[:units, list(settings)] for s in self.strata]
        return [s[~np.isnan(s).any(axis=1)] for s in chosen]


def hold_out(inputs: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """Split prompts into those that choose and those that check, at random once and for all.

    The order is that of a hash of the prompts, so that it depends on nothing else.

    Args:
        inputs: prompt ids.

    Returns:
        Positions of both sides, each in random order; the second empty where a side would have fewer than 8.
    """
    order = sorted(range(len(inputs)), key=lambda i: hashlib.sha256(repr(tuple(inputs[i])).encode()).digest())
    held = max(len(inputs) // HOLDOUT_SHARE, MIN_UNITS)
    if len(inputs) - held < MIN_UNITS:
        return order, []
    return order[: len(inputs) - held], order[len(inputs) - held :]


def take(study: Study, readings: Readings, aim: Aim, prompts: Sequence[int]) -> Sample:
    """A metric's values of some prompts.

    Args:
        study: that was read.
        readings: of the use case, with values of the metric.
        aim: the metric, and its target where it has one.
        prompts: their numbers, in the order of the rows.

    Returns:
        The sample; from 8 prompts on, the prompt is the unit.

    Raises:
        MetricError: a target that this metric cannot have.
        UseCaseError: no prompt has the reference that the goal needs.
    """
    metric = METRICS[aim.metric]
    table = by_prompt(readings, aim.metric)
    away = _target(study, readings, aim)
    bounds = bounds_of(metric, readings, float(np.isfinite(table).sum()) or 1.0)
    if aim.target is not None:
        bounds = Bounds()
    kept = [p for p in prompts if np.isfinite(away[p]) and np.isfinite(table[p]).any()]
    if not kept:
        lacking = f"no text has a value: {absent_of(metric, readings, 0)}"
        return Sample((np.empty((0, table.shape[1])),), "prompt", (), bounds, lacking)
    if len(kept) >= MIN_UNITS:
        if bounds.trials is not None:
            bounds = bounds._replace(trials=float(_texts(readings, aim.metric, kept)))
        return Sample((table[kept] - away[kept, None],), "use_case", tuple(kept), bounds, "")
    more = f"add {MIN_UNITS - len(kept)} prompt{'s' if MIN_UNITS - len(kept) > 1 else ''}"
    if not isinstance(metric, CompletionMetric):
        lacking = f"it has one value per prompt, and an interval needs {MIN_UNITS}: {more}"
        return Sample((table[kept] - away[kept, None],), "prompt", tuple(kept), bounds, lacking)
    strata = tuple(_by_draw(readings, aim.metric, p) - away[p] for p in kept)
    return Sample(strata, "prompt", tuple(kept), bounds, _few_draws(strata, more))


def _few_draws(strata: Sequence[Matrix], more: str) -> str:
    """What to add where a prompt has too few draws that every setting has; empty where none has."""
    fewest = min((int(np.isfinite(s).all(axis=1).sum()) for s in strata), default=0)
    if fewest >= MIN_UNITS:
        return ""
    draws = f"{MIN_UNITS - fewest} draw{'s' if MIN_UNITS - fewest > 1 else ''}"
    return f"an interval needs {MIN_UNITS} draws of each of these prompts: add {draws}; or {more.removeprefix('add ')}"


def by_prompt(readings: Readings, metric: str) -> Matrix:
    """Means over draws, (P, K); NaN where there is no value."""
    if metric in readings.groups:
        return readings.groups[metric].T
    values = readings.columns[metric]
    known = np.isfinite(values)
    place = readings.prompt[known] * len(readings.trials) + readings.trial[known]
    size = readings.prompts * len(readings.trials)
    counts = np.bincount(place, minlength=size)
    sums = np.bincount(place, weights=values[known], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(counts > 0, sums / counts, np.nan)).reshape(readings.prompts, -1)


def usable(sample: Sample, settings: Sequence[int], units: int | None = None) -> list[int]:
    """The settings that have values for at least half of the units that any has values for.

    Args:
        sample: of a metric.
        settings: positions.
        units: look at the first so many rows of the one stratum; None for all.

    Returns:
        Those that are not set aside: one that lacks values would take its prompts from all others.
    """
    counts = np.sum(
        [np.isfinite(s[:units] if len(sample.strata) == 1 else s).sum(axis=0) for s in sample.strata], axis=0
    )
    most = max((int(counts[k]) for k in settings), default=0)
    return [k for k in settings if counts[k] > 0 and counts[k] >= MIN_SHARE * most]


def _by_draw(readings: Readings, metric: str, prompt: int) -> Matrix:
    """Draws by settings, (D, K), of one prompt; a greedy text, and its value, is the same in every draw."""
    rows = np.flatnonzero(readings.prompt == prompt)
    draws = {int(d): i for i, d in enumerate(np.unique(readings.draw[rows]))}
    found = np.full((len(draws), len(readings.trials)), np.nan)
    for r in rows:
        found[draws[int(readings.draw[r])], readings.trial[r]] = readings.columns[metric][r]
    for k, trial in enumerate(readings.trials):
        known = found[np.isfinite(found[:, k]), k]
        if trial.params.greedy and not METRICS[metric].relative and len(known):
            found[:, k] = known[0]
    return found


def _target(study: Study, readings: Readings, aim: Aim) -> Matrix:
    """What is taken off each prompt's values, (P,); NaN where a prompt has no reference."""
    if aim.target is None:
        return np.zeros(readings.prompts)
    if aim.target != REFERENCE:
        return np.full(readings.prompts, float(aim.target))
    metric = METRICS[aim.metric]
    if not isinstance(metric, CompletionMetric):
        raise MetricError(
            "A metric held near a reference has a value for one text", metric.name, "Hold it near a number"
        )
    found = np.asarray(reference_values(study, readings.use_case, metric, readings.context))
    if not np.isfinite(found).any():
        step = "Give each prompt its `reference` and sweep again, or name a number under near"
        if study.fingerprint.served:
            step = "A server cannot score them: take another goal, for example `poise decide --raise distinct_2`"
        raise UseCaseError(
            f"To hold {metric.name} near the reference, prompts need reference texts", "none that was scored", step
        )
    return found


def _texts(readings: Readings, metric: str, prompts: Sequence[int]) -> int:
    """Texts behind the mean of a setting: those of the setting that has most."""
    if metric in readings.groups:
        return len(prompts)
    rows = np.isfinite(readings.columns[metric]) & np.isin(readings.prompt, prompts)
    return int(np.bincount(readings.trial[rows], minlength=len(readings.trials)).max(initial=1))
