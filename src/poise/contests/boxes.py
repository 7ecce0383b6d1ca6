"""Bounds of every row that a stretch of a parameter can give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise.contests.moment import Floats as Floats
from poise.contests.moment import Step
from poise.law import ROUNDING
from poise.law.chain import acting, counts_barred, joint
from poise.law.truncations import TOP_H, XTC_OFF
from poise.motions import is_penalty
from poise.params import SamplingParams
from poise.spans import Span

TINIEST = 1e-300  # nothing is divided by less
SAFE = 1e-9  # what rounding may add to a mass or a logit, generously

Mask = NDArray[np.bool_]
Reach = tuple[float, float]  # the least and the most of a number


class Box(NamedTuple):
    """Every row that a stretch of the parameter can give, as bounds.

    Args:
        low, high: of each token's logit, over the temperature once that has come, (V,).
        sure: tokens that are kept whatever the value, (V,).
        maybe: tokens that may be kept, (V,).
        listed: bounds of how many tokens are on the engine's list, barred ones that no step took off it included.
        heat: bounds of a dynamic temperature; None where there is none.
        bent: whether the logits were bent, so that scores are lines no more.
    """

    low: Floats
    high: Floats
    sure: Mask
    maybe: Mask
    listed: Reach
    heat: Reach | None = None
    bent: bool = False


class Setting(NamedTuple):
    """What a step needs besides the box.

    Args:
        law: inside the stretch.
        moving: the parameter that moves, from where to where.
        scales: the temperatures at both ends.
        struck: whether XTC strikes.
        whole: the box before top-k, for a joint top-p.
    """

    law: SamplingParams
    moving: tuple[str, Reach]
    scales: Reach
    struck: bool
    whole: Box

    def reach(self, name: str) -> Reach:
        """A number's least and greatest value."""
        if name == self.moving[0]:
            return self.moving[1]
        value = self.law.number(name)
        assert value is not None, name
        return float(value), float(value)


def boxed(step: Step, span: Span, rows: list[Floats], scales: list[float]) -> Box | None:
    """Bounds after each step, in the dialect's order.

    Args:
        step: the step.
        span: the stretch.
        rows: penalised, at both ends, (V,) each; no row between lies outside them.
        scales: temperatures at both ends.

    Returns:
        The bounds after the last step; None where there are none.
    """
    live = np.isfinite(rows[0])
    box = Box(np.minimum(*rows), np.maximum(*rows), live, live.copy(), (live.size, live.size))
    law = step.at(span.middle)
    moving = step.parameter, (span.low.value, span.high.value)
    setting = Setting(law, moving, (scales[0], scales[1]), step.struck, box)
    for name in acting(law):
        if is_penalty(name):
            continue
        if name == "top_k":
            setting = setting._replace(whole=box)
        found = _STEPS[name](box, setting)
        if found is None or not found.maybe.any():
            return None
        box = found._replace(listed=_listed(name, box, found, setting))
    return box


def _listed(name: str, before: Box, after: Box, setting: Setting) -> Reach:
    """How many tokens a step leaves on the engine's list; see `law.chain`."""
    least, most = before.listed
    if name in ("top_p", "min_p", "typical_p"):
        return float(after.sure.sum()), float(after.maybe.sum())
    if name == "top_k":
        fewest, many = setting.reach("top_k")
        return min(fewest, least), min(many, most)
    if name == "xtc_probability":
        return least - float(before.maybe.sum() - after.sure.sum()), most
    return least, most


def _temperature(box: Box, setting: Setting) -> Box:
    if setting.scales == (0.0, 0.0):
        return box  # greedy takes the largest of what is left
    pairs = [row / s for row in (box.low, box.high) for s in setting.scales]
    return box._replace(low=np.minimum.reduce(pairs), high=np.maximum.reduce(pairs))


