"""One step's winner as a function of a parameter, exactly."""

from __future__ import annotations

from poise import draws
from poise.contests.lines import Heat
from poise.contests.moment import Contest, Moment, Part
from poise.contests.nested import Nested
from poise.contests.penalties import Push, Repeat
from poise.contests.splits import heat_parts, parts
from poise.motions import Motion
from poise.params import PARAMETERS, SamplingParams
from poise.spans import Span


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
    if moment.parameter == "temperature":
        return heat_parts(contest(moment, how), span)
    return parts(contest(moment, how), span, PARAMETERS[moment.parameter].kind == "int")


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
    if moment.parameter == "temperature":
        [values] = moment.values([_cuts_alone(moment.fixed)])
        zero = None
        if any(PARAMETERS[n].stage == "truncation" for n in moment.fixed.active()):
            zero = draws.greedy(moment.values([moment.at(0.0)])[0])
        return Heat(values, moment.noise, zero)
    return Push(moment)


def _cuts_alone(fixed: SamplingParams) -> SamplingParams:
    """Everything but the temperature: penalties, and cuts that the temperature does not change."""
    return SamplingParams.model_validate({**fixed.active(), "temperature": None, "dialect": fixed.dialect})
