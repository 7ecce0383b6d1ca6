"""One step of one text, under every value of a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from poise import draws, noise
from poise.draws import NoiseRow
from poise.law import History
from poise.motions import motion
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import with_value
from poise.sessions import Law, Logits
from poise.spans import Cut, Span

Floats = NDArray[np.float64]
Values = NDArray[np.floating[Any]]

NEAR = 5.0  # logits below the top within which noise is always looked at; any value is exact
TINY = 1e-9  # where the limit of temperature 0 is looked at: above it no two float32 logits tie


class Step:
    """One step of one text, whatever the draw: its logits, and what several draws ask of them, worked out once.

    Args:
        law: the engine's.
        logits: the engine's array, (B, V).
        row: this text's row in it.
        history: what was said before.
        barred: tokens cut first.
        parameter: the one that moves.
        fixed: the others; the moving one is off.
        values: the row under `base_law`, (V,), -inf where cut.
    """

    def __init__(
        self,
        law: Law,
        logits: Logits,
        row: int,
        said: tuple[History, frozenset[int]],
        moving: tuple[str, SamplingParams],
        values: Values | None = None,
    ) -> None:
        self.law, self.logits, self.row = law, logits, row
        self.history, self.barred = said
        self.parameter, self.fixed = moving
        self.values = self.under([base_law(*moving)])[0] if values is None else values

    @classmethod
    def many(
        cls,
        law: Law,
        logits: Logits,
        moving: tuple[str, SamplingParams],
        said: Sequence[tuple[History, frozenset[int]]],
    ) -> list[Step]:
        """A step for each row of `logits`, (B, V), reshaped at once."""
        n = len(said)
        made = law.reshape(logits, range(n), [base_law(*moving)] * n, [h for h, _ in said], [b for _, b in said])
        return [cls(law, logits, b, said[b], moving, made.values[b]) for b in range(n)]

    def under(self, settings: Sequence[SamplingParams]) -> list[Values]:
        """The remaining logits under each setting, (V,) each, -inf where cut."""
        n = len(settings)
        made = self.law.reshape(self.logits, [self.row] * n, settings, [self.history] * n, [self.barred] * n)
        return list(made.values)

    def at(self, value: float) -> SamplingParams:
        """The whole law at a value of the parameter."""
        whole = PARAMETERS[self.parameter].kind == "int"
        return with_value(self.fixed, self.parameter, round(value) if whole else value)

    @property
    def temperature(self) -> float:
        """The fixed temperature."""
        return float(self.fixed.active().get("temperature", 1.0))

    @cached_property
    def top(self) -> float:
        """The largest of `values`."""
        return float(self.values.max())

    @cached_property
    def near(self) -> NDArray[np.bool_]:
        """Which tokens lie within `NEAR` of the top, (V,)."""
        return np.asarray(self.values >= self.values.dtype.type(self.top - NEAR))

    @cached_property
    def zero(self) -> int:
        """The winner at temperature 0."""
        return draws.greedy(self.under([with_value(self.fixed, "temperature", 0.0)])[0])


class Moment(NamedTuple):
    """A step of one draw: the logits, and the noise that they meet."""

    step: Step
    noise: NoiseRow


def base_law(parameter: str, fixed: SamplingParams) -> SamplingParams:
    """What can be done to a row before the parameter moves: penalties, and cuts that a temperature leaves alone."""
    on = fixed.active()
    keeps = {"penalty"}
    if parameter == "temperature" and motion(parameter, fixed).kind == "lines":
        keeps.add("truncation")
    kept = {n: v for n, v in on.items() if PARAMETERS[n].stage in keeps}
    return SamplingParams.model_validate({**kept, "dialect": fixed.dialect})


class Part(NamedTuple):
    """A stretch on which one token wins.

    Args:
        span: the stretch.
        token: the winner; None where it could not be proved.
        rivals: lines (offset, slope) whose smallest value at a parameter value is how far the winner's score
            lies ahead there.
    """

    span: Span
    token: int | None
    rivals: tuple[tuple[float, float], ...] = ()


class Contest(Protocol):
    """The winner of one step, asked at values, and where it changes.

    `slack` is how far off, in relation to a value, a change may lie; the winners on its sides are asked there.
    """

    slack: float

    def winner(self, value: float) -> int:
        """The token that the law draws at a value."""
        ...

    def change(self, left: int, right: int, span: Span) -> Cut:
        """Where `right` takes over from `left` inside a stretch that one wins at its start, the other at its end."""
        ...

    def doubt(self, token: int, span: Span) -> float | None:
        """A value where somebody else may win although `token` wins at both ends; None where that is impossible."""
        ...

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """See `Part`."""
        ...


def crossing(moment: Moment, span: Span, value: float, left: int, right: int) -> Cut:
    """The cut at a value where two scores meet but for rounding: on the side that the law's own arithmetic says.

    Args:
        moment: the step.
        span: the stretch that they meet in.
        value: of the moving parameter, where a formula says they meet.
        left, right: the winners below and above; of equals the lower id wins.

    Returns:
        The cut.
    """
    if not span.low.value < value < span.high.value:  # meets at an end, or beyond it
        return Cut(value, after=left < right)
    step = moment.step
    made = step.law.reshape(step.logits, [step.row], [step.at(value)], [step.history], [step.barred])
    g = noise.gumbel(moment.noise.words[[left, right]]) * float(made.scale[0])
    scores = [float(made.values[0][token]) + float(x) for token, x in zip((left, right), g, strict=True)]
    return Cut(value, after=scores[0] > scores[1] or (scores[0] == scores[1] and left < right))


def lead(values: Values, scale: float, row: NoiseRow, token: int) -> float:
    """How far a token's score lies ahead of all others'.

    Args:
        values: remaining logits, (V,), -inf where cut.
        scale: the temperature, 0 for greedy.
        row: the step's noise.
        token: the winner.

    Returns:
        The lead, in logits; infinite where nobody else is left.
    """
    rest = values.copy()
    rest[token] = -np.inf
    if not np.isfinite(rest.max()):
        return math.inf
    other = draws.greedy(rest) if scale == 0 else int(draws.winners(rest, np.array([scale]), row)[0])
    g = noise.gumbel(row.words[[token, other]]) * scale if scale else np.zeros(2)
    return float(values[token] + g[0]) - float(rest[other] + g[1])
