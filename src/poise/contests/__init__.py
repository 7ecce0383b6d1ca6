"""One step's winner as a function of a parameter, exactly."""

from __future__ import annotations

import math

from poise.contests.bounds import proved_parts
from poise.contests.lines import Heat
from poise.contests.moment import Contest, Moment, Part, Step
from poise.contests.nested import Nested
from poise.contests.penalties import Push, Repeat
from poise.contests.splits import heat_parts, parts
from poise.motions import Motion
from poise.params import PARAMETERS
from poise.spans import Span

__all__ = ["Contest", "Moment", "Part", "Step", "contest", "winners"]


def winners(moment: Moment, how: Motion, span: Span, resolution: float | None = None) -> list[Part]:
    """Who wins a step, on every stretch of a parameter.

    Args:
        moment: the step.
        how: the mechanism, from `motions.motion`.
        span: the stretch, not empty.
        resolution: below this width nothing is split that must be proved; None where everything is exact.

    Returns:
        Parts that tile the stretch; neighbours differ in their token.
    """
    step = moment.step
    if how.kind == "bounds":
        return proved_parts(moment, span, resolution or math.inf)
    if step.parameter == "temperature":
        return heat_parts(contest(moment, how), span)
    return parts(contest(moment, how), span, PARAMETERS[step.parameter].kind == "int")


def contest(moment: Moment, how: Motion) -> Contest:
    """The mechanism for a step.

    Args:
        moment: the step.
        how: from `motions.motion`, any but ``bounds``.

    Returns:
        The contest.
    """
    if how.kind in ("rays", "nested"):
        return Nested(moment, how)
    if how.kind == "curves":
        return Repeat(moment)
    return Heat(moment) if moment.step.parameter == "temperature" else Push(moment)
