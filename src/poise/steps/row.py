"""One row of logits, and sums over it with their errors."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.law import heat_of, smoothing
from poise.params import SamplingParams

Values = NDArray[np.floating[Any]]  # (V,) or (n,): float32 as the model computed them, float64 once penalised
Scores = NDArray[np.float64]  # (n,): logits after the steps so far
Ids = NDArray[np.intp]  # (n,): token ids, ascending

# Every sum here carries a bound on its error. A decision that the error could turn is never taken: it goes to
# a finer sum, and at last to the definition. That is why the kept sets are exactly those of the law.
ROUGH = 1e-5  # a sum of float32 exponentials: 2e-7 |z| from the argument, 3e-7 from exp; |z| > 40 weighs nothing
FINE = 1e-10  # the same in float64: 1e-16 per term, 2^19 terms
WIDTH = 16  # tokens that share one peak; also every how manieth token a sample takes
WIDE = 64  # the same where few peaks are asked for
DEEP = -1000.0  # logits under the top: what lies there weighs nothing


class Sums(NamedTuple):
    """Sums over tokens with weights w = exp(z - top), z the logits over the temperature.

    Args:
        mass: Σ w.
        moment: Σ w (z - top), 0 or below; 0 too where nobody asked for it.
        error: relative, of both.
    """

    mass: float
    moment: float
    error: float


class Row:
    """One penalised row, and what several settings ask of it, worked out once.

    Args:
        values: (V,), -inf where cut.
    """

    def __init__(self, values: Values) -> None:
        self.values = values
        self.lowest = float(np.finfo(values.dtype).min)  # anything below is cut already
        self._rough: dict[tuple[float, bool], Sums] = {}
        self._heats: dict[tuple[object, ...], float] = {}
        self._bent: dict[tuple[object, ...], Row] = {}
        self._sigma: dict[float, float] = {}
        self._peaks: dict[int, Values] = {}

    @functools.cached_property
    def top(self) -> float:
        """The largest logit."""
        peaks = next(iter(self._peaks.values()), None)
        return float(self.values.max() if peaks is None else peaks[-1])

    def kth(self, k: int) -> float:
        """The k-th largest peak of groups of tokens, which the k-th largest logit is not below."""
        width = WIDE if 4 * k * WIDE <= self.values.size else WIDTH  # few peaks are quick to sort
        if width not in self._peaks:
            count = self.values.size // width
            groups, rest = self.values[: count * width].reshape(width, count), self.values[count * width :]
            self._peaks[width] = np.sort(np.concatenate([groups.max(axis=0), rest]))
        peaks = self._peaks[width]
        return float(peaks[-k]) if k <= peaks.size else self.lowest

    def weights(self, values: Values, scale: float) -> NDArray[np.float32]:
        """exp((l - top) / scale), (n,)."""
        out = self._depths(values, scale)
        return np.asarray(np.exp(out, out=out))

    def _depths(self, values: Values, scale: float) -> NDArray[np.float32]:
        out = (values - self.top).astype(np.float32, copy=False)
        out /= scale
        return out

    def rough(self, scale: float, moment: bool = False) -> Sums:
        """The sums over all tokens in float32.

        Args:
            scale: the temperature.
            moment: whether the second one is needed.

        Returns:
            Them.
        """
        key = scale, moment
        if key not in self._rough:
            depths = self._depths(self.values, scale)
            weights = np.exp(depths)
            second = 0.0
            if moment:
                np.maximum(depths, np.float32(DEEP), out=depths)  # else 0 times infinity
                depths *= weights
                second = float(depths.sum(dtype=np.float64))
            self._rough[key] = Sums(float(weights.sum(dtype=np.float64)), second, ROUGH)
        return self._rough[key]

    def fine(self, scale: float) -> Sums:
        """The sums over all tokens in float64."""
        return sums_of(self.scores(scale))

    def scores(self, scale: float) -> Scores:
        """The logits over the temperature, (V,)."""
        return np.asarray(self.values.astype(np.float64) / scale)

    def sigma(self, scale: float) -> float:
        """The standard deviation of what is left of the scores, bit for bit as the law has it."""
        if scale not in self._sigma:
            self._sigma[scale] = spread(self.scores(scale))
        return self._sigma[scale]

    def heat(self, params: SamplingParams) -> float:
        """The dynamic temperature over all tokens, bit for bit as the law has it."""
        key = params.temperature, params.dynatemp_range, params.dynatemp_exponent, params.dialect
        if key not in self._heats:
            self._heats[key] = heat_of("dynatemp_range", self.values.astype(np.float64), params, self.values.size)
        return self._heats[key]

    def bent(self, scale: float, factor: float, curve: float) -> Row:
        """The scores smoothed, as a row of its own whose temperature is 1."""
        key = scale, factor, curve
        if key not in self._bent:
            self._bent[key] = Row(smoothing(self.scores(scale), factor, curve))
        return self._bent[key]


def sums_of(z: Scores) -> Sums:
    """The sums over some tokens in float64.

    Args:
        z: (n,).

    Returns:
        Them.
    """
    depths = z - z.max()
    weights = np.exp(depths)
    np.maximum(depths, DEEP, out=depths)  # else 0 times infinity
    return Sums(float(weights.sum()), float((weights * depths).sum()), FINE)


def spread(z: Scores) -> float:
    """The population's standard deviation of what is left, as the law has it."""
    return float(np.std(z[z > -np.inf]))


class Below(NamedTuple):
    """What lies under a floor: tokens that were not looked at but still have mass.

    Args:
        row: all tokens.
        ids: the tokens at the floor or above.
        scale: the temperature so far.
        doomed: whether another step cuts them in any case.
    """

    row: Row
    ids: Ids
    scale: float
    doomed: bool

    def masses(self) -> Iterator[tuple[float, float]]:
        """Their mass in units of the top's weight, and its error; a finer pair follows a rough one."""
        above = self.row.weights(self.row.values[self.ids], self.scale).sum(dtype=np.float64)
        rest = max(self.row.rough(self.scale).mass - float(above), 0.0)
        yield rest, ROUGH * rest
        z = self.row.scores(self.scale)
        w = np.exp(z - z.max())
        w[self.ids] = 0
        yield float(w.sum()), 0.0

    def sums(self, moment: bool) -> Iterator[Sums]:
        """Of all tokens, above and below the floor; a finer one follows a rough one."""
        yield self.row.rough(self.scale, moment)
        yield self.row.fine(self.scale)
