"""The rules of a lint: when each holds, what it says."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from poise.dialects import DIALECTS
from poise.exports.commuting import KEEPS_TOP
from poise.exports.working import taken_apart
from poise.lints.record import Kind, Level, Remark, value_said
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams

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
    """

    params: SamplingParams
    draws: int = 1
    size: int | None = None

    @property
    def cuts(self) -> list[str]:
        """The truncations that are on, in order."""
        return [n for n in self.params.steps if n in PARAMETERS and PARAMETERS[n].stage == "truncation"]

    def on(self, name: str) -> float | None:
        """A number where it is on."""
        value = self.params.active().get(name)
        return None if value is None else float(value)


Found = Mapping[str, Any]  # what fills the sentence; `about` names the parameters


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Args:
        level: how much it matters.
        kind: what is the matter, a key of `record.KINDS`.
        holds: yields, for each time that it holds, what fills the sentences, and `about`: the parameters, with commas.
        said: the remark, to be filled.
        next_step: what to do, to be filled.
    """

    level: Level
    kind: Kind
    holds: Callable[[Facts], Iterator[Found]]
    said: str
    next_step: str

    def remarks(self, name: str, facts: Facts) -> Iterator[Remark]:
        """What the rule finds."""
        for found in self.holds(facts):
            about = tuple(str(found["about"]).split(","))
            fills = {**found, "values": _all(value_said(n, getattr(facts.params, n)) for n in about)}
            yield Remark(name, self.level, self.kind, about, self.said.format(**fills), self.next_step.format(**fills))


def _all(words: Iterator[str]) -> str:
    """Words as a sentence lists them."""
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _neutral(f: Facts) -> Iterator[Found]:
    for name, parameter in PARAMETERS.items():
        value = getattr(f.params, name)
        if value is None or value != parameter.neutral or parameter.leaders:
            continue
        usual = [f"{d.name}'s {d.defaults[name]:g}" for d in DIALECTS.values() if d.defaults.get(name, value) != value]
        yield {"about": name, "keep": f", or keep it against a default such as {usual[0]}" if usual else ""}


def _usual(f: Facts) -> Iterator[Found]:
    for name in (n for leader in f.params.steps for n in FOLLOWERS.get(leader, ())):
        value = getattr(f.params, name)
        if value is not None and value == PARAMETERS[name].neutral:
            yield {"about": name}


def _never_acts(f: Facts) -> Iterator[Found]:
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


def _taken_otherwise(f: Facts) -> Iterator[Found]:
    law = taken_apart(f.params)
    for name, _, why, *_ in law.reasons:
        if name in law.numbers:
            yield {"about": name, "why": why}


def _zero_off(f: Facts) -> Iterator[Found]:
    if f.params.top_p == 0 and f.params.how.rules.top_p_zero == "off":
        yield {"about": "top_p", "dialect": f.params.dialect}


def _whole_vocabulary(f: Facts) -> Iterator[Found]:
    k = f.on("top_k")
    if f.size is not None and k is not None and k >= f.size:
        yield {"about": "top_k", "size": f"{f.size:,}"}


def _one_token(f: Facts) -> Iterator[Found]:
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


def _eta_behind_epsilon(f: Facts) -> Iterator[Found]:
    """The floor of eta is at most its own value, which epsilon has cut already; what is left only gains."""
    epsilon, eta = f.on("epsilon_cutoff"), f.on("eta_cutoff")
    steps = f.params.steps
    if epsilon and eta and epsilon >= eta and steps.index("epsilon_cutoff") + 1 == steps.index("eta_cutoff"):
        yield {"about": "eta_cutoff", "behind": f"epsilon_cutoff={epsilon:g}"}


def _top_a_behind_min_p(f: Facts) -> Iterator[Found]:
    """m p_max reaches a p_max² wherever m >= a, and no later cut lowers a ratio to the largest."""
    a, m = f.on("top_a"), f.on("min_p")
    steps = f.params.steps
    if a and m and m >= a and steps.index("min_p") < steps.index("top_a"):
        between = steps[steps.index("min_p") : steps.index("top_a")]
        if not {"temperature", "dynatemp_range", "smoothing_factor"} & {*between}:
            yield {"about": "top_a", "behind": f"min_p={m:g}"}


def _short_dry(f: Facts) -> Iterator[Found]:
    window, allowed = f.params.dry_last_n, f.params.number("dry_allowed_length")
    if f.on("dry_multiplier") and window and allowed is not None and window <= allowed:
        yield {"about": "dry_multiplier", "window": window, "allowed": f"{allowed:g}"}


def _zero_bias(f: Facts) -> Iterator[Found]:
    if none := [token for token, bias in f.params.logit_bias or () if bias == 0]:
        yield {"about": "logit_bias", "tokens": ", ".join(map(str, none[:5]))}


def _beyond(f: Facts) -> Iterator[Found]:
    for name in ("logit_bias", "bad_words"):
        listed = getattr(f.params, name) or ()
        tokens = [pair[0] for pair in listed] if name == "logit_bias" else list(itertools.chain(*listed))
        beyond = [token for token in tokens if f.size is not None and token >= f.size]
        if beyond and f.size is not None:
            yield {"about": name, "token": beyond[0], "size": f"{f.size:,}", "last": f.size - 1}


def _biased_and_barred(f: Facts) -> Iterator[Found]:
    barred = {word[0] for word in f.params.bad_words or () if len(word) == 1}
    if both := [token for token, bias in f.params.logit_bias or () if token in barred and bias > -math.inf]:
        yield {"about": "logit_bias,bad_words", "token": both[0]}


def _same_draws(f: Facts) -> Iterator[Found]:
    if f.params.greedy and f.draws > 1:
        yield {"about": "temperature", "draws": f.draws}


def _warm_zero(f: Facts) -> Iterator[Found]:
    reach = f.on("dynatemp_range")
    if reach and f.params.temperature == 0:
        yield {"about": "temperature,dynatemp_range", "high": f"{reach:g}"}


def _mirostat(f: Facts) -> Iterator[Found]:
    if f.on("mirostat") and (beside := [n for n in f.cuts if n != "mirostat"]):
        yield {"about": ",".join(["mirostat", *beside])}


def _double(f: Facts) -> Iterator[Found]:
    added = [n for n in ("frequency_penalty", "presence_penalty") if (f.on(n) or 0) > 0]
    if (f.on("repetition_penalty") or 1) > 1 and added:
        yield {"about": ",".join(["repetition_penalty", *added])}


def _barred_and_dried(f: Facts) -> Iterator[Found]:
    if f.on("no_repeat_ngram_size") and f.on("dry_multiplier"):
        yield {"about": "no_repeat_ngram_size,dry_multiplier"}


def _rewards(f: Facts) -> Iterator[Found]:
    for name in _PENALTIES:
        value = f.on(name)
        if value is not None and value < (PARAMETERS[name].neutral or 0):
            yield {"about": name}


def _prompt_counts(f: Facts) -> Iterator[Found]:
    for name in _PENALTIES:
        if f.on(name) is not None and f.params.how.rules.scopes.get(name, "all") == "all":
            yield {"about": name, "dialect": f.params.dialect}


def _single_words(f: Facts) -> Iterator[Found]:
    if f.on("no_repeat_ngram_size") == 1:
        yield {"about": "no_repeat_ngram_size"}


def _typical_and_nucleus(f: Facts) -> Iterator[Found]:
    steps = f.params.steps
    for other in ("top_p", "min_p", "top_k"):
        if "typical_p" in steps and other in steps and not f.params.greedy:
            first, last = sorted(("typical_p", other), key=steps.index)
            yield {"about": f"typical_p,{other}", "first": first, "last": last}
            return


def _always_strikes(f: Facts) -> Iterator[Found]:
    if f.on("xtc_probability") == 1:
        yield {"about": "xtc_probability"}


def _hot_tail(f: Facts) -> Iterator[Found]:
    heat = f.on("temperature")
    if heat is not None and heat >= _HOT and not f.cuts:
        yield {"about": "temperature"}


def _in_other_units(f: Facts) -> Iterator[Found]:
    for name in ("epsilon_cutoff", "eta_cutoff"):
        value = f.on(name)
        if value is not None and value >= _TINY:
            yield {"about": name}


def _bent_curve(f: Facts) -> Iterator[Found]:
    curve = f.on("smoothing_curve")
    if curve is not None and not 1 <= curve <= 3:
        yield {"about": "smoothing_curve"}


def _away_from_the_prompt(f: Facts) -> Iterator[Found]:
    scale = f.on("guidance_scale")
    if scale is not None and scale < 1:
        yield {"about": "guidance_scale"}


def _few_left(f: Facts) -> Iterator[Found]:
    k = f.on("top_k")
    beside = [n for n in f.cuts if n != "top_k"]
    if k is not None and 1 < k <= _FEW and beside and not f.params.greedy:
        yield {"about": ",".join(["top_k", *beside]), "k": f"{k:g}"}


def _which_cuts(f: Facts) -> Iterator[Found]:
    if len(f.cuts) > 1 and f.size is None and not f.params.greedy:
        yield {"about": ",".join(f.cuts)}


# By id. Of each level the order is that of the remarks.
RULES: Mapping[str, Rule] = {
    "token-beyond-vocabulary": Rule(
        "error", "contradicts", _beyond,
        "{values} names token {token}, and the model has {size}", "Take ids from 0 to {last}"),
    "biased-and-barred": Rule(
        "error", "contradicts", _biased_and_barred,
        "Token {token} gets a bias and is barred: bad_words wins", "Keep one of the two"),
    "greedy-draws": Rule(
        "error", "contradicts", _same_draws,
        "{values} draws the same text every time: {draws} draws are one", "Take one draw, or a temperature above 0"),
    "greedy-dynamic": Rule(
        "warning", "contradicts", _warm_zero,
        "{values} is not greedy: the temperature moves between 0 and {high}", "Leave dynatemp_range out for greedy"),
    "never-acts": Rule(
        "warning", "masked", _never_acts,
        "{values} {change} nothing: {why}", "Leave {them} out"),
    "taken-otherwise": Rule(
        "warning", "changed", _taken_otherwise,
        "{values} is not taken as it is: {why}", "Write what it is taken for"),
    "zero-is-off": Rule(
        "warning", "inert", _zero_off,
        "{values} is off in {dialect}, where elsewhere it keeps one token", "Leave it out, or take temperature=0"),
    "whole-vocabulary": Rule(
        "warning", "inert", _whole_vocabulary,
        "{values} keeps all {size} tokens of the model", "Leave it out"),
    "one-token": Rule(
        "warning", "masked", _one_token,
        "Where {one} leaves one token, {values} can change nothing", "Write temperature=0 alone"),
    "eta-behind-epsilon": Rule(
        "warning", "masked", _eta_behind_epsilon,
        "{values} changes nothing behind {behind}: its floor is never higher", "Leave one of them out"),
    "top-a-behind-min-p": Rule(
        "warning", "masked", _top_a_behind_min_p,
        "{values} changes nothing behind {behind}: its floor is never higher", "Leave one of them out"),
    "short-dry-window": Rule(
        "warning", "inert", _short_dry,
        "{values} never acts: its window of {window} tokens holds no sequence longer than the allowed {allowed}",
        "Raise dry_last_n, or leave DRY out"),
    "mirostat-and-cuts": Rule(
        "warning", "masked", _mirostat,
        "{values} cut one after another: mirostat aims at a surprise that the others may not leave",
        "Keep mirostat alone; llama.cpp drops the others beside it"),
    "single-words": Rule(
        "warning", "doubtful", _single_words,
        "{values} bars every token that was there before, commas and articles too", "Take 3 or more"),
    "in-other-units": Rule(
        "warning", "doubtful", _in_other_units,
        "{values} cuts nearly everything: useful values are 0.0003 to 0.004, and some interfaces multiply by 0.0001",
        "Divide it by 10,000 if it comes from such an interface"),
    "double-counting": Rule(
        "warning", "doubtful", _double,
        "{values} punish the same tokens twice", "Keep one of them"),
    "zero-bias": Rule(
        "note", "inert", _zero_bias,
        "{values} adds 0 to token {tokens}, which changes nothing", "Leave it out"),
    "barred-and-dried": Rule(
        "note", "doubtful", _barred_and_dried,
        "{values} both end loops: what the first bars the second need not punish", "Keep one of them"),
    "rewards-repetition": Rule(
        "note", "doubtful", _rewards,
        "{values} rewards repetition", "Turn its sign, or its reciprocal, if that is not meant"),
    "few-left": Rule(
        "note", "doubtful", _few_left,
        "{values}: of {k} tokens the others have next to nothing to cut", "Keep one of them"),
    "typical-and-others": Rule(
        "note", "doubtful", _typical_and_nucleus,
        "{values} both cut: {last} sees only what {first} left, which may lack the likeliest token or the tail",
        "Keep one of them"),
    "always-strikes": Rule(
        "note", "doubtful", _always_strikes,
        "{values} takes the likeliest tokens away at every step, right answers too", "Take 0.5 or less"),
    "hot-tail": Rule(
        "note", "doubtful", _hot_tail,
        "{values} without a cut drifts into the tail", "Add min_p=0.05 or a top_p"),
    "bent-curve": Rule(
        "note", "doubtful", _bent_curve,
        "{values} lies outside 1 to 3: the curve can rise again far below the top", "Take 1 to 3"),
    "away-from-the-prompt": Rule(
        "note", "doubtful", _away_from_the_prompt,
        "{values} moves away from the prompt", "Take a value above 1 to follow it more closely"),
    "prompt-counts": Rule(
        "note", "doubtful", _prompt_counts,
        "{values} also punishes the words of the prompt in {dialect}, which an answer may need",
        "Compare texts with and without it on your prompts"),
    "which-cuts": Rule(
        "note", "doubtful", _which_cuts,
        "Which of {values} cuts anything depends on the model", "Add --model to measure it"),
    "neutral": Rule(
        "note", "inert", _neutral,
        "{values} is off", "Leave it out{keep}"),
    "usual": Rule(
        "note", "inert", _usual,
        "{values} is what it is without being said", "Leave it out"),
}  # fmt: skip
