"""Places on a parameter's axis, and the stretches between them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Cut(NamedTuple):
    """A place between values: just before one, or just after it. Cuts compare in order.

    Args:
        value: in the parameter's unit.
        after: False: `value` itself belongs to what follows; True: to what comes before.
    """

    value: float
    after: bool = False


class Span(NamedTuple):
    """A stretch of a parameter between two cuts; empty where `low` is not below `high`.

    >>> zero = Span(Cut(0.0), Cut(0.0, after=True))  # the value 0 alone
    >>> zero.holds(0.0), zero.holds(1e-300), zero.width
    (True, False, 0.0)
    """

    low: Cut
    high: Cut

    @property
    def empty(self) -> bool:
        """Whether no value lies in it."""
        return self.low >= self.high

    @property
    def width(self) -> float:
        """Length, in the parameter's unit."""
        return max(0.0, self.high.value - self.low.value)

    def extent(self, whole: bool) -> float:
        """Its share of an axis, before dividing: the length, or of whole numbers how many lie in it.

        >>> closed(1, 3).extent(whole=True), Span(Cut(1.0), Cut(2.0)).extent(whole=True)
        (3.0, 1.0)
        """
        if not whole:
            return self.width
        return max(0.0, self.high.value - self.low.value + self.high.after - self.low.after)

    @property
    def middle(self) -> float:
        """A value inside: half-way, or the only one there is."""
        return self.low.value + (self.high.value - self.low.value) / 2

    def holds(self, value: float) -> bool:
        """Whether a value lies in it."""
        return self.low <= (value, False) and (value, True) <= self.high

    def meet(self, other: Span) -> Span:
        """What lies in both; perhaps empty."""
        return Span(max(self.low, other.low), min(self.high, other.high))

    def __str__(self) -> str:
        left, right = "(" if self.low.after else "[", "]" if self.high.after else ")"
        return f"{left}{self.low.value:.6g}, {self.high.value:.6g}{right}"


def closed(low: float, high: float) -> Span:
    """The stretch from `low` to `high`, both ends in it.

    >>> str(closed(0, 1.5))
    '[0, 1.5]'
    """
    return Span(Cut(float(low)), Cut(float(high), after=True))


def gaps(whole: Span, held: Iterable[Span]) -> list[Span]:
    """What of a stretch is not covered.

    Args:
        whole: the stretch.
        held: stretches that do not overlap, in any order.

    Returns:
        The rest, in order.

    >>> [str(s) for s in gaps(closed(0, 3), [Span(Cut(1.0), Cut(2.0))])]
    ['[0, 1)', '[2, 3]']
    """
    found, at = [], whole.low
    for span in sorted(held):
        if not whole.meet(span).empty:
            found.append(Span(at, max(at, span.low)))
            at = max(at, span.high)
    return [s for s in (*found, Span(at, whole.high)) if not s.empty]
