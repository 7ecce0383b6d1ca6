"""Which parameters matter: shares of the variation between settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.stats import MIN_UNITS, t_quantile

Matrix = NDArray[np.float64]
_ROUNDING = 1e-12  # of the values: what the last bits may differ by


class Effect(NamedTuple):
    """How much of the variation between settings goes with one parameter.

    Args:
        parameter: its name; ``together`` for what no parameter explains alone.
        share: of the variation between the settings' true means, 0 to 1.
        low, high: 95 % interval over the prompts; None below 8 prompts.
    """

    parameter: str
    share: float
    low: float | None
    high: float | None


def explain(values: Matrix, settings: Mapping[str, Sequence[object]]) -> list[Effect]:
    """Share the variation between settings out among the parameters that vary.

    A parameter's share is what the fit of the settings' means loses when it alone is left out of a sum of one
    effect per value; on a full grid that is the sum of squares of its main effect. Noise makes such sums too
    large: what it adds on average, known from the spread over prompts, is taken off. Intervals are jackknifed.

    Args:
        values: (P, K), P at least 2: per prompt and setting.
        settings: per varied parameter its value in each of the K settings.

    Returns:
        One effect per parameter and one for what they do together, largest first; empty where the settings
        vary no more than noise does.

    Source: Searle 1971 (unbiased sums of squares); Quenouille 1956 (jackknife).
    """
    parts = _projections(settings, values.shape[1])
    whole = _shares(values, parts)
    if whole is None:
        return []
    count = len(values)
    without = [_shares(np.delete(values, i, axis=0), parts) for i in range(count)] if count >= MIN_UNITS else []
    kept = np.array([w for w in without if w is not None])
    found = []
    for j, name in enumerate(parts):
        low = high = None
        if len(kept) == count and count >= MIN_UNITS:
            pseudo = count * whole[j] - (count - 1) * kept[:, j]
            reach = t_quantile(0.975, count - 1) * pseudo.std(ddof=1) / count**0.5
            low, high = (float(min(max(whole[j] + s * reach, 0.0), 1.0)) for s in (-1, 1))
        found.append(Effect(name, float(min(max(whole[j], 0.0), 1.0)), low, high))
    return sorted(found, key=lambda e: -e.share)


def _projections(settings: Mapping[str, Sequence[object]], count: int) -> dict[str, Matrix]:
    """Per parameter the projection whose sum of squares is its own; and the rest's."""
    columns = {name: _dummies(said) for name, said in settings.items()}
    everything = _onto(np.hstack([np.ones((count, 1)), *columns.values()]))
    found = {}
    for name in columns:
        others = [c for n, c in columns.items() if n != name]
        found[name] = everything - _onto(np.hstack([np.ones((count, 1)), *others]))
    found["together"] = np.eye(count) - everything
    return found


def _dummies(said: Sequence[object]) -> Matrix:
    known = list(dict.fromkeys(said))
    return np.array([[float(value == k) for k in known] for value in said])


def _onto(columns: Matrix) -> Matrix:
    return np.asarray(columns @ np.linalg.pinv(columns))


def _shares(values: Matrix, parts: Mapping[str, Matrix]) -> Matrix | None:
    """Each part's sum of squares over all of them, noise taken off; None where nothing is left."""
    count, settings = values.shape
    mean = values.mean(axis=0)
    noise = np.cov(values, rowvar=False, ddof=1).reshape(settings, settings) / count
    centre = np.eye(settings) - 1 / settings
    mean = mean - mean.mean()  # else equal means differ by what rounding leaves of their squares
    total = float(mean @ mean - np.trace(centre @ noise))
    if total <= (_ROUNDING * np.abs(values).max()) ** 2:
        return None
    return np.array([(mean @ part @ mean - np.trace(part @ noise)) / total for part in parts.values()])
