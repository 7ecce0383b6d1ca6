"""What a dial will find and cost: the closed forms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.breakers import breakers_of
from poise.contests import Step
from poise.contests.moment import TINY, Values
from poise.law import History
from poise.motions import HEATED, motion
from poise.params import PARAMETERS, SamplingParams
from poise.sampler import no_numbers
from poise.sessions import LogitsEngine
from poise.spans import Span

POSITIONS = 8  # of the prompt, at most, whose next-token logits stand for those of the text
VALUES = 16  # of the parameter, at which a rate is worked out
UNFORETOLD = HEATED | {"xtc_probability"}  # beside these there is no closed form
COLDEST = 0.02  # below this temperature nearly nothing changes

Floats = NDArray[np.float64]


class Forecast(NamedTuple):
    """What to expect of one dial.

    Args:
        changes: of the winner at one step, over the whole range.
        pieces: 1 + L·changes.
        rows: L + L²·changes/2.
    """

    changes: float
    pieces: float
    rows: float


def forecasts(
    engine: LogitsEngine, prompt_ids: Sequence[int], moving: tuple[str, SamplingParams], spans: Sequence[Span],
    length: int,
) -> list[Forecast] | None:  # fmt: skip
    """Expected pieces and rows of stretches of a dial, from the prompt's own next-token logits, read in one pass.

    Args:
        engine: a logits engine.
        prompt_ids: as fed to the model.
        moving: the parameter that moves, and the others.
        spans: the stretches.
        length: new tokens of the text, L.

    Returns:
        A forecast for each; None where there is no closed form, as for what is not monotone, or jumps.

    Raises:
        EngineError: the model gives logits that are no numbers.

    Source: docs/method.md, section "What to expect".
    """
    parameter, fixed = moving
    if motion(parameter, fixed).kind in ("values", "bounds", "never") or UNFORETOLD & {*fixed.steps}:
        return None
    first = max(0, len(prompt_ids) - POSITIONS - 1)
    lead, rest = tuple(prompt_ids[: first + 1]), tuple(prompt_ids[first + 1 :])
    if not rest:  # a prompt of one token: its own next-token logits
        lead, rest = lead, lead
    logits = engine.session(len(prompt_ids) + len(rest), 2).score(lead, rest)
    if not np.all(np.isfinite(engine.law.normaliser(logits))):
        raise no_numbers(len(prompt_ids), 0)
    breakers = breakers_of(engine, fixed, parameter)
    said = [History(lead, rest[:row], breakers) for row in range(len(rest))]
    steps = [Step(engine.law, logits, row, (h, frozenset()), moving) for row, h in enumerate(said)]
    return [_forecast(float(np.mean([changes(s, span) for s in steps])), span, parameter, length) for span in spans]


def _forecast(rate: float, span: Span, parameter: str, length: int) -> Forecast:
    """The closed forms; of whole numbers there cannot be more pieces than numbers."""
    most = span.extent(whole=True) if PARAMETERS[parameter].kind == "int" else np.inf
    pieces, rows = 1 + length * rate, length + rate * length**2 / 2
    return Forecast(rate, min(pieces, most), min(rows, length * most))


def changes(step: Step, span: Span) -> float:
    """Expected number of times that one step's winner changes along a stretch.

    Args:
        step: the step.
        span: the stretch.

    Returns:
        The expectation over the noise.
    """
    stage = PARAMETERS[step.parameter].stage
    if stage == "truncation":
        return _records(step, span)
    low = max(span.low.value, COLDEST) if stage == "temperature" else span.low.value
    if low >= span.high.value:
        return 0.0
    values = np.linspace(low, span.high.value, VALUES)
    if stage == "temperature" and motion(step.parameter, step.fixed).kind == "lines":
        return _rates_of_heat(step, values)
    rows = step.under([step.at(float(v)) for v in values])
    found = float(np.trapezoid([_rate(step, float(v), row) for v, row in zip(values, rows, strict=True)], values))
    return found + (_entries(values, rows) if stage == "temperature" else 0.0)


def _rates_of_heat(step: Step, values: Floats) -> float:
    """φ(T) = E|l_i - l_j| / 2T² over a kept set that stays: the logits are sorted once for all temperatures."""
    logits = np.sort(step.values[np.isfinite(step.values)])
    apart, rates = np.diff(logits).astype(np.float64), []
    for value in values:
        p = np.cumsum(np.exp((logits - logits[-1]) / logits.dtype.type(value)), dtype=np.float64)
        below = p[:-1] / p[-1]
        rates.append(float(np.dot(below * (1 - below), apart)) / value**2)
    return float(np.trapezoid(rates, values))


def _entries(values: Floats, rows: Sequence[Values]) -> float:
    """Who enters a growing set wins at once with its probability there: Σ p_i(T_i)."""
    total = 0.0
    for value, before, row in zip(values[1:], rows, rows[1:], strict=False):
        new = np.isfinite(row) & ~np.isfinite(before)
        if new.any():
            p = np.exp((row.astype(np.float64) - float(row.max())) / value)
            total += float(p[new].sum() / p.sum())
    return total


def _rate(step: Step, value: float, left: Values) -> float:
    """½ Σ p_i p_j |r_i - r_j|, with r the derivative of a token's score over the temperature."""
    kept = np.flatnonzero(np.isfinite(left))
    logits = left[kept].astype(np.float64)
    heat = value if step.parameter == "temperature" else step.temperature
    if heat == 0:
        return 0.0
    p = np.exp((logits - logits.max()) / heat)
    p /= p.sum()
    slope = _slopes(step, kept, logits, value, heat)
    order = np.argsort(slope)
    below = np.cumsum(p[order])[:-1]
    return float(np.sum(below * (1 - below) * np.diff(slope[order])))


def _slopes(step: Step, ids: NDArray[np.intp], logits: Floats, value: float, heat: float) -> Floats:
    if step.parameter == "temperature":
        return -logits / heat**2
    effect = step.effect[ids]
    if step.parameter == "repetition_penalty":
        return np.where(effect != 1.0, np.where(logits > 0, -logits / value, logits / value), 0.0) / heat
    return effect / heat


def _records(step: Step, span: Span) -> float:
    """Σ p_k / P_k over the tokens that enter: the expected number of records of a growing set."""
    heat = step.temperature
    if heat == 0:
        return 0.0
    ends = step.under([step.at(span.low.value), step.at(span.high.value)])
    small, large = sorted((np.isfinite(e) for e in ends), key=np.sum)
    logits = np.where(large, step.values, -np.inf).astype(np.float64)
    p = np.exp((logits - logits.max()) / heat)
    p /= p.sum()
    new = np.flatnonzero(large & ~small)
    order = new[np.argsort(-logits[new], kind="stable")]
    total = float(p[small & large].sum()) + np.cumsum(p[order])
    return float(np.sum(p[order] / np.maximum(total, TINY)))
