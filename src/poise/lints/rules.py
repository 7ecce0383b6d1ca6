"""The rules of a lint: when each holds, what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from poise.lints import conditions
from poise.lints.conditions import Facts, Found
from poise.lints.record import Kind, Level, Remark, value_said


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


# By id. Of each level the order is that of the remarks.
RULES: Mapping[str, Rule] = {
    "token-beyond-vocabulary": Rule(
        "error", "contradicts", conditions.beyond,
        "{values} names token {token}, and the model has {size}",
        "Take ids from 0 to {last}; until then nothing is measured"),
    "biased-and-barred": Rule(
        "error", "contradicts", conditions.biased_and_barred,
        "Token {token} gets a bias and is barred: bad_words wins", "Keep one of the two"),
    "greedy-draws": Rule(
        "error", "contradicts", conditions.same_draws,
        "{values} draws the same text every time: {draws} draws are one", "Take one draw, or {more}"),
    "greedy-dynamic": Rule(
        "warning", "contradicts", conditions.warm_zero,
        "{values} is not greedy: the temperature moves between 0 and {high}", "Leave dynatemp_range out for greedy"),
    "never-acts": Rule(
        "warning", "masked", conditions.never_acts,
        "{values} {change} nothing: {why}", "Leave {them} out"),
    "taken-otherwise": Rule(
        "warning", "changed", conditions.taken_otherwise,
        "{values} is not taken as it is: {why}", "Write what it is taken for"),
    "own-window": Rule(
        "warning", "changed", conditions.own_window,
        "{values} is poise's own in {dialect}: the engine looks at all tokens", "Leave it out to have what it does"),
    "zero-is-off": Rule(
        "warning", "inert", conditions.zero_off,
        "{values} is off in {dialect}, where elsewhere it keeps one token", "Leave it out, or take temperature=0"),
    "whole-vocabulary": Rule(
        "warning", "inert", conditions.whole_vocabulary,
        "{values} keeps all {size} tokens of the model", "Leave it out"),
    "one-token": Rule(
        "warning", "masked", conditions.one_token,
        "Where {one} leaves one token, {values} can change nothing", "Write temperature=0 alone"),
    "eta-behind-epsilon": Rule(
        "warning", "masked", conditions.eta_behind_epsilon,
        "{values} changes nothing behind {behind}: its floor is never higher", "Leave one of them out"),
    "top-a-behind-min-p": Rule(
        "warning", "masked", conditions.top_a_behind_min_p,
        "{values} changes nothing behind {behind}: its floor is never higher", "Leave one of them out"),
    "short-dry-window": Rule(
        "warning", "inert", conditions.short_dry,
        "{values} never acts: its window of {window} tokens holds no sequence longer than the allowed {allowed}",
        "Raise dry_last_n, or leave DRY out"),
    "mirostat-and-cuts": Rule(
        "warning", "masked", conditions.mirostat,
        "{values} cut one after another: mirostat aims at a surprise that the others may not leave",
        "Keep mirostat alone; llama.cpp drops the others beside it"),
    "single-words": Rule(
        "warning", "doubtful", conditions.single_words,
        "{values} bars every token that was there before, commas and articles too", "Take 3 or more"),
    "in-other-units": Rule(
        "warning", "doubtful", conditions.in_other_units,
        "{values} cuts nearly everything: useful values are 0.0003 to 0.004, and some interfaces multiply by 0.0001",
        "Divide it by 10,000 if it comes from such an interface"),
    "double-counting": Rule(
        "warning", "doubtful", conditions.double,
        "{values} punish the same tokens twice", "Keep one of them"),
    "zero-bias": Rule(
        "note", "inert", conditions.zero_bias,
        "{values} adds 0 to token {tokens}, which changes nothing", "Leave it out"),
    "barred-and-dried": Rule(
        "note", "doubtful", conditions.barred_and_dried,
        "{values} both end loops: what the first bars the second need not punish", "Keep one of them"),
    "rewards-repetition": Rule(
        "note", "doubtful", conditions.rewards,
        "{values} rewards repetition", "Turn its sign, or its reciprocal, if that is not meant"),
    "few-left": Rule(
        "note", "doubtful", conditions.few_left,
        "{values}: of {k} tokens the others have next to nothing to cut", "Keep one of them"),
    "typical-and-others": Rule(
        "note", "doubtful", conditions.typical_and_nucleus,
        "{values} both cut: {last} sees only what {first} left, which may lack the likeliest token or the tail",
        "Keep one of them"),
    "always-strikes": Rule(
        "note", "doubtful", conditions.always_strikes,
        "{values} takes the likeliest tokens away at every step, right answers too", "Take 0.5 or less"),
    "hot-tail": Rule(
        "note", "doubtful", conditions.hot_tail,
        "{values} without a cut drifts into the tail", "Add min_p=0.05 or a top_p"),
    "bent-curve": Rule(
        "note", "doubtful", conditions.bent_curve,
        "{values} lies outside 1 to 3: the curve can rise again far below the top", "Take 1 to 3"),
    "away-from-the-prompt": Rule(
        "note", "doubtful", conditions.away_from_the_prompt,
        "{values} moves away from the prompt", "Take a value above 1 to follow it more closely"),
    "prompt-counts": Rule(
        "note", "doubtful", conditions.prompt_counts,
        "{values} also punishes the words of the prompt in {dialect}, which an answer may need",
        "Compare texts with and without it on your prompts"),
    "which-cuts": Rule(
        "note", "doubtful", conditions.which_cuts,
        "Which of {values} cuts anything depends on the model", "Add --model to measure it"),
    "neutral": Rule(
        "note", "inert", conditions.neutral,
        "{values} is off", "Leave it out{keep}"),
    "usual": Rule(
        "note", "inert", conditions.usual,
        "{values} is what it is without being said", "Leave it out"),
}  # fmt: skip
