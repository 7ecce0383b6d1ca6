"""Kept sets that only grow, or only shrink, as a parameter moves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from scipy import optimize

from poise import noise
from poise.contests.moment import TINY, Floats, Moment, Values, crossing, lead
from poise.contests.splits import inside
from poise.law import ROUNDING, probabilities
from poise.motions import Motion, before
from poise.params import PARAMETERS
from poise.spans import Cut, Span

CLOSE = 1e-13  # the law's own border is looked for this far to either side of a formula's
SHRINKING = frozenset({"min_p", "epsilon_cutoff", "eta_cutoff", "top_a"})  # all others grow
HALVINGS = 200  # at most; float64 has none left after some 60


class Nested:
    """The law itself tells the winner at a value; who enters or leaves in between is found by its border.

    Args:
        moment: the step.
        how: its mechanism, ``nested`` or ``rays``: of the latter scores are lines in the parameter as well.
    """

    slack = 0.0

    def __init__(self, moment: Moment, how: Motion) -> None:
        self.step, self.noise = moment
        self.rays = how.kind == "rays"
        self.shrinks = moment.step.parameter in SHRINKING
        self.whole = PARAMETERS[moment.step.parameter].kind == "int"
        self.moment = moment
        self._seen: dict[float, tuple[Values, float]] = {}

    def _made(self, value: float) -> tuple[Values, float]:
        """What the law leaves at a value, (V,), and the scale of the noise."""
        value = max(value, TINY) if self.rays and value > 0 else value
        if value not in self._seen:
            self._seen[value] = self.moment.at(value)
        return self._seen[value]

    def winner(self, value: float) -> int:
        """See `contests.Contest`."""
        return self.moment.drawn_of(*self._made(value))

    def change(self, left: int, right: int, span: Span) -> Cut:
        """Where the right one enters, or the left one leaves; for rays no earlier than their lines cross."""
        if not self.rays:
            return self._border(left if self.shrinks else right, span)
        row = self._made(inside(span, False)[1])[0]
        ahead = float(row[left]) - float(row[right])
        g = noise.gumbel(self.noise.words[[left, right]])
        meet = ahead / float(g[1] - g[0]) if g[0] != g[1] else span.middle
        border = self._border(right, span)
        if border.value > meet:
            return border
        return max(border, crossing(self.moment, span, meet, left, right))

    def doubt(self, token: int, span: Span) -> float | None:
        """Never: who is there in between is there at one end, and lost; of rays, see docs/method.md."""
        return None

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """How far ahead the winner is in the middle."""
        middle = float(math.floor(span.middle)) if self.whole else span.middle
        values, scale = self._made(middle)
        ahead = lead(values, scale, self.noise, token)
        return ((ahead, 0.0),) if math.isfinite(ahead) else ()

    def _border(self, token: int, span: Span) -> Cut:
        """Where a token enters or leaves inside a stretch; its start where it is there all along."""
        low, high = inside(span, self.whole)
        low = max(low, TINY) if self.rays else low
        if self._there(low, token) != self.shrinks:
            return span.high if self.shrinks else span.low
        if self.whole:
            return Cut(float(self._halve_whole(token, int(low), int(high))))
        low, high = self._bracket(token, low, high)
        for _ in range(HALVINGS):
            middle = low + (high - low) / 2
            if not low < middle < high:
                break
            low, high = (middle, high) if self._there(middle, token) == self.shrinks else (low, middle)
        return Cut(low, after=True) if self.shrinks else Cut(high)

    def _bracket(self, token: int, low: float, high: float) -> tuple[float, float]:
        """Values close to the formula's border between which the law decides otherwise; the given ones without it.

        The law's own border is then halved out to the float: a formula may be some floats off, and where the same
        logits come again later in a text, a cut beside the law's own would leave a piece that no value draws.
        """
        guess = _formula(self, token)
        if guess is None or not low < guess < high:
            return low, high
        reach = 2 * float(np.spacing(guess))
        while reach <= CLOSE * max(1.0, guess):
            sides = max(low, guess - reach), min(high, guess + reach)
            if self._there(sides[0], token) == self.shrinks != self._there(sides[1], token):
                return sides
            reach *= 8
        return low, high

    def _there(self, value: float, token: int) -> bool:
        return bool(np.isfinite(self.moment.at(value)[0][token]))

    def _halve_whole(self, token: int, low: int, high: int) -> int:
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._there(middle, token) else (middle, high)
        return high


def _formula(contest: Nested, token: int) -> float | None:
    """Where a token enters or leaves if nothing else interferes; the law then decides whether that holds."""
    step = contest.step
    [row] = step.under([step.fixed.only(before(step.parameter, step.fixed))])
    z = row.astype(np.float64)
    if contest.rays:
        return _formula_of_rays(z, token, step.fixed.active())
    if "temperature" in before(step.parameter, step.fixed):
        z = z / (step.temperature or 1.0)
    return _BORDERS[step.parameter](z, token) if step.parameter in _BORDERS else None


def _border_of_min_p(z: Floats, token: int) -> float:
    return math.exp(z[token] - z.max())


def _border_of_top_p(z: Floats, token: int) -> float:
    return float(probabilities(z)[_ahead(z, token)].sum()) + ROUNDING


def _border_of_typical_p(z: Floats, token: int) -> float:
    weights = probabilities(z)
    with np.errstate(divide="ignore"):
        surprise = -np.log(weights)
    shift = np.abs(surprise - float(np.sum(weights[weights > 0] * surprise[weights > 0])))
    return float(weights[shift < shift[token]].sum()) + ROUNDING


def _border_of_top_n_sigma(z: Floats, token: int) -> float:
    sigma = float(np.std(z[np.isfinite(z)]))
    return (float(z.max()) - float(z[token])) / sigma if sigma else math.inf


def _border_of_epsilon(z: Floats, token: int) -> float:
    return float(probabilities(z)[token])


def _border_of_eta(z: Floats, token: int) -> float:
    p = probabilities(z)
    spread = float(np.exp(-np.sum(p[p > 0] * np.log(p[p > 0]))))  # e^H
    return max(float(p[token]), (float(p[token]) * spread) ** 2)


def _border_of_top_a(z: Floats, token: int) -> float:
    p = probabilities(z)
    return float(p[token] / p.max() ** 2)


def _border_of_xtc(z: Floats, token: int) -> float | None:
    """Above the probability of the next token below it there is none left to go down to."""
    behind = z[_ahead(-z, token)]
    return float(np.exp(behind.max() - z.max()) / np.exp(z - z.max()).sum()) if behind.size else None


_BORDERS: Mapping[str, Callable[[Floats, int], float | None]] = {
    "min_p": _border_of_min_p,
    "top_p": _border_of_top_p,
    "typical_p": _border_of_typical_p,
    "top_n_sigma": _border_of_top_n_sigma,
    "epsilon_cutoff": _border_of_epsilon,
    "eta_cutoff": _border_of_eta,
    "top_a": _border_of_top_a,
    "xtc_threshold": _border_of_xtc,
}


def _formula_of_rays(z: Values, token: int, on: dict[str, float | int]) -> float | None:
    """The temperature from which min-p and top-p keep a token: the later of the two."""
    found = []
    if 0 < on.get("min_p", 0) < 1:
        found.append((float(z.max()) - float(z[token])) / -math.log(on["min_p"]))
    if "top_p" in on:
        left = np.sort(z[np.isfinite(z)])[::-1]
        if "top_k" in on:
            left = left[left >= left[min(int(on["top_k"]), left.size) - 1]]
        ahead = z[_ahead(z, token)] - left[0]
        left = left - left[0]
        goal = float(on["top_p"]) - ROUNDING

        def excess(temperature: float) -> float:
            return float(np.exp(ahead / temperature).sum() / np.exp(left / temperature).sum()) - goal

        if excess(TINY) > 0 > excess(1e6):
            found.append(float(optimize.brentq(excess, TINY, 1e6, xtol=1e-15, rtol=1e-15)))
    return max(found, default=None)


def _ahead(z: Values, token: int) -> np.ndarray:
    """Which tokens come before one: likelier ones, and of equals the lower ids, (V,)."""
    return np.asarray((z > z[token]) | ((z == z[token]) & (np.arange(z.size) < token)))
