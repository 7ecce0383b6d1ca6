"""Where nothing is monotone: halve, and count what is proved."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from poise import draws, noise
from poise.contests.moment import TINY, Floats, Moment, Part, lead
from poise.law import ROUNDING
from poise.params import PARAMETERS, Number
from poise.spans import Cut, Span

TINIEST = 1e-300  # nothing is divided by less
SAFE = 1e-9  # what rounding may add to a mass or a logit, generously

Mask = NDArray[np.bool_]


class Box(NamedTuple):
    """Every row that a stretch of the parameter can give, as bounds.

    Args:
        low, high: of each token's logit over the temperature, (V,).
        sure: tokens that are kept whatever the value, (V,).
        maybe: tokens that may be kept, (V,).
    """

    low: Floats
    high: Floats
    sure: Mask
    maybe: Mask


def proved_parts(moment: Moment, span: Span, resolution: float) -> list[Part]:
    """Winners of a stretch, proved one by one.

    Args:
        moment: the step.
        span: the stretch.
        resolution: what is narrower and not proved stays unknown, in the parameter's unit.

    Returns:
        Parts that tile the stretch; the token is None where no winner was proved.
    """
    found: list[Part] = []
    for part in _halve(moment, span, resolution):
        if found and found[-1].token == part.token:
            found[-1] = Part(Span(found[-1].span.low, part.span.high), part.token, part.rivals)
        else:
            found.append(part)
    return found


def _halve(moment: Moment, span: Span, resolution: float) -> list[Part]:
    step = moment.step
    whole = PARAMETERS[step.parameter].kind == "int"
    single = span.low.value == span.high.value or (whole and span.high <= Cut(span.low.value + 1))
    ends = [_draw(moment, span.low.value)] if single else [_draw(moment, v) for v in (span.low.value, span.high.value)]
    if single or (ends[0] == ends[1] and _proved(moment, span, ends[0])):
        return [Part(span, ends[0], _rivals(moment, span, ends[0]))]
    if step.parameter == "temperature" and span.low == Cut(0.0):  # greedy by definition, unlike what follows
        zero = Cut(0.0, after=True)
        return [*_halve(moment, Span(span.low, zero), resolution), *_halve(moment, Span(zero, span.high), resolution)]
    if span.width <= max(resolution, TINY):
        return [Part(span, None)]
    middle = Cut(float(round(span.middle)) if whole else span.middle)
    if not span.low < middle < span.high:
        return [Part(span, None)]
    return [*_halve(moment, Span(span.low, middle), resolution), *_halve(moment, Span(middle, span.high), resolution)]


def _draw(moment: Moment, value: float) -> int:
    step = moment.step
    made = step.law.reshape(step.logits, [step.row], [step.at(value)], [step.history], [step.barred])
    if made.scale[0] == 0:
        return draws.greedy(made.values[0])
    return int(draws.winners(made.values[0], made.scale, moment.noise)[0])


def _rivals(moment: Moment, span: Span, token: int) -> tuple[tuple[float, float], ...]:
    step = moment.step
    value = float(int(span.middle)) if PARAMETERS[step.parameter].kind == "int" else span.middle
    made = step.law.reshape(step.logits, [step.row], [step.at(value)], [step.history], [step.barred])
    if not np.isfinite(made.values[0][token]):
        return ()
    ahead = lead(made.values[0], float(made.scale[0]), moment.noise, token)
    return ((ahead, 0.0),) if np.isfinite(ahead) else ()


def _proved(moment: Moment, span: Span, token: int) -> bool:
    """Whether one token wins throughout: it is surely kept, and at both ends beats all that may be kept."""
    step = moment.step
    if step.parameter == "temperature" and span.low.value == 0:
        return _cold(moment, span, token)  # bounds of l/T need a temperature above 0
    rows, scales = _ends(moment, span)
    box = _boxed(moment, span, rows, scales)
    if not box.sure[token]:
        return False
    g = noise.gumbel(moment.noise.words)
    return all(
        float(row[token] + s * g[token]) >= float(np.max(np.where(box.maybe, row + s * g, -np.inf))) - 1e-12
        for row, s in zip(rows, scales, strict=True)
    ) and (step.parameter != "repetition_penalty" or _apart(box, g * scales[0], token, scales[0]))


def _cold(moment: Moment, span: Span, token: int) -> bool:
    """Whether a token wins at every temperature from just above 0 on.

    Alone at the top it is kept by every cut that keeps the likeliest tokens. Typical sampling keeps it first while
    the mean distance to the top is below half of the second token's: expected surprise less a token's own is
    (mean distance - its distance) / T. That mean only grows with T, and only shrinks where a cut came before.
    """
    rows, scales = _ends(moment, span)
    gaps = float(rows[1][token]) - rows[1]
    gaps[token] = np.inf
    second, heat = float(gaps.min()), scales[1]
    if not second > SAFE:
        return False
    with np.errstate(under="ignore"):
        weights = np.exp(-gaps / heat)
    mean = float((weights * np.where(weights > 0, gaps, 0.0)).sum()) / (1.0 + float(weights.sum()))
    g = noise.gumbel(moment.noise.words)
    return 2 * mean < second * (1 - SAFE) and bool(np.all(gaps > heat * (g - g[token]) + 1e-12))


def _apart(box: Box, g: Floats, token: int, scale: float) -> bool:
    """The repetition penalty's curves may cross twice: bounds over the whole stretch must not meet."""
    others = np.where(box.maybe, box.high * scale + g, -np.inf)
    others[token] = -np.inf
    return float(box.low[token] * scale + g[token]) > float(others.max())


