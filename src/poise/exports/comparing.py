"""The same step in two engines: scopes, windows, ties, boundaries."""

from __future__ import annotations

from poise.dialects import Dialect
from poise.exports.outcome import Reason
from poise.exports.target import ALL_TOKENS, Sheet
from poise.exports.working import BARRED, Working
from poise.params import PARAMETERS

_SCOPES = {
    "all": "prompt and text",
    "output": "the text alone",
    "last and output": "the prompt's last token and the text",
}
_WINDOWS = (("penalty_last_n", "window"), ("dry_last_n", "dry_window"))
# Every rule is compared here, or in `carrying` and `working`; a test holds the list complete.
COMPARED = frozenset({
    "top_k_ties", "top_p_scope", "top_p_passes", "top_p_ties", "top_p_zero", "typical_ties", "typical_passes",
    "dynatemp_counts", "xtc_strict", "scopes", "window", "dry_window", "greedy_last", "greedy_below",
    "temperature_floor",
})  # fmt: skip


def fit_windows(law: Working, there: Dialect, sheet: Sheet) -> None:
    """How many tokens penalties look back at.

    Args:
        law: what is carried; its windows, and its reasons, change.
        there: the dialect it goes to.
        sheet: how it is written.
    """
    for name, rule in _WINDOWS:
        steps = [n for n in PARAMETERS[name].leaders if n in law.steps]
        if not steps:
            continue
        here: int | None = law.numbers.get(name, getattr(law.here.rules, rule))
        usual: int | None = getattr(there.rules, rule)
        if sheet.written(name):
            wanted = ALL_TOKENS if here is None else min(here, ALL_TOKENS)
            if wanted != here:
                why = f"{sheet.written(name)[0]} {ALL_TOKENS:,}: more tokens than any text has"
                law.reasons += [Reason(n, "exact", why) for n in (name, *steps)]
            law.numbers[name] = wanted
        elif here != usual:
            law.leave([name], f"{there.name} has no window", "impossible")
            why = f"{law.here.name} looks at the last {_tokens(here)}, {there.name} at {_tokens(usual)}"
            law.reasons += [Reason(n, "approximate", why) for n in steps]
        else:
            law.numbers.pop(name, None)


def _tokens(window: int | None) -> str:
    return "all tokens" if window is None else f"{window:,} tokens"


def compare(law: Working, there: Dialect) -> None:
    """Note every step that decides otherwise there.

    Args:
        law: what is carried, its steps in their places; its reasons change.
        there: the dialect it goes to.
    """
    _scopes(law, there)
    _joint(law, there)
    _counted(law, there)
    _boundaries(law, there)


def _scopes(law: Working, there: Dialect) -> None:
    for step in law.steps:
        mine, theirs = (d.rules.scopes.get(step, "all") for d in (law.here, there))
        if step == "bad_words" and all(len(word) == 1 for word in law.lists[step]):
            continue  # barred whatever stands before it
        if mine != theirs:
            why = f"{law.here.name} counts {_SCOPES[mine]}, {there.name} {_SCOPES[theirs]}"
            law.reasons.append(Reason(step, "approximate", why))


def _joint(law: Working, there: Dialect) -> None:
    """A top-p that weighs the row before top-k, in one of the two engines."""
    if "top_p" not in law.steps or "top_k" not in law.steps or "top_p" in law.lone:
        return  # of all tokens or of those left, a top-p of 0 keeps the likeliest
    mine, theirs = (_is_joint(d, "min_p" in law.steps) for d in (law.here, there))
    if mine != theirs:
        weighed = ["what top_k leaves", "all tokens"]
        why = f"{law.here.name} weighs {weighed[mine]}, {there.name} {weighed[theirs]}"
        law.reasons += [
            Reason("top_p", "approximate", why, ties="top_k" in law.lone, beside=("top_k",)),
        ]


def _counted(law: Working, there: Dialect) -> None:
    """A dynamic temperature that counts barred tokens, in one of the two engines."""
    if "dynatemp_range" not in law.steps or law.here.rules.dynatemp_counts == there.rules.dynatemp_counts:
        return
    barred = [n for n in ("logit_bias", "bad_words", "no_repeat_ngram_size", "top_n_sigma") if n in law.steps]
    barring = tuple(n for n in barred if n != "logit_bias" or any(b == BARRED for _, b in law.lists[n]))
    if barring:
        counts = {"left": "the tokens that are left", "listed": "barred ones too"}
        mine, theirs = (counts[d.rules.dynatemp_counts] for d in (law.here, there))
        why = f"{law.here.name} counts {mine}, {there.name} {theirs}"
        law.reasons.append(Reason("dynatemp_range", "approximate", why, beside=barring))


def _is_joint(dialect: Dialect, min_p: bool) -> bool:
    scope = dialect.rules.top_p_scope
    return scope == "joint" or (scope == "joint without min_p" and not min_p)


def _boundaries(law: Working, there: Dialect) -> None:
    """Ties, and sums that meet the bound."""
    here = law.here.rules
    theirs = there.rules
    at_bound = "the token at which the sum meets it exactly"
    for step, rule, what in (
        ("top_k", "top_k_ties", "tokens tied with the last one kept"),
        ("top_p", "top_p_passes", at_bound),
        ("top_p", "top_p_ties", "tokens tied with the last one kept"),
        ("typical_p", "typical_ties", "tokens tied with the last one kept"),
        ("typical_p", "typical_passes", at_bound),
        ("xtc_probability", "xtc_strict", "tokens tied with the last one kept, or exactly at the threshold"),
    ):
        if step in law.steps and getattr(here, rule) != getattr(theirs, rule):
            why = f"{law.here.name} and {there.name} differ on {what}"
            law.reasons.append(Reason(step, "approximate", why, ties=True))
