"""Scores that are lines in the parameter: their upper envelope."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import noise
from poise.contests.moment import NEAR, TINY, Floats, Moment
from poise.spans import Cut, Span


class Field(NamedTuple):
    """Candidates whose scores are lines: score i at value x is `base[i] + x * slope[i]`.

    Args:
        ids: tokens, ascending, (n,).
        base, slope: (n,).
    """

    ids: NDArray[np.intp]
    base: Floats
    slope: Floats

    def scores(self, values: Floats) -> Floats:
        """(k, n)."""
        return np.asarray(self.base + values[:, None] * self.slope)


class Lines:
    """Scores are lines in the parameter: their upper envelope."""

    slack = 0.0

    def __init__(self, field: Field) -> None:
        self.field = field

    def winner(self, value: float) -> int:
        """See `Contest`."""
        return int(self.field.ids[np.argmax(self.field.base + value * self.field.slope)])

    def change(self, left: int, right: int, span: Span) -> Cut:
        """Where the two lines cross; there the higher score wins, and of equals the lower id."""
        i, j = (int(np.searchsorted(self.field.ids, t)) for t in (left, right))
        base, slope = self.field.base, self.field.slope
        at = float((base[i] - base[j]) / (slope[j] - slope[i])) if slope[i] != slope[j] else span.middle
        ahead = float((base[i] + at * slope[i]) - (base[j] + at * slope[j]))
        return Cut(at, after=ahead > 0 or (ahead == 0 and left < right))

    def doubt(self, token: int, span: Span) -> float | None:
        """Never: a line above all others at both ends is above them in between."""
        return None

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """The runners-up at both ends and in the middle."""
        f = self.field
        if f.ids.size < 2:
            return ()
        i = int(np.searchsorted(f.ids, token))
        scores = f.scores(np.array([span.low.value, span.middle, span.high.value]))
        scores[:, i] = -np.inf
        seconds = {int(j) for j in scores.argmax(axis=1)}
        return tuple((float(f.base[i] - f.base[j]), float(f.slope[i] - f.slope[j])) for j in seconds)


class Heat:
    """Temperature over a kept set that it does not change: lines, few of which can matter.

    Args:
        moment: the step.
    """

    slack = 0.0

    def __init__(self, moment: Moment) -> None:
        self.step, self.row = moment
        self._all = self.row.loud.size == self.step.values.size
        chosen = self.step.near.copy()
        chosen[self.row.loud] = True
        self._take(np.flatnonzero(chosen))

    def _take(self, ids: NDArray[np.intp]) -> None:
        ids = ids[np.isfinite(self.step.values[ids])]
        self._lines = Lines(Field(ids, self.step.values[ids].astype(np.float64), noise.gumbel(self.row.words[ids])))

    def winner(self, value: float) -> int:
        """See `Contest`; greedy is the lowest id among the largest logits."""
        value = self.step.heat_at(value)
        if value == 0:
            return self.step.zero
        value = max(value, TINY)
        field = self._lines.field
        scores = field.base + value * field.slope
        at = int(np.argmax(scores))
        # All others have a logit below top - NEAR, and noise that is not loud.
        if not self._all and self.step.top - NEAR + value * self.row.quiet >= scores[at]:
            kind = self.step.values.dtype.type
            bar = kind(min(float(scores[at]) - value * self.row.peak, self.step.top - NEAR))
            chosen = np.asarray(self.step.values >= np.nextafter(bar, kind(-np.inf)))
            chosen[field.ids] = True
            self._take(np.flatnonzero(chosen))
            return self._lines.winner(value)
        return int(field.ids[at])

    def change(self, left: int, right: int, span: Span) -> Cut:
        """See `Lines`."""
        return self._lines.change(left, right, span)

    def doubt(self, token: int, span: Span) -> float | None:
        """See `Lines`."""
        return None

    def rivals(self, token: int, span: Span) -> tuple[tuple[float, float], ...]:
        """See `Lines`."""
        return self._lines.rivals(token, span)
