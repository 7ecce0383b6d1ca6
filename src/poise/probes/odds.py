"""Which published settings drew these tokens, the unlisted ones guessed.

`fits` holds whatever the unlisted tokens are, and so tells little about what lies there. Between settings that somebody
publishes a guess serves: unlisted tokens are half as likely as the last one listed. No error rate is claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from poise.probes.draws import Column, Draws
from poise.probes.shapes import Flags, Shape, predict

_ODD = 1e-3  # share of draws that may be anything: no lone token decides


class Odds:
    """Drawn tokens, and how likely each law makes them.

    Args:
        draws: the tokens.
    """

    def __init__(self, draws: Draws) -> None:
        self._draws = draws
        self._inside = (draws.drawn >= 0) & (draws.drawn < draws.width)
        self._at = np.where(self._inside, draws.drawn, 0)[:, None]
        self._known: dict[Shape, tuple[Column, Flags]] = {}

    def lead(self, one: Sequence[Shape], other: Sequence[Shape]) -> float:
        """Nats by which one setting is likelier than another.

        Args:
            one: laws that it may mean; the likeliest counts.
            other: those of the other.

        Returns:
            ln of the ratio of the likelihoods, over the places where both laws can be computed.
        """
        return max(min(self._between(a, b) for b in other) for a in one)

    def _between(self, one: Shape, other: Shape) -> float:
        (a, a_sure), (b, b_sure) = self._of(one), self._of(other)
        return float(np.where(a_sure & b_sure & self._draws.telling, a - b, 0.0).sum())

    def _of(self, shape: Shape) -> tuple[Column, Flags]:
        """ln p of what was drawn, the unlisted tokens taken as one, (P,); and where it can be computed, (P,)."""
        if shape not in self._known:
            found = predict(self._draws, shape, guess=True)
            p = np.exp(np.take_along_axis(found.logp, self._at, axis=1)[:, 0])
            p = np.where(self._inside, p * (1 - found.high), found.high)
            self._known[shape] = np.log((1 - _ODD) * p + _ODD / (self._draws.width + 1)), found.sure
        return self._known[shape]
