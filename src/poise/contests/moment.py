"""One step of one text, under every value of a parameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from poise import draws, noise
from poise.draws import NoiseRow
from poise.law import History
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import with_value
from poise.sessions import Law, Logits
from poise.spans import Cut, Span

Floats = NDArray[np.float64]
Values = NDArray[np.floating[Any]]

TINY = 1e-9  # where the limit of temperature 0 is looked at: above it no two float32 logits tie


class Moment(NamedTuple):
    """One step of one text, under every value of a parameter.

    Args:
        law: the engine's.
        logits: the engine's array, (B, V).
        row: this text's row in it.
        history: what was said before.
        barred: tokens cut first.
        noise: the step's noise.
        parameter: the one that moves.
        fixed: the others; the moving one is off.
    """

    law: Law
    logits: Logits
    row: int
    history: History
    barred: frozenset[int]
    noise: NoiseRow
    parameter: str
    fixed: SamplingParams

    def values(self, settings: Sequence[SamplingParams]) -> list[Values]:
        """The remaining logits under each setting, (V,) each, -inf where cut."""
        n = len(settings)
        reshaped = self.law.reshape(self.logits, [self.row] * n, settings, [self.history] * n, [self.barred] * n)
        return list(reshaped.values)

    @property
    def temperature(self) -> float:
        """The fixed temperature."""
        return float(self.fixed.active().get("temperature", 1.0))

    def at(self, value: float) -> SamplingParams:
        """The whole law at a value of the parameter."""
        whole = PARAMETERS[self.parameter].kind == "int"
        return with_value(self.fixed, self.parameter, round(value) if whole else value)


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
