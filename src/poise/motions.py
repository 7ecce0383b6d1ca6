"""Which parameter can be dialled beside which others, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

from poise.params import DIALECTS, PARAMETERS, SamplingParams

Kind = Literal["lines", "rays", "nested", "curves", "bounds"]

PREFIX = ("top_k", "top_p", "min_p")  # truncations that keep the likeliest tokens, down to somewhere


class Motion(NamedTuple):
    """How the winner of a step depends on a moving parameter.

    Args:
        kind: the mechanism: ``lines`` (upper envelope), ``rays`` (lines that enter one by one), ``nested``
            (sets that only grow or only shrink), ``curves`` (scores of one crossing or two), ``bounds``
            (not monotone: bisected, stretches proved one by one).
        why: the reason, one sentence.
    """

    kind: Kind
    why: str

    @property
    def exact(self) -> bool:
        """Whether every value is known exactly without a resolution."""
        return self.kind != "bounds"


def motion(parameter: str, fixed: SamplingParams) -> Motion:
    """How a moving parameter acts beside fixed ones.

    Args:
        parameter: the one that moves.
        fixed: the others; what it says of the moving one does not matter.

    Returns:
        The mechanism, and why it is the right one.

    >>> motion("temperature", SamplingParams(top_p=0.9)).kind
    'rays'
    """
    stage = PARAMETERS[parameter].stage
    beside = {name for name in fixed.active() if name != parameter}
    if stage == "temperature":
        return _temperature(fixed, beside)
    cuts = {n for n in beside if PARAMETERS[n].stage == "truncation"}
    if stage == "truncation":
        return _truncation(parameter, fixed, cuts)
    return _penalty(parameter, fixed, beside, cuts)


def after(parameter: str, fixed: SamplingParams, beside: set[str]) -> list[str]:
    """Those of `beside` that the dialect applies after `parameter`, in order."""
    order = DIALECTS[fixed.dialect].order
    return [n for n in order[order.index(parameter) + 1 :] if n in beside]


def _temperature(fixed: SamplingParams, beside: set[str]) -> Motion:
    later = after("temperature", fixed, beside)
    odd = [n for n in later if n not in PREFIX]
    if odd:
        return Motion(
            "bounds", f"{odd[0]} comes after the temperature and keeps other tokens at each value, in no fixed order"
        )
    if {"top_p", "min_p"} & {*later}:
        return Motion("rays", "the kept set only grows with the temperature, and who enters later has no larger logit")
    if later:
        return Motion("lines", "the temperature does not change which k tokens are the likeliest: an upper envelope")
    return Motion("lines", "each token's score is a line in the temperature: upper envelope")


def _truncation(parameter: str, fixed: SamplingParams, cuts: set[str]) -> Motion:
    if fixed.temperature == 0:
        return Motion("nested", "at temperature 0 the largest logit is taken before any truncation: nothing changes")
    later = after(parameter, fixed, cuts)
    if parameter in PREFIX and "typical_p" in later:
        return Motion("bounds", f"typical_p comes after {parameter} and keeps other tokens whenever that one moves")
    if parameter not in PREFIX and later:
        return Motion("bounds", f"{parameter} may let in a likelier token, and then {later[0]} drops another one")
    return Motion("nested", "the kept sets are nested: the winner is a record over a growing set")


def _penalty(parameter: str, fixed: SamplingParams, beside: set[str], cuts: set[str]) -> Motion:
    if cuts and fixed.temperature != 0:
        first = next(n for n in DIALECTS[fixed.dialect].order if n in cuts)
        return Motion("bounds", f"the penalty reorders the tokens ahead of {first}, which then keeps others")
    if parameter == "repetition_penalty":
        return Motion("curves", "scores are l/r, l·r or constant: two of them cross at most twice, at known places")
    if "repetition_penalty" in after(parameter, fixed, beside):
        return Motion("bounds", "the repetition penalty comes after it and bends its lines at zero")
    return Motion("lines", "each token's score is a line in the penalty: upper envelope")
