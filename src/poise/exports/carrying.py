"""One engine's law under another: the same, or what is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from poise.dialects import DIALECTS, Dialect
from poise.exports.arranging import arrange
from poise.exports.comparing import compare, fit_windows
from poise.exports.outcome import Outcome, Reason, summed
from poise.exports.target import MOST_TOKENS, NEARLY_BARRED, Sheet, Target, shortened
from poise.exports.working import BARRED, JUST_ONE, Working, penalises, taken_apart
from poise.param_lists import BREAKERS, listed
from poise.params import PARAMETERS, SamplingParams

_HOT = 1e20  # a temperature at which a bias of NEARLY_BARRED still leaves nothing


class Carried(NamedTuple):
    """Settings in another engine's dialect.

    Args:
        params: what the target is given, as its engine reads it.
        outcomes: of every parameter that was on, in the order of the steps.
    """

    params: SamplingParams
    outcomes: tuple[Outcome, ...]


class _Way(NamedTuple):
    """Where settings go."""

    target: Target
    sheet: Sheet

    @property
    def there(self) -> Dialect:
        return DIALECTS[self.target.dialect]


def carry(params: SamplingParams, target: Target, sheet: Sheet) -> Carried:
    """Carry settings into a target's dialect.

    Args:
        params: the settings, in their own dialect.
        target: where they go.
        sheet: how they will be written: what it has no place for is lost.

    Returns:
        The settings there. Where every outcome is ``exact``, both laws give every token the same probability after
        every text, whatever the model's logits; where all others are `ties`, wherever no logits tie.

    >>> from poise.exports.library_like import MLX
    >>> carry(SamplingParams(temperature=0.5, min_p=0.25), MLX, MLX.sheets["python"]).params.label
    'temperature=0.5,min_p=0.5,dialect=mlx'
    """
    way = _Way(target, sheet)
    law = taken_apart(params)
    said = {**params.active(), **params.lists()}
    for step in _STEPS:
        step(law, way)
    order = arrange(law, params, way.there, bool(sheet.sequence))
    fit_windows(law, way.there, sheet)
    compare(law, way.there)
    _round(law, way)  # a min-p that moved has other digits
    _doubt(law, way, said)
    written = {**law.numbers, **law.lists, **({} if order is None else {"order": order})}
    found = SamplingParams.model_validate({**_tidied(written, way.there), "dialect": way.there.name}).normalised()
    if "bad_words" not in said:  # then they were biases
        law.reasons = [r._replace(parameter="logit_bias") if r.parameter == "bad_words" else r for r in law.reasons]
    if "order" in said:
        law.reasons += _of_order(law, way)
        written.setdefault("order", way.there.order)
    return Carried(found, tuple(summed(name, value, written.get(name), law.reasons) for name, value in said.items()))


def _bar_words(law: Working, way: _Way) -> None:
    """Barred words of one token are biases of -∞, and the other way round."""
    if way.sheet.bars_words:
        _word_bars(law, way)
        return
    words = law.lists.get("bad_words", ())
    single = {word[0] for word in words if len(word) == 1}
    if not single or way.sheet.bias is None or "logit_bias" not in way.there.order:
        return
    said = dict(law.lists.get("logit_bias", ()))
    law.lists["logit_bias"] = tuple(sorted({**said, **dict.fromkeys(single, BARRED)}.items()))
    if "logit_bias" not in law.steps:
        law.steps.insert(law.steps.index("bad_words"), "logit_bias")
    law.lists["bad_words"] = tuple(word for word in words if len(word) > 1)
    law.reasons.append(Reason("bad_words", "exact", "a barred word of one token is written as a bias of -∞"))
    if not law.lists["bad_words"]:
        del law.lists["bad_words"]
        law.steps.remove("bad_words")


def _word_bars(law: Working, way: _Way) -> None:
    """Biases of -∞ are barred words where the dialect has no such bias; they are written as biases again."""
    words, biases = law.lists.pop("bad_words", ()), law.lists.pop("logit_bias", ())
    barred = {(token,) for token, bias in biases if bias == BARRED}
    if barred:
        why = f"a bias of -∞ is a barred word in poise's dialect {way.there.name}, and is written as -∞"
        law.reasons.append(Reason("logit_bias", "exact", why))
    if any(len(word) > 1 for word in words):
        law.reasons.append(Reason("bad_words", "impossible", _no_words(words, way)))
    kept = {
        "bad_words": tuple(sorted({*(word for word in words if len(word) == 1), *barred})),
        "logit_bias": tuple(pair for pair in biases if (pair[0],) not in {*words, *barred}),
    }
    if len(kept["logit_bias"]) + len(barred) < len(biases):
        law.reasons.append(Reason("logit_bias", "exact", "a barred token needs no bias"))
    if kept["bad_words"] and "bad_words" not in law.steps:
        law.steps.insert(law.steps.index("logit_bias"), "bad_words")
    law.lists |= {name: value for name, value in kept.items() if value}
    law.steps = [step for step in law.steps if step not in kept or kept[step]]


def _drop_lacking(law: Working, way: _Way) -> None:
    """What the engine has not, or the format has no place for."""
    there, sheet = way.there, way.sheet
    for name in [n for n in (*law.numbers, *law.lists) if n != "dry_breakers"]:
        leaders = PARAMETERS[name].leaders if name in PARAMETERS else ()
        steps = [n for n in leaders or (name,) if n in law.steps or n == "temperature"]
        engine = any(n in there.order and n not in there.extensions for n in steps)
        if not engine:
            at = law.steps.index(name) if name in law.steps else 0
            law.leave([name], _none(name, law, way), "impossible")
            if name == "dynatemp_range" and "temperature" in law.numbers:
                law.steps.insert(at, "temperature")
        elif not _has_place(name, sheet) and name not in ("penalty_last_n", "dry_last_n"):
            law.leave([name], _nowhere(name, law, way), "impossible")
    if law.lists.get("dry_breakers") == () and not sheet.no_breakers:
        law.leave(["dry_breakers"], f"{way.target.name} takes at least one breaker; its usual ones act", "impossible")


def _none(name: str, law: Working, way: _Way) -> str:
    """That the engine has no such step; of barred words, which ones are lost where others are biases now."""
    why = f"{way.target.name} has none"
    if name == "bad_words" and any(reason.parameter == name for reason in law.reasons):
        return f"{listed(law.lists[name])} is left out: {why} of several tokens"
    return why


def _nowhere(name: str, law: Working, way: _Way) -> str:
    """Why there is no place for a step that the engine has."""
    if name == "bad_words":
        return _no_words(law.lists[name], way)
    other = [form for form, sheet in way.target.sheets.items() if _has_place(name, sheet)]
    if other:
        return f"{way.target.name} has a place for it in the form {other[0]} alone"
    return f"{way.target.name} has none"


def _no_words(words: tuple[tuple[int, ...], ...], way: _Way) -> str:
    """Why barred words are left out: those of one token for want of biases, longer ones as they are text there."""
    biased = [form for form, sheet in way.target.sheets.items() if sheet.bias is not None]
    longer = tuple(word for word in words if len(word) > 1)
    whys = []
    if len(longer) < len(words) and biased:
        whys.append(f"{way.target.name} has a place for words of one token in the form {biased[0]} alone, as biases")
    if longer or not biased:
        whys.append(
            f"{listed(longer or words)} is left out: {way.target.name} takes words as text, which needs the tokenizer"
        )
    return "; ".join(whys)


def _has_place(name: str, sheet: Sheet) -> bool:
    if name in ("logit_bias", "bad_words"):
        return sheet.bias is not None if name == "logit_bias" else bool(sheet.words) or sheet.bars_words
    return bool(sheet.written(name))


def _drop_beside(law: Working, way: _Way) -> None:
    """What the engine drops beside a step that is on."""
    for step, beside in way.there.alone.items():
        if step in law.steps:
            dropped = [n for n in law.steps if n not in beside]
            law.leave(dropped, f"where {step} is on, {way.there.name} drops it", "impossible")


def _limit(law: Working, way: _Way) -> None:
    """Values past the ends of what the engine takes."""
    ends = {**way.there.limits, **way.target.limits}
    for name, (low, high) in ends.items():
        if name in law.numbers and not low <= law.numbers[name] <= high:
            law.numbers[name] = min(max(law.numbers[name], low), high)
            why = f"{way.target.name} takes {low:g} to {high:g}"
            if float(f"{high:g}") != high:  # the last number below an end that is off
                why = f"{way.target.name} takes numbers below {high:g}, which is off there: {high!r}"
            law.reasons.append(Reason(name, "approximate", why))
    low, high = ends.get("logit_bias", (BARRED, -BARRED))
    _limit_biases(law, way, max(low, way.sheet.lowest_bias), high)


def _fit_temperature(law: Working, way: _Way) -> None:
    """What a low temperature is taken for."""
    heat, rules = law.numbers.get("temperature", 1.0), way.there.rules
    if 0 < heat < rules.greedy_below:
        law.numbers["temperature"] = 0.0
        law.reasons.append(Reason("temperature", "approximate", f"{way.there.name} takes {heat:g} for 0"))
    elif 0 < heat < rules.temperature_floor:
        law.numbers["temperature"] = rules.temperature_floor
        why = f"{way.there.name} raises it to {rules.temperature_floor:g}"
        law.reasons.append(Reason("temperature", "approximate", why))


def _limit_biases(law: Working, way: _Way, low: float, high: float) -> None:
    past = [bias for _, bias in law.lists.get("logit_bias", ()) if not low <= bias <= high]
    if not past:
        return
    biases = law.lists["logit_bias"]
    law.lists["logit_bias"] = tuple((token, min(max(bias, low), high)) for token, bias in biases)
    names = [n for n in ("logit_bias", "bad_words") if n == "logit_bias" or law.here.has(n)]
    if low <= NEARLY_BARRED and {*past} == {BARRED} and law.numbers.get("temperature", 1) <= _HOT:
        why = f"written as {low:g}, which leaves nothing of a token"
        law.reasons += [Reason(name, "exact", why) for name in names]
        return
    why = f"{way.target.name} takes {low:g} to {high:g}" + (": no token can be barred" if BARRED in past else "")
    if way.sheet.lowest_bias < low:
        ends = f"poise's dialect {way.there.name} has biases of {low:g} to {high:g}, as requests do"
        why = f"{ends}; the call itself takes {past[0]:g}, written by hand"
    law.reasons += [Reason(name, "approximate", why) for name in names]


def _fit_zero(law: Working, way: _Way) -> None:
    """A top-p of 0, where the engine does not take it for the likeliest token; a top-k beyond all engines."""
    if law.numbers.get("top_k", 0) > MOST_TOKENS:
        law.leave(["top_k"], "no vocabulary is so large: written as off")
    zero = way.there.rules.top_p_zero
    if law.numbers.get("top_p") != 0 or zero == "top":
        return
    if zero == "refused":
        law.numbers["top_p"] = JUST_ONE
        law.reasons.append(Reason("top_p", "exact", f"0 is not taken there; {JUST_ONE:g} keeps one token too"))
    elif law.keeps_top("top_p"):
        cuts = [n for n in law.steps if not penalises(n) and n != "temperature"]
        law.leave(cuts, "top_p 0 keeps the likeliest token: written as temperature 0")
        law.steps = [n for n in law.steps if n != "temperature"] + ["temperature"]
        law.numbers["temperature"] = 0.0
    else:
        law.leave(["top_p"], f"0 is off in {way.there.name}", "impossible")


def _settle_greedy(law: Working, way: _Way) -> None:
    """What nothing looks at, where temperature 0 takes the likeliest token whatever it does."""
    cuts = [n for n in law.steps if not penalises(n) and n != "temperature"]
    if not law.greedy or not cuts:
        return
    here, there = law.here.rules.greedy_last, way.there.rules.greedy_last
    if not here or law.keeps_top():
        law.leave(cuts, "temperature 0 takes the likeliest token before it acts")
    elif not there:
        why = f"at temperature 0 {way.there.name} takes the likeliest token of all, {law.here.name} of those it leaves"
        law.leave(cuts, why, "approximate")


def _round(law: Working, way: _Way) -> None:
    """Numbers as the engine reads them, where that is not with all their digits."""
    decimals = way.sheet.decimals
    for name, value in law.numbers.items() if decimals is not None else ():
        kept = shortened(value, decimals) if decimals is not None and isinstance(value, float) else value
        if kept == 0 and PARAMETERS[name].low_open:
            kept = 10.0**-decimals if decimals is not None else value
        if kept != value:
            law.numbers[name] = kept
            law.reasons.append(
                Reason(name, "approximate", f"{way.there.name} reads {decimals} decimals of it: {kept!r}")
            )


_STEPS: tuple[Callable[[Working, _Way], None], ...] = (
    _bar_words, _drop_lacking, _drop_beside, _limit, _fit_temperature, _round, _fit_zero, _settle_greedy,
)  # fmt: skip


def _doubt(law: Working, way: _Way, said: dict[str, Any]) -> None:
    """Nothing is exact from or to a law that is not known; the same values to the same server are."""
    here, there = law.here, way.there
    if (here.known and there.known) or here is there:
        return
    why = (
        f"what {way.target.name} does is not published in full"
        if not there.known
        else "what the server does that it was drawn on could not be told"
    )
    law.reasons += [Reason(name, "approximate", why) for name in said if name in law.numbers or name in law.lists]


def _of_order(law: Working, way: _Way) -> list[Reason]:
    """What is said of an order of the steps."""
    moved = any(r.kind == "approximate" and r.beside for r in law.reasons)
    if not moved:
        return []
    return [Reason("order", "approximate", f"not every step acts in its place in {way.target.name}")]


def _tidied(written: dict[str, Any], there: Dialect) -> dict[str, Any]:
    """Without what goes without saying there."""
    usual = {"penalty_last_n": there.rules.window, "dry_last_n": there.rules.dry_window, "dry_breakers": BREAKERS}
    return {n: v for n, v in written.items() if n not in usual or v != usual[n]}