def _dynatemp(box: Box, setting: Setting) -> Box | None:
    """low + (high - low) (H / ln n)^κ, with the entropy's bounds and those of the number of tokens left."""
    least, most = float(box.sure.sum()), float(box.maybe.sum())
    if least < 2:
        return None
    if counts_barred(setting.law):
        least, most = max(least, box.listed[0]), max(most, box.listed[1])
    entropy = _entropy(box)
    shares = entropy[0] / math.log(most), min(entropy[1] / math.log(least), 1.0)
    exponents = setting.reach("dynatemp_exponent")
    powers = [s**k for s in shares for k in exponents]
    heats = []
    for centre in setting.scales:
        for reach in _with_knot(setting.reach("dynatemp_range"), setting.scales):
            cold, hot = max(0.0, centre - reach), centre + reach
            heats += [cold + (hot - cold) * p for p in (min(powers), max(powers))]
    if min(heats) <= SAFE:
        return None
    bounds = min(heats) * (1 - SAFE), max(heats) * (1 + SAFE)
    pairs = [row / s for row in (box.low, box.high) for s in bounds]
    return box._replace(low=np.minimum.reduce(pairs), high=np.maximum.reduce(pairs), heat=bounds)


def _with_knot(reach: Reach, scales: Reach) -> tuple[float, ...]:
    """The ends of the range's stretch, and where the lowest temperature meets 0 between them."""
    return (*reach, *(s for s in scales if reach[0] < s < reach[1]))


def _smoothing(box: Box, setting: Setting) -> Box:
    """-(3 - c)/2 s d² - (c - 1)/2 s d³, d the distance from the top, each term by its bounds; the top itself is 0."""
    tops = _tops(box)
    far = np.where(box.maybe, tops[1] - box.low, 0.0), np.where(box.maybe, np.maximum(tops[0] - box.high, 0.0), 0.0)
    factors, curves = setting.reach("smoothing_factor"), setting.reach("smoothing_curve")
    square = [(3 - c) / 2 * s for c in curves for s in factors]
    cubic = [(c - 1) / 2 * s for c in curves for s in factors]
    falls = [q * d**2 for q in (min(square), max(square)) for d in far]
    more = [q * d**3 for q in (min(cubic), max(cubic)) for d in far]
    down = np.maximum.reduce(falls) + np.maximum.reduce(more)
    up = np.minimum.reduce(falls) + np.minimum.reduce(more)
    top = _first(box).sure
    low, high = (
        np.where(top, 0.0, bound) for bound in (-down - SAFE * (1 + np.abs(down)), -up + SAFE * (1 + np.abs(up)))
    )
    return box._replace(
        low=np.where(box.maybe, low, -np.inf), high=np.where(box.maybe, high, -np.inf), bent=True
    )  # fmt: skip


def _top_k(box: Box, setting: Setting) -> Box:
    """A token is in if fewer than k others can be above it; out if k surely are."""
    least, most = setting.reach("top_k")
    low, high = (np.sort(x[m]) for x, m in ((box.low, box.sure), (box.high, box.maybe)))
    exact = setting.law.how.rules.top_k_ties == "exact"  # then a tie may put another one in its place
    can = high.size - np.searchsorted(high, box.low, side="left" if exact else "right")
    surely = low.size - np.searchsorted(low, box.high, side="right")
    can = can - (box.maybe & ((box.high > box.low) | exact))  # not itself
    return box._replace(sure=box.sure & (can < least), maybe=box.maybe & (surely < most))


def _min_p(box: Box, setting: Setting) -> Box:
    least, most = setting.reach("min_p")
    tops = _tops(box)
    with np.errstate(divide="ignore"):
        bars = tops[1] + np.log(most) + SAFE, tops[0] + np.log(least) - SAFE
    return box._replace(sure=box.sure & (box.low >= bars[0]), maybe=box.maybe & (box.high >= bars[1]))


def _top_p(box: Box, setting: Setting) -> Box:
    """Bounds of the share that lies ahead of each token."""
    least, most = setting.reach("top_p")
    weighed = setting.whole if joint(setting.law) and "top_k" in setting.law.steps else box
    weights_low, weights_high = _weights(weighed)
    # At most: everybody who may be as high counts fully, the sure rest as little as it can.
    ahead = np.maximum(_mass(weighed.high, weights_high, weighed.low, weighed.maybe) - weights_high, 0.0)
    behind = weights_low.sum() - _mass(weighed.high, weights_low, weighed.low, weighed.sure) + weights_low
    most_ahead = ahead / np.maximum(ahead + behind, TINIEST)
    # At least: those who are surely higher, and all others as much as they can.
    bars = np.nextafter(weighed.high, np.inf)
    surely = _mass(weighed.low, weights_low, bars, weighed.sure)
    others = weights_high.sum() - _mass(weighed.low, weights_high, bars, weighed.sure)
    least_ahead = surely / np.maximum(surely + np.maximum(others, 0.0), TINIEST)
    sure = box.sure & (most_ahead < least - ROUNDING - SAFE)
    return box._replace(sure=sure, maybe=box.maybe & ((least_ahead < most - ROUNDING + SAFE) | (surely == 0)))


