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
from poise.law import History, State, heat, reshape
from poise.motions import before, is_cut, is_penalty, motion, moving_step
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import with_value
from poise.sessions import Law, Logits, Reshaped
from poise.spans import Cut, Span

Floats = NDArray[np.float64]
Values = NDArray[np.floating[Any]]

NEAR = 5.0  # logits below the top within which noise is always looked at; any value is exact
TINY = 1e-9  # where the limit of temperature 0 is looked at: above it no two float32 logits tie


class Said(NamedTuple):
    """What a step depends on besides its logits.

    Args:
        history: what was said before.
        barred: tokens cut first.
        struck: whether XTC strikes, where its probability does not move.
    """

    history: History
    barred: frozenset[int] = frozenset()
    struck: bool = True


class Step:
    """One step of one text, whatever the draw: its logits, and what several draws ask of them, worked out once.

    Args:
        law: the engine's.
        logits: the engine's array, (B, V).
        row: this text's row in it.
        said: what else it depends on, as `Said`.
        moving: the parameter that moves, and the others; the moving one is off.
        values: the row under `base_law`, (V,), -inf where cut.
    """

    def __init__(
        self,
        law: Law,
        logits: Logits,
        row: int,
        said: Said | tuple[History, frozenset[int]],
        moving: tuple[str, SamplingParams],
        values: Values | None = None,
    ) -> None:
        self.law, self.logits, self.row = law, logits, row
        self.history, self.barred, self.struck = Said(*said)
        self.parameter, self.fixed = moving
        self.values = self.under([base_law(*moving)])[0] if values is None else values
        self.changes: tuple[int, ...] | None = None  # whole numbers at which it changes; see `contests.values`

    @classmethod
    def many(cls, law: Law, logits: Logits, moving: tuple[str, SamplingParams], rows: Sequence[int],
             said: Sequence[Said]) -> list[Step]:  # fmt: skip
        """A step for each of `rows` of `logits`, (B, V), reshaped at once."""
        states = [State(s.struck) for s in said]
        laws = [base_law(*moving)] * len(rows)
        made = law.reshape(logits, rows, laws, [s.history for s in said], [s.barred for s in said], states)
        return [cls(law, logits, b, said[j], moving, made.values[j]) for j, b in enumerate(rows)]

    def made(self, settings: Sequence[SamplingParams], struck: bool | None = None) -> Reshaped:
        """The row under each setting; `struck` where it is not the step's own."""
        n = len(settings)
        state = State(self.struck if struck is None else struck)
        return self.law.reshape(
            self.logits, [self.row] * n, settings, [self.history] * n, [self.barred] * n, [state] * n
        )

    def under(self, settings: Sequence[SamplingParams]) -> list[Values]:
        """The remaining logits under each setting, (V,) each, -inf where cut."""
        return list(self.made(settings).values)

    def at(self, value: float) -> SamplingParams:
        """The whole law at a value of the parameter."""
        whole = PARAMETERS[self.parameter].kind == "int"
        return with_value(self.fixed, self.parameter, round(value) if whole else value)

    @property
    def temperature(self) -> float:
        """The fixed temperature, as the dialect takes it."""
        return heat(self.fixed)

    def heat_at(self, value: float) -> float:
        """A value of the temperature as the dialect takes it, 0 for greedy."""
        rules = self.fixed.how.rules
        return 0.0 if value == 0 or value < rules.greedy_below else max(value, rules.temperature_floor)

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

    @cached_property
    def effect(self) -> Floats:
        """What the moving penalty alone makes of logits of 1 at the value 2, and of 0 at 1 where it adds, (V,)."""
        size = self.values.size
        if self.parameter == "repetition_penalty":
            return reshape(np.ones(size), self.at(2.0).only([self.parameter]), self.history)
        return reshape(np.zeros(size), self.at(1.0).only([self.parameter]), self.history)


class Moment(NamedTuple):
    """A step of one draw: the logits, and the noise that they meet."""

    step: Step
    noise: NoiseRow

    def at(self, value: float) -> tuple[Values, float]:
        """What is left at a value of the moving parameter, (V,), and the scale of the noise."""
        struck = self.noise.coin < value if self.step.parameter == "xtc_probability" else None
        made = self.step.made([self.step.at(value)], struck)
        return made.values[0], float(made.scale[0])

    def drawn(self, value: float) -> int:
        """The token that the law draws at a value."""
        return self.drawn_of(*self.at(value))

    def drawn_of(self, values: Values, scale: float) -> int:
        """The token that a row and a scale give."""
        return draws.greedy(values) if scale == 0 else int(draws.winners(values, np.array([scale]), self.noise)[0])


def base_law(parameter: str, fixed: SamplingParams) -> SamplingParams:
    """What can be done to a row before the parameter moves: penalties, and cuts that it leaves alone."""
    kept = [n for n in fixed.steps if n != parameter and is_penalty(n)]
    if parameter == "temperature" and motion(parameter, fixed).kind == "lines":
        kept = [n for n in fixed.steps if n != parameter]
    elif PARAMETERS[parameter].stage == "penalty":
        mine = moving_step(parameter, fixed)
        kept = [n for n in kept if n != mine] + [n for n in before(parameter, fixed) if is_cut(n)]
    return fixed.only(kept)


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
    values, scale = moment.at(value)
    g = noise.gumbel(moment.noise.words[[left, right]]) * scale
    scores = [float(values[token]) + float(x) for token, x in zip((left, right), g, strict=True)]
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
