"""All steps of a law, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from poise.law import heat as hot
from poise.law import mirostat, penalties, truncations
from poise.law.rows import FRESH, NOTHING_SAID, Facts, History, Row, State
from poise.params import DIALECTS, PARAMETERS, SamplingParams

Definition = Callable[[Row, Facts], Row]


def _plain(function: Callable[[Row, float], Row], name: str) -> Definition:
    """A step that looks at its number alone."""
    return lambda row, facts: function(row, facts.number(name))


def _penalty(function: Callable[[Row, float, Any], Row], name: str) -> Definition:
    return lambda row, facts: function(row, facts.number(name), penalties.scoped(facts.history, facts.params, name))


def _guidance(row: Row, facts: Facts) -> Row:
    if facts.unconditional is None:
        raise penalties.unguided(facts.params)
    return penalties.guidance_scale(row, facts.number("guidance_scale"), facts.unconditional)


def _ngrams(row: Row, facts: Facts) -> Row:
    said = penalties.whole_text(facts.history, facts.params, "no_repeat_ngram_size")
    return penalties.no_repeat_ngram_size(row, int(facts.number("no_repeat_ngram_size")), said)


def _bad_words(row: Row, facts: Facts) -> Row:
    said = penalties.whole_text(facts.history, facts.params, "bad_words")
    return penalties.bad_words(row, facts.params.bad_words or (), said)


def _dynatemp(row: Row, facts: Facts) -> Row:
    return hot.temperature(row, heat_of("dynatemp_range", row, facts.params, facts.listed))


def _smoothing(row: Row, facts: Facts) -> Row:
    return hot.smoothing(row, facts.number("smoothing_factor"), facts.number("smoothing_curve"))


def _top_k(row: Row, facts: Facts) -> Row:
    return truncations.top_k(row, int(facts.number("top_k")), facts.params.how.rules.top_k_ties)


def _top_p(row: Row, facts: Facts) -> Row:
    rules = facts.params.how.rules
    whole = facts.whole if joint(facts.params) else None
    return truncations.top_p(row, facts.number("top_p"), rules.top_p_passes, whole, rules.top_p_ties)


def _typical_p(row: Row, facts: Facts) -> Row:
    rules = facts.params.how.rules
    return truncations.typical_p(row, facts.number("typical_p"), rules.typical_ties, rules.typical_passes)


def _xtc(row: Row, facts: Facts) -> Row:
    if not facts.state.struck:
        return row
    return truncations.xtc(row, facts.number("xtc_threshold"), facts.params.how.rules.xtc_strict)


def _mirostat(row: Row, facts: Facts) -> Row:
    return mirostat.mirostat(row, int(facts.number("mirostat")), cut_of(facts.params, facts.state))


PENALTIES: Mapping[str, Definition] = {
    "guidance_scale": _guidance,
    "logit_bias": lambda row, facts: penalties.logit_bias(row, facts.params.logit_bias or ()),
    "repetition_penalty": _penalty(penalties.repetition_penalty, "repetition_penalty"),
    "frequency_penalty": _penalty(penalties.frequency_penalty, "frequency_penalty"),
    "presence_penalty": _penalty(penalties.presence_penalty, "presence_penalty"),
    "dry_multiplier": penalties.dry,
    "no_repeat_ngram_size": _ngrams,
    "bad_words": _bad_words,
}
RESHAPINGS: Mapping[str, Definition] = {
    "temperature": lambda row, facts: hot.temperature(row, hot.heat(facts.params)),
    "dynatemp_range": _dynatemp,
    "smoothing_factor": _smoothing,
    "top_n_sigma": _plain(truncations.top_n_sigma, "top_n_sigma"),
    "top_h": _plain(truncations.top_h, "top_h"),
    "top_k": _top_k,
    "top_p": _top_p,
    "min_p": _plain(truncations.min_p, "min_p"),
    "typical_p": _typical_p,
    "epsilon_cutoff": _plain(truncations.epsilon_cutoff, "epsilon_cutoff"),
    "eta_cutoff": _plain(truncations.eta_cutoff, "eta_cutoff"),
    "tfs": _plain(truncations.tfs, "tfs"),
    "top_a": _plain(truncations.top_a, "top_a"),
    "mirostat": _mirostat,
    "xtc_probability": _xtc,
}
HEATS = ("temperature", "dynatemp_range")
DEFINITIONS: Mapping[str, Definition] = {**PENALTIES, **RESHAPINGS}
assert {step for dialect in DIALECTS.values() for step in dialect.order} == DEFINITIONS.keys()
assert {name for name, p in PARAMETERS.items() if not p.leaders} <= DEFINITIONS.keys()


class Step(NamedTuple):
    """One reshaping as applied: its name, its value (a number, or a list as tuples), and the row after it, (V,)."""

    name: str
    value: Any
    logits: Row


def joint(params: SamplingParams) -> bool:
    """Whether top-p weighs the row before top-k."""
    scope = params.how.rules.top_p_scope
    return scope == "joint" or (scope == "joint without min_p" and not params.min_p)


def cut_of(params: SamplingParams, state: State) -> float:
    """Mirostat's cut at a step, bits: 2 tau at first."""
    return 2.0 * Facts(params).number("mirostat_tau") if state.mu is None else state.mu