def _typical_p(box: Box, setting: Setting) -> Box:
    """A token's surprise less the expected one is E[z] - z; bounds of both, then of the mass that is closer."""
    least, most = setting.reach("typical_p")
    if least == 1:
        return box
    chance = _chances(box)
    peak = float(box.high[box.maybe].max())
    with np.errstate(invalid="ignore"):
        down, up = np.where(box.maybe, box.low - peak, 0.0), np.where(box.maybe, box.high - peak, 0.0)
    mean = float((chance[1] * down).sum()), float((chance[0] * up).sum())
    shift = mean[0] - up, mean[1] - down  # E[z] - z, with z counted from the peak
    far_low = np.where((shift[0] <= 0) & (shift[1] >= 0), 0.0, np.minimum(np.abs(shift[0]), np.abs(shift[1])))
    far_high = np.maximum(np.abs(shift[0]), np.abs(shift[1])) + SAFE
    far_low = np.maximum(far_low - SAFE, 0.0)
    closer_most = _mass(-far_low, chance[1], -far_high, box.maybe) - chance[1]
    closer_least = _mass(-far_high, chance[0], np.nextafter(-far_low, np.inf), box.sure)
    sure = box.sure & (closer_most < least - ROUNDING - SAFE)
    return box._replace(sure=sure, maybe=box.maybe & ((closer_least < most - ROUNDING + SAFE) | (most == 1)))


def _top_n_sigma(box: Box, setting: Setting) -> Box:
    """The deviation moves by no more than the rows do, in the mean square; where others may join, anything goes."""
    least, most = setting.reach("top_n_sigma")
    low, high = box.low[box.maybe], box.high[box.maybe]
    middle, wide = (low + high) / 2, float(np.sqrt(np.mean(((high - low) / 2) ** 2)))
    tops = _tops(box)
    if bool(np.all(box.sure == box.maybe)):
        sigma = max(float(np.std(middle)) - wide, 0.0), float(np.std(middle)) + wide
    else:
        sigma = 0.0, (tops[1] - float(low.min())) / 2
    bars = tops[1] - least * sigma[0] + SAFE, tops[0] - most * sigma[1] * (1 + SAFE) - SAFE
    return _above(box, *bars)


def _epsilon(box: Box, setting: Setting) -> Box:
    return _likely(box, *setting.reach("epsilon_cutoff"))


def _eta(box: Box, setting: Setting) -> Box:
    least, most = setting.reach("eta_cutoff")
    spread = _entropy(box)
    floors = min(least, math.sqrt(least) * math.exp(-spread[1])), min(most, math.sqrt(most) * math.exp(-spread[0]))
    return _likely(box, *floors)


def _top_a(box: Box, setting: Setting) -> Box:
    least, most = setting.reach("top_a")
    chance = _chances(box)
    peaks = float(chance[0].max()), float(chance[1].max())
    return _likely(box, least * peaks[0] ** 2, most * peaks[1] ** 2)


def _top_h(box: Box, setting: Setting) -> Box:
    """The likeliest stays, and none but the hundred likeliest do; of the others nothing is said."""
    low = np.sort(box.low[box.sure])
    surely = low.size - np.searchsorted(low, box.high, side="right")
    return _first(box)._replace(maybe=box.maybe & (surely < TOP_H))


def _first(box: Box, setting: Setting | None = None) -> Box:
    """Only the likeliest is known to stay."""
    others = np.where(box.maybe, box.high, -np.inf)
    at = int(np.argmax(others))
    others[at] = -np.inf
    lone = np.zeros_like(box.sure)
    lone[at] = bool(box.sure[at]) and box.low[at] > others.max()
    return box._replace(sure=lone)


