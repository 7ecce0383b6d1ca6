"""Which parameter can be dialled beside which others, and why."""

from __future__ import annotations

from typing import Literal, NamedTuple

from poise.params import PARAMETERS, SamplingParams

Kind = Literal["lines", "rays", "nested", "curves", "values", "bounds", "never"]

# What the truncations do, each proved in docs/method.md.
TOPS = frozenset({  # keep the likeliest tokens, down to somewhere
    "top_k", "top_p", "min_p", "top_n_sigma", "epsilon_cutoff", "eta_cutoff", "top_h", "tfs", "top_a",
})  # fmt: skip
LARGER = frozenset({"top_k", "top_p", "min_p", "top_a"})  # of these, keep no fewer tokens where more were left before
WARM = frozenset({"top_p", "min_p", "top_a"})  # of these, let in more as it gets hotter
STILL = frozenset({"top_k", "top_n_sigma"})  # of these, do not depend on the temperature
COUNTED = frozenset({"penalty_last_n", "dry_allowed_length", "dry_last_n", "no_repeat_ngram_size"})
HEATED = frozenset({"dynatemp_range", "smoothing_factor"})  # what looks at all logits that are left
NO_GUIDANCE = "it needs a second pass without the prompt at each step, which no engine of poise makes"


class Motion(NamedTuple):
    """How the winner of a step depends on a moving parameter.

    Args:
        kind: the mechanism: ``lines`` (upper envelope), ``rays`` (lines that enter one by one), ``nested``
            (sets that only grow or only shrink), ``curves`` (scores of one crossing or two), ``values`` (the step
            changes at a few known values and nowhere else), ``bounds`` (not monotone: bisected, stretches proved one
            by one), ``never`` (it cannot be dialled).
        why: the reason, one sentence.
    """

    kind: Kind
    why: str

    @property
    def exact(self) -> bool:
        """Whether every value is known exactly without a resolution."""
        return self.kind not in ("bounds", "never")

    @property
    def possible(self) -> bool:
        """Whether there is a dial at all."""
        return self.kind != "never"


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
    if parameter == "guidance_scale":
        return Motion("never", NO_GUIDANCE)
    if "mirostat" in (parameter, *fixed.steps) or parameter.startswith("mirostat_"):
        return Motion("never", "mirostat's cut depends on the tokens that were drawn, which differ at each value")
    order = _order(parameter, fixed)
    found = _motion(parameter, fixed, order)
    if found.kind == "bounds" and (late := _late_penalty(order)):
        return Motion("never", f"{late} comes after steps that cut or heat, where poise has no bounds for it")
    return found


def moving_step(parameter: str, fixed: SamplingParams) -> str:
    """The step that a parameter moves: itself, or its leader, the first that is on.

    Args:
        parameter: the one that moves.
        fixed: the others.

    Returns:
        Name of the step.
    """
    leaders = PARAMETERS[parameter].leaders
    return next((n for n in fixed.steps if n in leaders), leaders[0]) if leaders else parameter


def after(parameter: str, fixed: SamplingParams) -> list[str]:
    """The steps that act after the one that moves, in order."""
    order = _order(parameter, fixed)
    return order[order.index(moving_step(parameter, fixed)) + 1 :]


def before(parameter: str, fixed: SamplingParams) -> list[str]:
    """The steps that act before the one that moves, in order."""
    order = _order(parameter, fixed)
    return order[: order.index(moving_step(parameter, fixed))]


def is_cut(step: str) -> bool:
    """Whether a step keeps some tokens and cuts the others, by their logits."""
    return step in PARAMETERS and PARAMETERS[step].stage == "truncation"


def is_penalty(step: str) -> bool:
    """Whether a step looks at what was said, or at ids alone."""
    return step not in PARAMETERS or PARAMETERS[step].stage == "penalty"


def _order(parameter: str, fixed: SamplingParams) -> list[str]:
    """The steps that are on, the moving one among them."""
    on = {*fixed.steps, moving_step(parameter, fixed)}
    return [step for step in fixed.order or fixed.how.order if step in on]