def _ends(moment: Moment, span: Span) -> tuple[list[Floats], list[float]]:
    """The penalised rows at both ends, uncut, (V,), and their temperatures; scores are linear between them."""
    step = moment.step
    penalties = [n for n, p in PARAMETERS.items() if p.stage == "penalty"]
    rows, scales = [], []
    for value in (span.low.value, span.high.value):
        law = step.at(value)
        bare = law.model_copy(update={n: None for n in PARAMETERS if n not in penalties})
        rows.append(step.under([bare])[0].astype(np.float64))
        scales.append(float(law.active().get("temperature", 1.0)))
    return rows, scales


def _boxed(moment: Moment, span: Span, rows: list[Floats], scales: list[float]) -> Box:
    """Bounds of every logit, then each cut in the dialect's order."""
    step = moment.step
    live = np.isfinite(rows[0])
    box = Box(np.minimum(*rows), np.maximum(*rows), live, live.copy())
    at = {v: step.at(v).active() for v in (span.low.value, span.high.value)}
    names = list(step.at(span.low.value + 0.5 * span.width).active())
    for name in names:
        values = sorted(float(on.get(name, PARAMETERS[name].neutral or 0.0)) for on in at.values())
        if name == "temperature":
            pairs = [row / s for row in (box.low, box.high) for s in scales]
            box = box._replace(low=np.minimum.reduce(pairs), high=np.maximum.reduce(pairs))
        elif name in _CUTS:
            box = _CUTS[name](box, values[0], values[-1])
    return box


def _top_k(box: Box, least: Number, most: Number) -> Box:
    """A token is in if fewer than k others can be above it; out if k surely are."""
    low, high = (np.sort(x[m]) for x, m in ((box.low, box.sure), (box.high, box.maybe)))
    can = high.size - np.searchsorted(high, box.low, side="right")
    surely = low.size - np.searchsorted(low, box.high, side="right")
    can = can - (box.high > box.low)  # not itself
    return box._replace(sure=box.sure & (can < least), maybe=box.maybe & (surely < most))