def heat_of(name: str, row: Row, params: SamplingParams, listed: int = 0) -> float:
    """The temperature that a step divides a row by: the plain one, or the dynamic one."""
    if name == "temperature":
        return hot.heat(params)
    reach, exponent = (Facts(params).number(n) for n in ("dynatemp_range", "dynatemp_exponent"))
    return hot.dynamic(row, hot.heat(params), reach, exponent, listed if counts_barred(params) else 0)


def counts_barred(params: SamplingParams) -> bool:
    """Whether a dynamic temperature counts barred tokens that are still on the engine's list."""
    return params.how.rules.dynatemp_counts == "listed" and "dynatemp_range" in params.steps


def listed_after(name: str, before: int, after: int, facts: Facts) -> int:
    """How many tokens a step leaves on the list: some rebuild it, some shorten it, others only write -∞ into it.

    Args:
        name: the step.
        before, after: tokens that were, and are, not cut.
        facts: with the list's length before the step.

    Returns:
        Its length after it.
    """
    if name in ("top_p", "min_p", "typical_p"):
        return after
    if name == "top_k":
        return min(int(facts.number("top_k")), facts.listed)
    return facts.listed - (before - after if name == "xtc_probability" else 0)


def acting(params: SamplingParams) -> tuple[str, ...]:
    """The steps that act, in order.

    A dynamic temperature takes the place of the plain one. Greedy takes the likeliest of what the penalties left, and
    no other step acts, except in dialects whose greedy takes the likeliest of what all steps before it left; none acts
    on the one token that greedy leaves.
    """
    on = params.steps
    if params.greedy:
        on = on[: on.index("temperature") + 1]
        return on if params.how.rules.greedy_last else tuple(n for n in on if n in (*PENALTIES, "temperature"))
    return tuple(n for n in on if n != "temperature") if "dynatemp_range" in on else on


def steps(
    logits: Row,
    params: SamplingParams,
    history: History = NOTHING_SAID,
    state: State = FRESH,
    *,
    unconditional: Row | None = None,
) -> list[Step]:
    """Apply a law to one row and keep every intermediate row.

    Args:
        logits: the model's, shape (V,).
        params: the law.
        history: what was said before.
        state: XTC's coin and mirostat's cut.
        unconditional: logits of the same text without its prompt, (V,); guidance needs them.

    Returns:
        The active steps in the dialect's order.

    Raises:
        ParameterError: a token id beyond the vocabulary, every token barred, guidance without the other logits.

    >>> [s.name for s in steps(np.array([3.0, 2.0, 1.0]), SamplingParams(temperature=0.5, top_p=0.8))]
    ['temperature', 'top_p']
    """
    return apply(logits, acting(params), Facts(params, history, state, unconditional))


def apply(logits: Row, names: Sequence[str], facts: Facts) -> list[Step]:
    """Apply steps in the given order.

    Args:
        logits: (V,).
        names: of the steps, first to last.
        facts: what they look at.

    Returns:
        Each with the row after it.
    """
    return [Step(name, getattr(facts.params, name), row) for name, row, _ in _followed(logits, names, facts)]


def _followed(logits: Row, names: Sequence[str], facts: Facts) -> Iterator[tuple[str, Row, Facts]]:
    """Each step with the row after it and what it looked at."""
    row = np.asarray(logits, dtype=np.float64)
    facts = facts._replace(listed=facts.listed or row.size)
    counts = counts_barred(facts.params)
    for name in names:
        if name == "top_k":
            facts = facts._replace(whole=row)
        after = DEFINITIONS[name](row, facts)
        yield name, after, facts
        if counts:
            were, are = (int(np.count_nonzero(z > -np.inf)) for z in (row, after))
            facts = facts._replace(listed=listed_after(name, were, are, facts))
        row = after


def reshape(
    logits: Row,
    params: SamplingParams,
    history: History = NOTHING_SAID,
    state: State = FRESH,
    *,
    unconditional: Row | None = None,
) -> Row:
    """The reshaped logits of one row, (V,), -inf where a token is cut; see `steps`.

    >>> reshape(np.array([3.0, 2.0, 1.0]), SamplingParams(temperature=0.5, top_p=0.8))
    array([  6., -inf, -inf])
    """
    done = steps(logits, params, history, state, unconditional=unconditional)
    return done[-1].logits if done else np.asarray(logits, dtype=np.float64)


def scaled(logits: Row, names: Sequence[str], facts: Facts) -> tuple[Row, float]:
    """What steps make of a row, as the noise takes it: token i's score is `values[i] + scale * g[i]`.

    Args:
        logits: (V,).
        names: of the steps, first to last.
        facts: what they look at.

    Returns:
        The row before the division by the temperature, (V,), -inf where a token is cut, and the temperature, 0 for
        greedy.
    """
    row = values = np.asarray(logits, dtype=np.float64)
    scale, heated = 1.0, False
    for name, after, seen in _followed(row, names, facts):
        if name in HEATS:
            scale, heated = heat_of(name, row, seen.params, seen.listed), True
            if scale == 0:
                break
        elif name == "smoothing_factor" or name in PENALTIES:
            values = after * scale if heated else after
        else:
            values = np.where(after > -np.inf, values, -np.inf)
        row = after
    return values, scale
