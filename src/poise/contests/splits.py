"""Split a stretch of a parameter where the winner changes."""

from __future__ import annotations

import math
from collections.abc import Sequence

from poise.contests.moment import Contest, Part
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


def heat_parts(contest: Contest, span: Span) -> list[Part]:
    """`parts` along a temperature: 0 itself is greedy, which the limit from above need not be."""
    if span.low != Cut(0.0):
        return parts(contest, span)
    zero, rest = Span(Cut(0.0), Cut(0.0, after=True)), Span(Cut(0.0, after=True), span.high)
    first = parts(contest, zero)
    then = [] if rest.empty else parts(contest, rest)
    if then and then[0].token == first[0].token:
        first, then = [then[0]._replace(span=Span(Cut(0.0), then[0].span.high))], then[1:]
    return [*first, *then]


def _joined(found: Sequence[tuple[Span, int]]) -> list[tuple[Span, int]]:
    joined: list[tuple[Span, int]] = []
    for part, token in found:
        if joined and joined[-1][1] == token:
            joined[-1] = (Span(joined[-1][0].low, part.high), token)
        else:
            joined.append((part, token))
    return joined


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