def _min_p(box: Box, least: Number, most: Number) -> Box:
    tops = float(box.high[box.maybe].max()), float(box.low[box.sure].max()) if box.sure.any() else -np.inf
    with np.errstate(divide="ignore"):
        bars = tops[0] + np.log(most) + SAFE, tops[1] + np.log(least) - SAFE
    return box._replace(sure=box.sure & (box.low >= bars[0]), maybe=box.maybe & (box.high >= bars[1]))


def _top_p(box: Box, least: Number, most: Number) -> Box:
    """Bounds of the share that lies ahead of each token."""
    weights_low, weights_high = _weights(box)
    # At most: everybody who may be as high counts fully, the sure rest as little as it can.
    ahead = np.maximum(_mass(box.high, weights_high, box.low, box.maybe) - weights_high, 0.0)
    behind = weights_low.sum() - _mass(box.high, weights_low, box.low, box.sure) + weights_low
    most_ahead = ahead / np.maximum(ahead + behind, TINIEST)
    # At least: those who are surely higher, and all others as much as they can.
    bars = np.nextafter(box.high, np.inf)
    surely = _mass(box.low, weights_low, bars, box.sure)
    others = weights_high.sum() - _mass(box.low, weights_high, bars, box.sure)
    least_ahead = surely / np.maximum(surely + np.maximum(others, 0.0), TINIEST)
    sure = box.sure & (most_ahead < least - ROUNDING - SAFE)
    return box._replace(sure=sure, maybe=box.maybe & ((least_ahead < most - ROUNDING + SAFE) | (surely == 0)))


def _typical_p(box: Box, least: Number, most: Number) -> Box:
    """A token's surprise less the expected one is E[z] - z; bounds of both, then of the mass that is closer."""
    if least == 1:
        return box
    weights_low, weights_high = _weights(box)
    peak = float(box.high[box.maybe].max())
    chance_low = weights_low / weights_high.sum()
    chance_high = np.minimum(1.0, weights_high / max(float(weights_low.sum()), TINIEST))
    with np.errstate(invalid="ignore"):
        down, up = np.where(box.maybe, box.low - peak, 0.0), np.where(box.maybe, box.high - peak, 0.0)
    mean = float((chance_high * down).sum()), float((chance_low * up).sum())
    shift = mean[0] - up, mean[1] - down  # E[z] - z, with z counted from the peak
    far_low = np.where((shift[0] <= 0) & (shift[1] >= 0), 0.0, np.minimum(np.abs(shift[0]), np.abs(shift[1])))
    far_high = np.maximum(np.abs(shift[0]), np.abs(shift[1])) + SAFE
    far_low = np.maximum(far_low - SAFE, 0.0)
    closer_most = _mass(-far_low, chance_high, -far_high, box.maybe) - chance_high
    closer_least = _mass(-far_high, chance_low, np.nextafter(-far_low, np.inf), box.sure)
    sure = box.sure & (closer_most < least - ROUNDING - SAFE)
    return box._replace(sure=sure, maybe=box.maybe & ((closer_least < most - ROUNDING + SAFE) | (most == 1)))


def _weights(box: Box) -> tuple[Floats, Floats]:
    """exp of the bounds, counted from the highest, 0 for tokens that need not, or cannot, be there."""
    peak = float(box.high[box.maybe].max())
    with np.errstate(under="ignore"):
        low = np.where(box.sure, np.exp(box.low - peak), 0.0)
        return low, np.where(box.maybe, np.exp(box.high - peak), 0.0)


def _mass(levels: Floats, weights: Floats, bars: Floats, mask: Mask) -> Floats:
    """For each bar, the weight of the masked tokens whose level is at least that, (V,)."""
    order = np.argsort(levels[mask])
    total = np.concatenate([np.cumsum(weights[mask][order][::-1])[::-1], [0.0]])
    return np.asarray(total[np.searchsorted(levels[mask][order], bars, side="left")])


_CUTS = {"top_k": _top_k, "top_p": _top_p, "min_p": _min_p, "typical_p": _typical_p}
