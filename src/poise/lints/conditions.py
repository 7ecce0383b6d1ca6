"""When each rule of a lint holds."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from poise.dialects import DIALECTS
from poise.exports.commuting import KEEPS_TOP
from poise.exports.working import taken_apart
from poise.lints.record import value_said
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams
from poise.traces import own

_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
_FEW = 3  # tokens of a top-k that leaves other cuts next to nothing
_HOT = 1.5  # a temperature from which on the tail needs a cut
_TINY = 0.05  # an epsilon or eta from which on it was probably meant in units of 0.0001


class Facts(NamedTuple):
    """What the rules look at.

    Args:
        params: the settings.
        draws: texts of each prompt that are to be drawn.
        size: the model's vocabulary; None without a model.
        there: dialect of the target that they go to; empty where they stay.
    """

    params: SamplingParams
    draws: int = 1
    size: int | None = None
    there: str = ""

    @property
    def cuts(self) -> list[str]:
        """The truncations that are on, in order."""
        return [n for n in self.params.steps if n in PARAMETERS and PARAMETERS[n].stage == "truncation"]

    def on(self, name: str) -> float | None:
        """A number where it is on."""
        value = self.params.active().get(name)
        return None if value is None else float(value)


Found = Mapping[str, Any]  # what fills the sentence; `about` names the parameters


def neutral(f: Facts) -> Iterator[Found]:
    """What is said and off."""
    for name, parameter in PARAMETERS.items():
        value = getattr(f.params, name)
        if value is None or value != parameter.neutral or parameter.leaders:
            continue
        usual = [f"{d.name}'s {d.defaults[name]:g}" for d in DIALECTS.values() if d.defaults.get(name, value) != value]
        yield {"about": name, "keep": f", or keep it against a default such as {usual[0]}" if usual else ""}


def usual(f: Facts) -> Iterator[Found]:
    """What shapes a step as it would be shaped anyway."""
    for name in (n for leader in f.params.steps for n in FOLLOWERS.get(leader, ())):
        value = getattr(f.params, name)
        if value is not None and value == PARAMETERS[name].neutral:
            yield {"about": name}


def never_acts(f: Facts) -> Iterator[Found]:
    """What can be left out of the law as it is."""
    law = taken_apart(f.params)
    idle: dict[str, list[str]] = {}
    for name, _, why, *_ in law.reasons:
        leaders = PARAMETERS[name].leaders if name in PARAMETERS else ()
        if name not in law.numbers and name not in law.lists and not {*leaders} & {*idle.get(why, ())}:
            idle.setdefault(why, []).append(name)
    for why, names in idle.items():
        yield {"about": ",".join(names), "why": why, **_number(names)}


def _number(names: list[str]) -> Found:
    return {"change": "changes", "them": "it"} if len(names) == 1 else {"change": "change", "them": "them"}


def taken_otherwise(f: Facts) -> Iterator[Found]:
    """What the dialect takes for another value."""
    law = taken_apart(f.params)
    for name, _, why, *_ in law.reasons:
        if name in law.numbers:
            yield {"about": name, "why": why}


def own_window(f: Facts) -> Iterator[Found]:
    """A window that the engine has not; where the settings go to another one, what that has is said instead."""
    if own.own_window(f.params) and f.there in ("", f.params.dialect):
        yield {"about": "penalty_last_n", "dialect": f.params.dialect}


def zero_off(f: Facts) -> Iterator[Found]:
    """A nucleus of 0 where that is off."""
    if f.params.top_p == 0 and f.params.how.rules.top_p_zero == "off":
        yield {"about": "top_p", "dialect": f.params.dialect}


def whole_vocabulary(f: Facts) -> Iterator[Found]:
    """A top-k as large as the model's vocabulary."""
    k = f.on("top_k")
    if f.size is not None and k is not None and k >= f.size:
        yield {"about": "top_k", "size": f"{f.size:,}"}


