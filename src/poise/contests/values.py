"""Parameters under which a step changes at a few known values alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from poise.contests.moment import Moment, Part, Step
from poise.contests.splits import alone, inside, joined, stretches
from poise.law.penalties import dry_penalty, dry_tokens, repeats, scoped, whole_text
from poise.params import PARAMETERS, SamplingParams
from poise.spans import Cut, Span


def value_parts(moment: Moment, span: Span) -> list[Part]:
    """Winners of a stretch, each asked where the step is the same throughout.

    Args:
        moment: the step.
        span: the stretch.

    Returns:
        Parts that tile the stretch; neighbours differ in their token.
    """
    whole = PARAMETERS[moment.step.parameter].kind == "int"
    parts = stretches(span, _changes(moment))
    return joined(alone(moment, part, inside(part, whole)[0]) for part in parts)


def _changes(moment: Moment) -> list[Cut]:
    """Where the step may change."""
    step = moment.step
    if step.parameter == "xtc_probability":
        return [Cut(moment.noise.coin, after=True)]
    if step.parameter in _EFFECTS:
        if step.changes is None:
            step.changes = tuple(_turns(step))
        return [Cut(float(n)) for n in step.changes]
    return []


def _turns(step: Step) -> Iterator[int]:
    """The whole numbers at which the parameter does something else than one below; none are past the text's length."""
    effect = _EFFECTS[step.parameter]
    least = int(PARAMETERS[step.parameter].low)
    before = effect(step, step.at(least))
    for n in range(least + 1, len(step.history.prompt) + len(step.history.output) + 2):
        now = effect(step, step.at(n))
        if now != before:
            yield n
        before = now


def _windowed(step: Step, params: SamplingParams) -> object:
    """How often each penalty sees each token."""
    penalties = [n for n in params.steps if n in PARAMETERS["penalty_last_n"].leaders]
    return [Counter(scoped(step.history, params, name)) for name in penalties]


def _lengthening(step: Step, params: SamplingParams) -> object:
    """What DRY takes off each token."""
    multiplier, base, allowed = (params.number(n) for n in ("dry_multiplier", "dry_base", "dry_allowed_length"))
    assert multiplier is not None
    assert base is not None
    assert allowed is not None
    found = repeats(dry_tokens(step.history, params), int(allowed), step.history.breakers)
    return {t: dry_penalty(length, float(multiplier), float(base), int(allowed)) for t, length in found.items()}


def _completing(step: Step, params: SamplingParams) -> object:
    """The tokens that no n tokens may be completed by."""
    n, said = params.no_repeat_ngram_size or 0, [*whole_text(step.history, params, "no_repeat_ngram_size")]
    start = tuple(said[len(said) - n + 1 :]) if n > 1 else ()
    return {said[end] for end in range(n - 1, len(said)) if tuple(said[end - n + 1 : end]) == start} if n else set()


_EFFECTS: Mapping[str, Callable[[Step, SamplingParams], object]] = {
    "penalty_last_n": _windowed,
    "dry_allowed_length": _lengthening,
    "dry_last_n": _lengthening,
    "no_repeat_ngram_size": _completing,
}
