"""Truncations on the few tokens that matter; none is decided by rounding."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.law import ROUNDING, Facts, cut_of, power_law_k, top_h_count
from poise.law.mirostat import FITTED
from poise.law.truncations import TOP_H, XTC_OFF
from poise.steps.row import FINE, Below, Scores, Sums, spread, sums_of

Mask = NDArray[np.bool_]  # (n,)
NEAR = 1e-9  # distances closer than this might change places
RARE = -690.0  # ln of probabilities below which float64 loses its digits
NEVER = -760.0  # ln of probabilities that float64 takes for 0


class Left(NamedTuple):
    """The tokens that the steps so far left.

    Args:
        z: their logits over the temperature so far, ids ascending, (n,).
        size: V.
        below: what lies under the floor; None where all that is left is in `z`.
    """

    z: Scores
    size: int
    below: Below | None

    def sums(self, moment: bool = False) -> Iterator[Sums]:
        """Of all that is left, better and better."""
        return self.below.sums(moment) if self.below else iter([sums_of(self.z)])


# Each takes what is left and says which of it stays, (n,); None where rounding would decide, or where the floor
# was too high.
Cut = Callable[[Left, Facts], Mask | None]


def _top_k(left: Left, facts: Facts) -> Mask:
    z = left.z
    k = min(int(facts.number("top_k")), z.size)
    kth = float(np.partition(z, z.size - k)[z.size - k])
    if facts.params.how.rules.top_k_ties == "exact":
        return prefix(z, kth, k)
    return np.asarray(z >= kth)


def _min_p(left: Left, facts: Facts) -> Mask:
    return np.asarray(left.z >= left.z.max() + np.log(facts.number("min_p")))


def _top_p(left: Left, facts: Facts) -> Mask | None:
    z, below = left.z, left.below
    ordered = np.sort(z)[::-1]
    mass = np.cumsum(np.exp(ordered - ordered[0]))
    rounding = ROUNDING if facts.params.how.rules.top_p_passes else -ROUNDING
    for rest, error in below.masses() if below else [(0.0, 0.0)]:
        target = (facts.number("top_p") + rounding) * (mass[-1] + rest)
        low, high = mass.searchsorted([target - error - FINE * target, target + error + FINE * target])
        if high == mass.size and below and not below.doomed:
            return None  # the nucleus may go on below the floor
        if low == high or low >= mass.size - 1:
            last = min(int(low), mass.size - 1)
            if facts.params.how.rules.top_p_ties == "keep":
                return np.asarray(z >= ordered[last])
            return prefix(z, float(ordered[last]), last + 1)
    return None


def prefix(z: Scores, lowest: float, count: int) -> Mask:
    """The `count` largest, lower ids first among ties.

    Args:
        z: (n,).
        lowest: the least of these.
        count: how many, 1 to n.

    Returns:
        Which, (n,).
    """
    mask = np.asarray(z >= lowest)
    surplus = int(np.count_nonzero(mask)) - count
    if surplus:
        mask[np.flatnonzero(z == lowest)[-surplus:]] = False
    return mask


def _typical_p(left: Left, facts: Facts) -> Mask | None:
    z, value, rules = left.z, facts.number("typical_p"), facts.params.how.rules
    depth = z - z.max()
    weights = np.exp(depth)
    total = float(weights.sum())
    surprise = math.log(total) - depth
    entropy = float((weights * surprise).sum()) / total
    shift = np.abs(surprise - entropy)
    # Tokens of surprise up to `reach` hold more than p: what is farther off than they are is cut.
    reach = math.log(2 * z.size / (1 - value))
    near = np.flatnonzero(shift <= max(reach - entropy, entropy - float(surprise.min())) + NEAR)
    order = near[np.argsort(shift[near], kind="stable")]
    mass = np.cumsum(weights[order])
    target = (value + (ROUNDING if rules.typical_passes else -ROUNDING)) * total
    low, high = np.searchsorted(mass, [target * (1 - FINE), target * (1 + FINE)])
    if low != high or low == order.size:
        return None
    last = order[low]
    doubtful = (np.abs(shift[near] - shift[last]) < NEAR) & (z[near] != z[last])
    if doubtful.any():
        return None
    if rules.typical_ties == "keep":
        return np.asarray(shift <= shift[last])
    mask = np.zeros(z.size, dtype=bool)
    mask[order[: low + 1]] = True
    return mask


def _top_n_sigma(left: Left, facts: Facts) -> Mask:
    sigma = left.below.row.sigma(left.below.scale) if left.below else spread(left.z)
    return np.asarray(left.z >= left.z.max() - facts.number("top_n_sigma") * sigma * (1 + ROUNDING))


class Bar(NamedTuple):
    """What a token's probability has to reach: its ln at given sums, and the error of that."""

    log: float
    error: float


def bar_of(name: str, sums: Sums, facts: Facts) -> Bar:
    """The bar of a step that keeps what is likely enough.

    Args:
        name: epsilon_cutoff, eta_cutoff, top_a, mirostat (2) or xtc_probability.
        sums: over what is left.
        facts: what the step looks at.

    Returns:
        ln of the bar.
    """
    mass, slack = math.log(sums.mass), 4 * sums.error
    if name == "mirostat":
        return Bar(-cut_of(facts.params, facts.state) * math.log(2), slack)
    value = facts.number("xtc_threshold" if name == "xtc_probability" else name)
    height = math.log(value) if value > 0 else -math.inf
    if name == "eta_cutoff":
        mean = sums.moment / sums.mass  # the entropy is ln mass less that
        return Bar(min(height, height / 2 - mass + mean), slack * (1 + abs(mean)))
    return Bar(height - 2 * mass if name == "top_a" else height, slack)


