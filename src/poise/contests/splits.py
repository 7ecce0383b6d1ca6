"""Split a stretch of a parameter where the winner changes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence

from poise.contests.moment import TINY, Contest, Moment, Part, lead
from poise.errors import ParameterError
from poise.spans import Cut, Span


def parts(contest: Contest, span: Span, whole: bool = False) -> list[Part]:
    """Every winner of a stretch.

    Args:
        contest: the step.
        span: the stretch, not empty.
        whole: whether the parameter takes whole numbers only.

    Returns:
        Parts that tile the stretch; neighbours differ in their token.
    """
    first, last = inside(span, whole)
    low = contest.winner(first)
    found = _split(contest, span, low, low if last <= first else contest.winner(last), whole)
    return [Part(part, token, contest.rivals(token, part)) for part, token in _joined(found)]


def heat_parts(moment: Moment, span: Span, find: Callable[[Span], list[Part]]) -> list[Part]:
    """Winners along a temperature: 0 itself is greedy, which the limit from above need not be.

    Args:
        moment: the step.
        span: the stretch.
        find: what finds the winners of a stretch of temperatures that are used as they are.

    Returns:
        Parts that tile the stretch.
    """
    rules = moment.step.fixed.how.rules
    zero = Cut(rules.greedy_below) if rules.greedy_below else Cut(0.0, after=True)
    floor = max(zero, Cut(rules.temperature_floor))
    found: list[Part] = []
    for part in stretches(span, [zero, floor]):
        if part.low < floor:  # greedy, or lifted to the floor: all alike
            found.append(alone(moment, part, part.low.value if part.high <= zero else max(part.low.value, TINY)))
        else:
            found += find(part)
    return joined(found)


def alone(moment: Moment, span: Span, value: float) -> Part:
    """The winner of a stretch on which the law is the same as at a value; none where it bars every token."""
    try:
        values, scale = moment.at(value)
    except ParameterError:
        return Part(span, None)
    token = moment.drawn_of(values, scale)
    ahead = lead(values, scale, moment.noise, token)
    return Part(span, token, ((ahead, 0.0),) if math.isfinite(ahead) else ())


def stretches(span: Span, cuts: Iterable[Cut]) -> list[Span]:
    """A stretch in parts, cut where it can be."""
    ends = [span.low, *sorted({c for c in cuts if span.low < c < span.high}), span.high]
    return [Span(low, high) for low, high in itertools.pairwise(ends)]


def joined(found: Iterable[Part]) -> list[Part]:
    """Parts without ends between neighbours that one token wins."""
    out: list[Part] = []
    for part in found:
        if out and out[-1].token == part.token:
            wide = [p for p in (out[-1], part) if p.span.width] or [part]  # a single value says nothing of others
            both = tuple(dict.fromkeys(line for p in wide for line in p.rivals))
            out[-1] = Part(Span(out[-1].span.low, part.span.high), part.token, both)
        else:
            out.append(part)
    return out


def _joined(found: Sequence[tuple[Span, int]]) -> list[tuple[Span, int]]:
    out: list[tuple[Span, int]] = []
    for part, token in found:
        if out and out[-1][1] == token:
            out[-1] = (Span(out[-1][0].low, part.high), token)
        else:
            out.append((part, token))
    return out


def inside(span: Span, whole: bool) -> tuple[float, float]:
    """The first and the last value of a stretch; next to an end that is not in it."""
    return _after(span.low, whole), _before(span.high, whole)


def _split(contest: Contest, span: Span, low: int, high: int, whole: bool) -> list[tuple[Span, int]]:
    if low == high:
        value = contest.doubt(low, span)
        if value is None:
            return [(span, low)]
        at, token = Cut(value), contest.winner(value)
        if token == low:  # rounding: the rival only ties
            return [(span, low)]
        sides = (token, token)
    else:
        at = contest.change(low, high, span)
        if at <= span.low:
            return [(span, high)]
        if at >= span.high:
            return [(span, low)]
        slack = 0.0 if whole else contest.slack * max(1.0, abs(at.value))
        first, last = inside(span, whole)
        before = contest.winner(max(_before(at, whole) - slack, first))
        behind = contest.winner(min(_after(at, whole) + slack, last))
        # Next to a crossing the two tie but for rounding: whichever won, each wins its own side.
        pair = {low, high}
        sides = (low if before in pair else before, high if behind in pair else behind)
    left, right = Span(span.low, at), Span(at, span.high)
    return [*_split(contest, left, low, sides[0], whole), *_split(contest, right, sides[1], high, whole)]


def _before(cut: Cut, whole: bool) -> float:
    if cut.after:
        return cut.value
    return cut.value - 1 if whole else math.nextafter(cut.value, -math.inf)


def _after(cut: Cut, whole: bool) -> float:
    if not cut.after:
        return cut.value
    return cut.value + 1 if whole else math.nextafter(cut.value, math.inf)