def _motion(parameter: str, fixed: SamplingParams, order: list[str]) -> Motion:
    p = PARAMETERS[parameter]
    if parameter in COUNTED:
        return Motion("values", "whole numbers, of which only those up to the text's length differ: each is tried")
    if parameter == "xtc_probability":
        return Motion("values", "one coin a step decides whether it strikes, so there are two sets: both are tried")
    if fixed.greedy and not fixed.how.rules.greedy_last and p.stage in ("reshaping", "truncation"):
        kind: Kind = "values" if p.stage == "reshaping" else "nested"
        return Motion(kind, f"at temperature 0 the largest logit is taken before any {p.stage}: nothing changes")
    if parameter == "temperature":
        return _temperature(fixed, order)
    if p.stage == "temperature":
        return Motion("bounds", "each step's temperature follows the entropy of what is left of it")
    if p.stage == "reshaping":
        return Motion("bounds", "it bends every logit, each in its own way")
    later = after(parameter, fixed)
    return _truncation(parameter, fixed, later) if p.stage == "truncation" else _penalty(parameter, fixed, later)


def _late_penalty(order: list[str]) -> str | None:
    """A penalty behind something else, as a custom order may have it."""
    first = next((i for i, step in enumerate(order) if not is_penalty(step)), len(order))
    return next((step for step in order[first:] if is_penalty(step)), None)


def _temperature(fixed: SamplingParams, order: list[str]) -> Motion:
    later = after("temperature", fixed)
    if "dynatemp_range" in order:
        return Motion("bounds", "the dynamic temperature follows the entropy of what is left of each step")
    odd = [n for n in later if n not in STILL | WARM]
    if odd:
        does = "bends the logits otherwise at each value" if odd[0] in HEATED else "acts otherwise at each value"
        keeps = "keeps other tokens at each value, in no fixed order"
        return Motion("bounds", f"{odd[0]} comes after the temperature and {keeps if is_cut(odd[0]) else does}")
    warm = [n for n in later if n in WARM]
    if warm and "top_n_sigma" in later[later.index(warm[0]) :]:
        return Motion("bounds", f"top_n_sigma comes after {warm[0]}, and its deviation moves with what is let in")
    if warm:
        return Motion("rays", "the kept set only grows with the temperature, and who enters later has no larger logit")
    if later:
        return Motion("lines", "the temperature does not change which tokens are kept: an upper envelope")
    return Motion("lines", "each token's score is a line in the temperature: upper envelope")


def _truncation(parameter: str, fixed: SamplingParams, later: list[str]) -> Motion:
    step = moving_step(parameter, fixed)
    cuts = [n for n in later if is_cut(n)]
    if heated := [n for n in later if n in HEATED]:
        return Motion("bounds", f"{heated[0]} comes after {step} and depends on all that it leaves")
    if step in TOPS:
        if odd := [n for n in cuts if n not in LARGER]:
            return Motion("bounds", f"{odd[0]} comes after {step} and keeps other tokens whenever that one moves")
        if cuts and any(is_penalty(n) for n in later[: later.index(cuts[-1])]):
            return Motion("bounds", f"a penalty between {step} and {cuts[-1]} puts the tokens in another order")
    elif cuts:
        return Motion("bounds", f"{parameter} may let in a likelier token, and then {cuts[0]} drops another one")
    return Motion("nested", "the kept sets are nested: the winner is a record over a growing set")


def _penalty(parameter: str, fixed: SamplingParams, later: list[str]) -> Motion:
    greedy = fixed.greedy
    cuts = [n for n in later if is_cut(n)]
    harmless = greedy and (not fixed.how.rules.greedy_last or all(n in TOPS for n in cuts))
    if cuts and not harmless:
        return Motion("bounds", f"the penalty reorders the tokens ahead of {cuts[0]}, which then keeps others")
    if not greedy and (heated := [n for n in later if n in HEATED]):
        return Motion("bounds", f"the penalty changes what {heated[0]} makes of every token")
    if heated := [n for n in before(parameter, fixed) if n == "temperature" or n in HEATED]:
        return Motion("bounds", f"{heated[0]} comes before the penalty and changes what it weighs")
    if parameter == "dry_base":
        return Motion("bounds", "each token's score falls with a power of its own")
    if parameter == "repetition_penalty":
        return Motion("curves", "scores are l/r, l·r or constant: two of them cross at most twice, at known places")
    if "repetition_penalty" in later:
        return Motion("bounds", "the repetition penalty comes after it and bends its lines at zero")
    return Motion("lines", "each token's score is a line in the penalty: upper envelope")