def one_token(f: Facts) -> Iterator[Found]:
    """A cut to one token, ties apart: what neither came before it nor moves the likeliest token does nothing."""
    if f.params.greedy:
        return
    steps = f.params.steps
    one = next((n for n, v in (("top_k", 1), ("top_p", 0)) if n in steps and getattr(f.params, n) == v), None)
    if one is None:
        return
    still = KEEPS_TOP | {"temperature", "dynatemp_range", "smoothing_factor"}
    shapes = [n for n in steps if n in PARAMETERS and PARAMETERS[n].stage != "penalty" and n != one]
    idle = [n for n in shapes if n in still or steps.index(n) > steps.index(one)]
    if idle and all(n in still for n in steps[: steps.index(one)] if n in shapes):
        yield {"about": ",".join(idle), "one": value_said(one, getattr(f.params, one))}


def eta_behind_epsilon(f: Facts) -> Iterator[Found]:
    """The floor of eta is at most its own value, which epsilon has cut already; what is left only gains."""
    epsilon, eta = f.on("epsilon_cutoff"), f.on("eta_cutoff")
    steps = f.params.steps
    if epsilon and eta and epsilon >= eta and steps.index("epsilon_cutoff") + 1 == steps.index("eta_cutoff"):
        yield {"about": "eta_cutoff", "behind": f"epsilon_cutoff={epsilon:g}"}


def top_a_behind_min_p(f: Facts) -> Iterator[Found]:
    """m p_max reaches a p_max² wherever m >= a, and no later cut lowers a ratio to the largest."""
    a, m = f.on("top_a"), f.on("min_p")
    steps = f.params.steps
    if a and m and m >= a and steps.index("min_p") < steps.index("top_a"):
        between = steps[steps.index("min_p") : steps.index("top_a")]
        if not {"temperature", "dynatemp_range", "smoothing_factor"} & {*between}:
            yield {"about": "top_a", "behind": f"min_p={m:g}"}


def short_dry(f: Facts) -> Iterator[Found]:
    """A window of DRY that is too short for any sequence."""
    window, allowed = f.params.dry_last_n, f.params.number("dry_allowed_length")
    if f.on("dry_multiplier") and window and allowed is not None and window <= allowed:
        yield {"about": "dry_multiplier", "window": window, "allowed": f"{allowed:g}"}


def zero_bias(f: Facts) -> Iterator[Found]:
    """Biases of 0."""
    if none := [token for token, bias in f.params.logit_bias or () if bias == 0]:
        yield {"about": "logit_bias", "tokens": ", ".join(map(str, none[:5]))}


def beyond(f: Facts) -> Iterator[Found]:
    """Listed tokens that the model has not."""
    for name in ("logit_bias", "bad_words"):
        listed = getattr(f.params, name) or ()
        tokens = [pair[0] for pair in listed] if name == "logit_bias" else list(itertools.chain(*listed))
        beyond = [token for token in tokens if f.size is not None and token >= f.size]
        if beyond and f.size is not None:
            yield {"about": name, "token": beyond[0], "size": f"{f.size:,}", "last": f.size - 1}


def biased_and_barred(f: Facts) -> Iterator[Found]:
    """Tokens that are lifted and barred."""
    barred = {word[0] for word in f.params.bad_words or () if len(word) == 1}
    if both := [token for token, bias in f.params.logit_bias or () if token in barred and bias > -math.inf]:
        yield {"about": "logit_bias,bad_words", "token": both[0]}


def same_draws(f: Facts) -> Iterator[Found]:
    """Several draws of one text."""
    one = _certain(f.params)
    if one and f.draws > 1:
        more = "a temperature above 0" if one == "temperature" else f"a larger {one}"
        yield {"about": one, "draws": f.draws, "more": more}


def _certain(params: SamplingParams) -> str:
    """The step after which one token is left for certain, ties or not; empty where there is none.

    XTC tosses a coin over whatever acts after it.
    """
    rules, steps = params.how.rules, taken_apart(params).steps
    exact = {
        "temperature": params.greedy,
        "top_k": params.top_k == 1 and rules.top_k_ties == "exact",
        "top_p": params.top_p == 0 and rules.top_p_zero == "top" and rules.top_p_ties == "exact" and params.how.known,
    }
    one = next((n for n in steps if exact.get(n)), "")
    tossed = 0 < (params.xtc_probability or 0) < 1 and "xtc_probability" in steps
    if not one or (tossed and steps.index("xtc_probability") < steps.index(one)):
        return ""
    return one