def _passing(name: str, left: Left, facts: Facts) -> Iterator[tuple[Mask, Mask] | None]:
    """Which tokens reach the bar, and which may, better and better; None where the definition has to say."""
    depth = left.z - left.z.max()
    for sums in left.sums(moment=name == "eta_cutoff"):
        bar = bar_of(name, sums, facts)
        if not bar.log > RARE:
            yield (np.ones(depth.size, dtype=bool),) * 2 if bar.log < NEVER else None
            return
        at = bar.log + math.log(sums.mass)
        yield depth > at + bar.error, depth >= at - bar.error


def _likely(name: str) -> Cut:
    """Keeps what reaches the bar, and always the likeliest."""

    def cut(left: Left, facts: Facts) -> Mask | None:
        top = left.z == left.z.max()
        for found in _passing(name, left, facts):
            if found is None:
                return None
            sure, maybe = found[0] | top, found[1] | top
            if np.array_equal(sure, maybe):
                return np.asarray(sure)
        return None

    return cut


def _mirostat(left: Left, facts: Facts) -> Mask | None:
    z = left.z
    if int(facts.number("mirostat")) == 1:
        k = min(power_law_k(ranked(z, FITTED)[0], left.size, cut_of(facts.params, facts.state)), z.size)
        return prefix(z, float(np.partition(z, z.size - k)[z.size - k]), k)
    for found in _passing("mirostat", left, facts):
        if found is None:
            return None
        if np.array_equal(*found):
            return found[0] if found[0].any() else prefix(z, float(z.max()), 1)
    return None


def ranked(z: Scores, count: int) -> tuple[Scores, NDArray[np.intp]]:
    """The largest, descending, lower ids first among ties, and their places, (min(n, count),)."""
    places = np.arange(z.size)
    if z.size > count:
        places = np.flatnonzero(z >= np.partition(z, z.size - count)[z.size - count])
    places = places[np.argsort(-z[places], kind="stable")][:count]
    return z[places], places


def _top_h(left: Left, facts: Facts) -> Mask:
    values, places = ranked(left.z, TOP_H)
    cut = np.full(min(TOP_H, left.size) - values.size, -np.inf)  # the definition counts cut tokens among the 100
    mask = np.zeros(left.z.size, dtype=bool)
    mask[places[: top_h_count(np.concatenate([values, cut]), facts.number("top_h"))]] = True
    return mask


def _tfs(left: Left, facts: Facts) -> Mask | None:
    z, below, value = left.z, left.below, facts.number("tfs")
    ordered = np.sort(z)[::-1]
    weights = np.exp(ordered - ordered[0])
    if not below:  # tokens that are cut are ranked too, with probability 0
        weights = np.concatenate([weights, np.zeros(min(left.size - z.size, 2))])
    bends = np.abs(np.diff(weights, n=2))
    if not bends.size:
        return None
    reached, mass = np.cumsum(bends), float(weights.sum())
    # What lies below the floor falls from the last weights to 0: it bends by twice as much at most.
    rest = 2 * float(weights[-2]) if below else 0.0
    error = 1e-15 * mass  # each bend is a difference of weights
    if reached[-1] < 10 * ROUNDING * (mass + (left.size - weights.size) * float(weights[-1])):
        return None  # nothing bends, or nearly so
    least, most = (value + ROUNDING) * (reached[-1] + np.array([-error, rest + error])) * [1 - FINE, 1 + FINE]
    low, high = np.searchsorted(reached, [least - error, most + error], side="right")
    if low != high or (below and high == reached.size):
        return None
    count = min(1 + int(low), z.size)
    return prefix(z, float(ordered[count - 1]), count)


def _xtc(left: Left, facts: Facts) -> Mask | None:
    z = left.z
    everything = np.ones(z.size, dtype=bool)
    if facts.number("xtc_threshold") > XTC_OFF:
        return everything
    strict = facts.params.how.rules.xtc_strict
    for found in _passing("xtc_probability", left, facts):
        if found is None or (strict and facts.number("xtc_threshold") == 0):
            return None
        sure, maybe = found
        if np.array_equal(sure, maybe):
            members = np.flatnonzero(sure)
            if members.size < 2:
                return everything
            least = z[members].min()
            if strict:  # equal probabilities may come from logits that are not
                near = np.abs(z[members] - least) < NEAR
                return None if np.any(near & (z[members] != least)) else np.asarray(z <= least)
            everything[members] = False
            everything[members[z[members] == least][-1]] = True
            return everything
    return None


CUTS: Mapping[str, Cut] = {
    "top_n_sigma": _top_n_sigma,
    "top_h": _top_h,
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _min_p,
    "typical_p": _typical_p,
    "epsilon_cutoff": _likely("epsilon_cutoff"),
    "eta_cutoff": _likely("eta_cutoff"),
    "tfs": _tfs,
    "top_a": _likely("top_a"),
    "mirostat": _mirostat,
    "xtc_probability": _xtc,
}
