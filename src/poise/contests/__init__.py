"""One step's winner as a function of a parameter, exactly."""

from __future__ import annotations

import math

from poise.contests.bounds import proved_parts
from poise.contests.lines import Heat
from poise.contests.moment import Contest, Moment, Part, Said, Step
from poise.contests.nested import Nested
from poise.contests.penalties import Push, Repeat
from poise.contests.splits import heat_parts, joined, parts, stretches
from poise.contests.values import value_parts
from poise.motions import Motion
from poise.params import PARAMETERS
from poise.spans import Cut, Span

__all__ = ["Contest", "Moment", "Part", "Said", "Step", "contest", "winners"]


def winners(moment: Moment, how: Motion, span: Span, resolution: float | None = None) -> list[Part]:
    """Who wins a step, on every stretch of a parameter.

    Args:
        moment: the step.
        how: the mechanism, from `motions.motion`, any but ``never``.
        span: the stretch, not empty.
        resolution: below this width nothing is split that must be proved; None where everything is exact.

    Returns:
        Parts that tile the stretch; neighbours differ in their token.
    """
    step = moment.step
    if how.kind == "values":
        return value_parts(moment, span)
    if step.parameter == "temperature":
        if how.kind == "bounds":
            return heat_parts(moment, span, lambda part: proved_parts(moment, part, resolution or math.inf))
        found = contest(moment, how)
        return heat_parts(moment, span, lambda part: parts(found, part))
    if _is_off_at_zero(step):
        rest = [_winners(moment, how, part, resolution) for part in stretches(span, [Cut(0.0, after=True)])]
        return joined(part for found in rest for part in found)
    return _winners(moment, how, span, resolution)


def _winners(moment: Moment, how: Motion, span: Span, resolution: float | None) -> list[Part]:
    if how.kind == "bounds":
        return proved_parts(moment, span, resolution or math.inf)
    return parts(contest(moment, how), span, PARAMETERS[moment.step.parameter].kind == "int")


def _is_off_at_zero(step: Step) -> bool:
    """Whether 0 switches a step off that does something else the nearer to 0 it is."""
    off = step.fixed.how.rules.top_p_zero == "off"
    return step.parameter in ("smoothing_factor", "dynatemp_range") or (step.parameter == "top_p" and off)


def contest(moment: Moment, how: Motion) -> Contest:
    """The mechanism for a step.

    Args:
        moment: the step.
        how: from `motions.motion`: ``lines``, ``rays``, ``nested`` or ``curves``.

    Returns:
        The contest.
    """
    if how.kind in ("rays", "nested"):
        return Nested(moment, how)
    if how.kind == "curves":
        return Repeat(moment)
    return Heat(moment) if moment.step.parameter == "temperature" else Push(moment)
