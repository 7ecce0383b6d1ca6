"""What became of each parameter on its way into another engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

Kind = Literal["exact", "approximate", "impossible"]
_WORST: tuple[Kind, ...] = ("exact", "approximate", "impossible")


class Share(NamedTuple):
    """How far apart two laws are along texts.

    Args:
        mean: of the total-variation distance over next tokens, 0 to 1.
        highest: the largest of them.
        tokens: how many next-token distributions were looked at.
        prompts: of how many prompts.
    """

    mean: float
    highest: float
    tokens: int
    prompts: int

    def __str__(self) -> str:
        return f"{self.mean:.2g} in the mean, {self.highest:.2g} at most, of {self.tokens:,} next tokens"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one parameter.

    Args:
        parameter: its name.
        value: in the settings that were to be carried.
        there: in the settings that came out; None where it is not among them.
        kind: ``exact``: the law has not changed by it; ``approximate``; ``impossible``: it is lost.
        why: of what is not exact, what changes; of what is, how it was kept where it is written otherwise.
        ties: whether the laws differ only on rows with equal logits, or where a sum of probabilities meets the bound.
        beside: other parameters without which nothing would be lost.
        total_variation: how far this alone moves the law; None where it was not measured.
    """

    parameter: str
    value: Any
    there: Any
    kind: Kind = "exact"
    why: str = ""
    ties: bool = False
    beside: tuple[str, ...] = ()
    total_variation: Share | None = None

    def measured(self, found: Share | None) -> Outcome:
        """The same with a distance."""
        return replace(self, total_variation=found)


class Reason(NamedTuple):
    """Why a parameter is not, or not simply, carried over as it is; see `Outcome`."""

    parameter: str
    kind: Kind
    why: str
    ties: bool = False
    beside: tuple[str, ...] = ()


def summed(parameter: str, value: Any, there: Any, reasons: Sequence[Reason]) -> Outcome:
    """The outcome of a parameter for all that was found about it.

    Args:
        parameter: its name.
        value, there: see `Outcome`.
        reasons: all that speak of it.

    Returns:
        The outcome: as bad as the worst of them.

    >>> summed("top_k", 40, 40, [Reason("top_k", "approximate", "ties", ties=True)]).kind
    'approximate'
    """
    mine = [r for r in reasons if r.parameter == parameter]
    kind: Kind = max((r.kind for r in mine), key=_WORST.index, default="exact")
    words = parameter == "bad_words" and kind != "exact"  # one may be lost, and another a bias that is not -∞
    counted = [r for r in mine if r.kind == kind or (words and r.kind != "exact")]
    return Outcome(
        parameter, value, there if kind != "impossible" else None, kind,
        "; ".join(dict.fromkeys(r.why for r in counted if r.why)),
        ties=bool(counted) and kind != "exact" and all(r.ties for r in counted),
        beside=tuple(dict.fromkeys(name for r in counted for name in r.beside)),
    )  # fmt: skip
