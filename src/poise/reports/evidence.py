"""What one comparison allows to say, corrected for how many were made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from poise.comparisons import Comparison
from poise.measurements import Measurement
from poise.numerals import count, difference, figure, interval

LEVEL = 0.05
Direction = Literal["rises", "falls", "undetected", "unknown"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """A comparison, the two means beside it, and what it supports.

    Args:
        comparison: b minus a.
        first, second: means of a and b, None where there is no data.
        p_value: corrected for the family it belongs to; None where there was no test.
        direction: ``rises`` or ``falls`` where a difference was detected, ``undetected`` where
            there was enough to look and none was, ``unknown`` where there was not enough.
    """

    comparison: Comparison
    first: float | None
    second: float | None
    p_value: float | None
    direction: Direction

    @property
    def found(self) -> bool:
        """Whether a difference was detected."""
        return self.direction in ("rises", "falls")

    @property
    def even(self) -> bool:
        """Whether the means differ by the paired difference; they do not where a text lacks its partner."""
        if self.first is None or self.second is None or self.comparison.difference is None:
            return True
        return math.isclose(self.second - self.first, self.comparison.difference, rel_tol=1e-6, abs_tol=1e-9)

    @property
    def change(self) -> str:
        """Both means: ``62% → 4%``."""
        unit = self.comparison.unit
        return f"{figure(self.first, unit)} → {figure(self.second, unit)}"

    @property
    def size(self) -> str:
        """The difference: ``−58 points``; empty where there are no data."""
        c = self.comparison
        return "" if c.difference is None else difference(c.difference, c.unit)

    @property
    def limits(self) -> str:
        """Its 95 % interval: ``[−71, −44]``; empty where there is none."""
        c = self.comparison
        return interval(c.low, c.high, c.unit, of_difference=True)

    @property
    def reason(self) -> str:
        """Why nothing more is said: what could have been seen, or what is missing."""
        c = self.comparison
        if self.found:
            return ""
        if self.direction == "undetected" and _excludes_zero(c) and self.p_value is not None:
            return f"p = {self.p_value:.2g} once corrected for all that was looked at"
        if self.direction == "undetected" and c.smallest_detectable is not None:
            return f"the smallest we could have seen is {difference(c.smallest_detectable, c.unit).lstrip('+')}"
        return c.note

    @property
    def scope(self) -> str:
        """What the numbers speak of."""
        return scope_of([self])

    @property
    def pairs(self) -> str:
        """How many pairs stand behind the difference."""
        return count(self.comparison.n_pairs, "pair")


def weigh(
    comparisons: Sequence[Comparison], corrected: Sequence[float | None], rows: Iterable[Measurement]
) -> list[Evidence]:
    """Decide what each comparison of one family supports.

    Several looks find something by chance more often than one. A difference counts as detected
    where its interval excludes 0 and its p-value, corrected for the whole family, is at most 0.05.

    Args:
        comparisons: the family, made for the same sentences.
        corrected: their p-values, corrected; None where there was no test.
        rows: measurements that hold the means.

    Returns:
        One evidence per comparison, in the same order.
    """
    means = {(r.use_case, r.trial.label, r.metric): r.mean for r in rows}
    return [
        Evidence(
            c,
            means.get((c.use_case, c.a.label, c.metric)),
            means.get((c.use_case, c.b.label, c.metric)),
            p,
            _direction(c, p),
        )
        for c, p in zip(comparisons, corrected, strict=True)
    ]


def scope_of(evidence: Sequence[Evidence]) -> str:
    """What the numbers of several comparisons speak of, said once.

    Args:
        evidence: at least one.

    Returns:
        Numbers of prompts, and what follows for other prompts.
    """
    spans = []
    for scope, follows in _FOLLOWS.items():
        counts = sorted({e.comparison.n_prompts for e in evidence if e.comparison.scope == scope} - {0})
        if counts:
            most = count(counts[-1], "prompt")
            spans.append(f"{most if len(counts) == 1 else f'{counts[0]} to {most}'}, {follows}")
    return "; ".join(spans)


_FOLLOWS = {"use_case": "speaking of prompts like these", "prompt": "which says nothing of other prompts"}


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction for how many tests were made.

    Args:
        p_values: one per test; None was no test and counts for nothing.

    Returns:
        Corrected p-values, in the same order.

    Source: Holm 1979, Scandinavian Journal of Statistics 6.

    >>> holm([0.01, 0.03, None, 0.04])
    [0.03, 0.06, None, 0.06]
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[i] = largest
    return corrected


def _direction(comparison: Comparison, p_value: float | None) -> Direction:
    if comparison.difference is None or p_value is None:
        return "unknown"
    if p_value > LEVEL or not _excludes_zero(comparison):
        return "undetected"
    return "rises" if comparison.difference > 0 else "falls"


def _excludes_zero(comparison: Comparison) -> bool:
    low, high = comparison.low, comparison.high
    return low is not None and high is not None and (low > 0 or high < 0)