def warm_zero(f: Facts) -> Iterator[Found]:
    """A temperature of 0 that moves."""
    reach = f.on("dynatemp_range")
    if reach and f.params.temperature == 0:
        yield {"about": "temperature,dynatemp_range", "high": f"{reach:g}"}


def mirostat(f: Facts) -> Iterator[Found]:
    """Cuts beside mirostat."""
    if f.on("mirostat") and (beside := [n for n in f.cuts if n != "mirostat"]):
        yield {"about": ",".join(["mirostat", *beside])}


def double(f: Facts) -> Iterator[Found]:
    """Penalties that punish the same tokens."""
    added = [n for n in ("frequency_penalty", "presence_penalty") if (f.on(n) or 0) > 0]
    if (f.on("repetition_penalty") or 1) > 1 and added:
        yield {"about": ",".join(["repetition_penalty", *added])}


def barred_and_dried(f: Facts) -> Iterator[Found]:
    """Two steps against loops."""
    if f.on("no_repeat_ngram_size") and f.on("dry_multiplier"):
        yield {"about": "no_repeat_ngram_size,dry_multiplier"}


def rewards(f: Facts) -> Iterator[Found]:
    """Penalties with the other sign."""
    for name in _PENALTIES:
        value = f.on(name)
        if value is not None and value < (PARAMETERS[name].neutral or 0):
            yield {"about": name}


def prompt_counts(f: Facts) -> Iterator[Found]:
    """Penalties that look at the prompt too."""
    acting = taken_apart(f.params).steps
    for name in _PENALTIES:
        if name in acting and f.params.how.rules.scopes.get(name, "all") == "all":
            yield {"about": name, "dialect": f.params.dialect}


def single_words(f: Facts) -> Iterator[Found]:
    """Sequences of one token that never come again."""
    if f.on("no_repeat_ngram_size") == 1:
        yield {"about": "no_repeat_ngram_size"}


def typical_and_nucleus(f: Facts) -> Iterator[Found]:
    """A typical cut beside another."""
    steps = f.params.steps
    for other in ("top_p", "min_p", "top_k"):
        if "typical_p" in steps and other in steps and not f.params.greedy:
            first, last = sorted(("typical_p", other), key=steps.index)
            yield {"about": f"typical_p,{other}", "first": first, "last": last}
            return


def always_strikes(f: Facts) -> Iterator[Found]:
    """XTC at every step."""
    if f.on("xtc_probability") == 1:
        yield {"about": "xtc_probability"}


def hot_tail(f: Facts) -> Iterator[Found]:
    """A high temperature and no cut."""
    heat = f.on("temperature")
    if heat is not None and heat >= _HOT and not f.cuts:
        yield {"about": "temperature"}


def in_other_units(f: Facts) -> Iterator[Found]:
    """Values that look as if they were of other units."""
    for name in ("epsilon_cutoff", "eta_cutoff"):
        value = f.on(name)
        if value is not None and value >= _TINY:
            yield {"about": name}


def bent_curve(f: Facts) -> Iterator[Found]:
    """A curve that may rise again."""
    curve = f.on("smoothing_curve")
    if curve is not None and not 1 <= curve <= 3:
        yield {"about": "smoothing_curve"}


def away_from_the_prompt(f: Facts) -> Iterator[Found]:
    """Guidance below 1."""
    scale = f.on("guidance_scale")
    if scale is not None and scale < 1:
        yield {"about": "guidance_scale"}


def few_left(f: Facts) -> Iterator[Found]:
    """Cuts beside a top-k of few tokens."""
    k = f.on("top_k")
    beside = [n for n in f.cuts if n != "top_k"]
    if k is not None and 1 < k <= _FEW and beside and not f.params.greedy:
        yield {"about": ",".join(["top_k", *beside]), "k": f"{k:g}"}


def which_cuts(f: Facts) -> Iterator[Found]:
    """Several cuts, and no model to tell which of them acts; of what is known to do nothing that is said already."""
    known = (never_acts, one_token, eta_behind_epsilon, top_a_behind_min_p)
    idle = {name for rule in known for found in rule(f) for name in found["about"].split(",")}
    cuts = [n for n in f.cuts if n not in idle]
    if len(cuts) > 1 and f.size is None and not f.params.greedy:
        yield {"about": ",".join(cuts)}
