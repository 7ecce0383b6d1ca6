"""Moving penalties: tokens said before move, all others stay."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from poise import draws, noise
from poise.contests.lines import Field, Lines
from poise.contests.moment import Floats, Moment, Values, crossing
from poise.motions import before
from poise.spans import Cut, Span


class Push:
    """A penalty that is subtracted: tokens said before move on lines, of all others only the best counts.

    Args:
        moment: the step.
    """

    slack = 0.0

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        slope = moment.step.effect
        said = np.flatnonzero(slope)
        ids, base, slope = _candidates(moment.step.values, said, slope[said], moment)
        self._lines = Lines(Field(ids, base, slope))

    def winner(self, value: float) -> int:
        """See `Contest`."""
        return self._lines.winner(value)

    def change(self, left: int, right: int, span: Span) -> Cut:
        """See `Lines`; which side the crossing itself lies on is the law's to say."""
        return crossing(self.moment, span, self._lines.change(left, right, span).value, left, right)

    def doubt(self, token: int, span: Span) -> float | None:
        """See `Lines`."""
        return None

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """See `Lines`."""
        return self._lines.rivals(token, span)


def _candidates(
    values: Values, seen: NDArray[np.intp], slope: Floats, moment: Moment
) -> tuple[NDArray[np.intp], Floats, Floats]:
    """Candidates: the seen tokens with their slopes, and the best of all others; noise is in the base."""
    live = np.isfinite(values[seen])
    seen, slope = seen[live], slope[live]
    rest = values.copy()
    rest[seen] = -np.inf
    ids = seen
    if np.isfinite(rest.max()):
        scale = moment.step.temperature
        best = draws.greedy(rest) if scale == 0 else int(draws.winners(rest, np.array([scale]), moment.noise)[0])
        ids, slope = np.append(seen, best), np.append(slope, 0.0)
    order = np.argsort(ids)
    ids, slope = ids[order], slope[order]
    return ids, values[ids].astype(np.float64) + heard(moment, ids), slope


def heard(moment: Moment, ids: NDArray[np.intp]) -> Floats:
    """The noise of some tokens at the fixed temperature."""
    scale = moment.step.temperature
    return np.zeros(ids.size) if scale == 0 else scale * noise.gumbel(moment.noise.words[ids])


class Repeat:
    """The repetition penalty r: seen tokens score l/r where l > 0 and l·r where l < 0, all others stay.

    Scores of seen tokens only fall as r grows, so a winner at both ends can lose in between in one way
    alone: when it is seen and positive, to one that is seen and negative.

    Args:
        moment: the step.
    """

    slack = 0.0

    def __init__(self, moment: Moment) -> None:
        self.moment = moment
        step = moment.step
        seen = np.flatnonzero(step.effect != 1.0)
        [raw] = step.under([step.fixed.only(before(step.parameter, step.fixed))])
        rest = step.values  # what is added after it is done, as it stands beside it
        ids, base, mark = _candidates(rest, seen, np.ones(seen.size), moment)
        logits = raw[ids].astype(np.float64)
        self.ids, self.seen = ids, mark == 1.0
        self.over = np.where(self.seen & (logits >= 0), logits, 0.0)  # divided by r
        self.under = np.where(self.seen & (logits < 0), logits, 0.0)  # multiplied by r
        self.still = base - np.where(self.seen, logits, 0.0)

    def _scores(self, value: float) -> Floats:
        return np.asarray(self.over / value + self.under * value + self.still)

    def winner(self, value: float) -> int:
        """See `Contest`."""
        return int(self.ids[np.argmax(self._scores(value))])

    def change(self, left: int, right: int, span: Span) -> Cut:
        """A root of over/r + under·r + still, of the difference of the two."""
        i, j = (int(np.searchsorted(self.ids, t)) for t in (left, right))
        a, b, c = (float(x[j] - x[i]) for x in (self.under, self.still, self.over))
        roots = [r for r in _roots(a, b, c) if span.low.value <= r <= span.high.value]
        return crossing(self.moment, span, roots[0] if roots else span.middle, left, right)

    def doubt(self, token: int, span: Span) -> float | None:
        """Where a seen negative token is the farthest ahead of a seen positive winner, if it is at all."""
        i = int(np.searchsorted(self.ids, token))
        if self.over[i] <= 0:
            return None
        rivals = np.flatnonzero(self.under < 0)
        at = np.clip(np.sqrt(self.over[i] / -self.under[rivals]), span.low.value, span.high.value)
        ahead = self.under[rivals] * at + self.still[rivals] - (self.over[i] / at + self.still[i])
        worst = int(np.argmax(ahead)) if rivals.size else 0
        value = float(at[worst]) if rivals.size and ahead[worst] > 0 else None
        return value if value is not None and span.low.value < value < span.high.value else None

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """How far ahead the winner is in the middle."""
        if self.ids.size < 2:
            return ()
        scores = self._scores(span.middle)
        i = int(np.searchsorted(self.ids, token))
        own, scores[i] = float(scores[i]), -np.inf
        return ((own - float(scores.max()), 0.0),)


def _roots(a: float, b: float, c: float) -> list[float]:
    """Positive r with a·r² + b·r + c = 0."""
    if a == 0:
        return [-c / b] if b != 0 and -c / b > 0 else []
    inner = b * b - 4 * a * c
    if inner < 0:
        return []
    q = -(b + math.copysign(math.sqrt(inner), b)) / 2
    return sorted(r for r in (q / a, c / q if q else 0.0) if r > 0)