def _xtc(box: Box, setting: Setting) -> Box:
    """Who surely is no member stays, and so does the last of those who may be one; all surely ahead of a member go."""
    least, most = setting.reach("xtc_threshold")
    if not setting.struck or least > XTC_OFF:
        return box
    chance = _chances(box)
    may = box.maybe & (chance[1] >= least - SAFE)
    must = box.sure & (chance[0] >= most + SAFE)
    lows = np.where(may, box.low, np.inf)
    last = int(np.argmin(lows))
    rest = lows.copy()
    rest[last] = np.inf
    stays = ~may | (box.high < np.where(np.arange(lows.size) == last, rest.min(), lows[last]))
    gone = np.zeros_like(must) if most > XTC_OFF or not must.any() else (
        must & (box.low > float(box.high[must].min()))
    )  # fmt: skip
    return box._replace(sure=box.sure & stays, maybe=box.maybe & ~gone)


def _likely(box: Box, least: float, most: float) -> Box:
    """Tokens of a probability of at least a floor between these bounds, and always the likeliest."""
    chance = _chances(box)
    top = _first(box).sure
    may = chance[1] >= least * (1 - SAFE) - TINIEST
    return box._replace(
        sure=box.sure & ((chance[0] >= most * (1 + SAFE)) | top),
        maybe=box.maybe & (may | (box.high >= _tops(box)[0])),
    )


def _above(box: Box, high: float, low: float) -> Box:
    """Tokens at a bar that lies between these bounds or above it, and always the likeliest."""
    return box._replace(
        sure=box.sure & ((box.low >= high) | _first(box).sure),
        maybe=box.maybe & (box.high >= low),
    )


def _tops(box: Box) -> Reach:
    """Bounds of the largest logit that is left."""
    return float(box.low[box.sure].max()) if box.sure.any() else -np.inf, float(box.high[box.maybe].max())


def _weights(box: Box) -> tuple[Floats, Floats]:
    """exp of the bounds, counted from the highest, 0 for tokens that need not, or cannot, be there."""
    peak = float(box.high[box.maybe].max())
    with np.errstate(under="ignore"):
        low = np.where(box.sure, np.exp(box.low - peak), 0.0)
        return low, np.where(box.maybe, np.exp(box.high - peak), 0.0)


def _chances(box: Box) -> tuple[Floats, Floats]:
    """Bounds of every probability: its own weight at one bound, all others' at the other, (V,) each."""
    low, high = _weights(box)
    most, least = high.sum() - high, np.maximum(low.sum() - low, 0.0)
    return low / np.maximum(low + most, TINIEST), np.minimum(high / np.maximum(high + least, TINIEST), 1.0)


def _entropy(box: Box) -> Reach:
    """ln Σ exp(z) - E[z], by bounds of both, counted from the peak."""
    low, high = _weights(box)
    chance = _chances(box)
    peak = float(box.high[box.maybe].max())
    with np.errstate(invalid="ignore"):
        down, up = np.where(box.maybe, box.low - peak, 0.0), np.where(box.maybe, box.high - peak, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = float(np.nansum(chance[1] * down)), float(np.nansum(chance[0] * up))
    total = math.log(max(float(low.sum()), TINIEST)), math.log(float(high.sum()))
    n = int(box.maybe.sum())
    return max(total[0] - mean[1] - SAFE, 0.0), min(total[1] - mean[0] + SAFE, math.log(n) if n > 1 else 0.0)


def _mass(levels: Floats, weights: Floats, bars: Floats, mask: Mask) -> Floats:
    """For each bar, the weight of the masked tokens whose level is at least that, (V,)."""
    order = np.argsort(levels[mask])
    total = np.concatenate([np.cumsum(weights[mask][order][::-1])[::-1], [0.0]])
    return np.asarray(total[np.searchsorted(levels[mask][order], bars, side="left")])


_STEPS: Mapping[str, Callable[[Box, Setting], Box | None]] = {
    "temperature": _temperature, "dynatemp_range": _dynatemp, "smoothing_factor": _smoothing, "top_k": _top_k,
    "min_p": _min_p, "top_p": _top_p, "typical_p": _typical_p, "top_n_sigma": _top_n_sigma,
    "epsilon_cutoff": _epsilon, "eta_cutoff": _eta, "top_a": _top_a, "top_h": _top_h, "tfs": _first,
    "xtc_probability": _xtc,
}  # fmt: skip
