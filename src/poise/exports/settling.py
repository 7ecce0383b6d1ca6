"""Fields as an engine reads them: the settings that they mean."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poise.dialects import DIALECTS, Dialect
from poise.errors import ParameterError
from poise.exports.arranging import order_of
from poise.exports.llama_like import sampler_of, spelled
from poise.exports.target import ALL_TOKENS, Sheet, Target
from poise.exports.working import BARRED
from poise.exports.writing import PROVENANCE
from poise.param_lists import BREAKERS, check_list
from poise.params import PARAMETERS, Number, SamplingParams, check_value


@dataclass(frozen=True, slots=True)
class Found:
    """Settings that were read.

    Args:
        params: in the dialect of the engine that they were written for.
        format: the target that they were written for.
        left_out: fields that shape no law, or that nothing looks at.
        unsaid: what the engine takes where nothing was said, by parameter; part of `params`.
    """

    params: SamplingParams
    format: str
    left_out: tuple[str, ...]
    unsaid: Mapping[str, Number]


def settle(said: Mapping[str, Any], target: Target, sheet: Sheet) -> Found:
    """The law that fields stand for, with the engine's own defaults where they say nothing.

    Args:
        said: values by their names there.
        target: whose engine reads them.
        sheet: their names there.

    Returns:
        The settings.

    Raises:
        ParameterError: a name that the format has not, a value of the wrong kind or out of range, a step that poise
            has not.
    """
    there = DIALECTS[target.dialect]
    given = {name: value for name, value in said.items() if value is not None}
    left_out = _sorted_out(given, target, sheet)
    numbers = _numbers(given, target, sheet)
    defaults = there.defaults if target.defaults is None else target.defaults
    known = {name for name in sheet.names if any(n in given for n in sheet.written(name))}
    unsaid = {name: value for name, value in defaults.items() if name in sheet.names and name not in known}
    greedy = bool(sheet.switch) and given.get(sheet.switch) is not True
    if greedy:
        unused = [name for name in known if PARAMETERS[name].stage != "penalty"]
        left_out += [n for name in unused for n in sheet.written(name)]
        numbers = {name: v for name, v in numbers.items() if name not in unused} | {"temperature": 0.0}
        unsaid = {} if sheet.switch in given else {"temperature": 0}
    found = {**({} if greedy else unsaid), **numbers, **_lists(given, sheet, there)}
    try:
        params = SamplingParams.model_validate({**_acting(found, there), "dialect": there.name}).normalised()
    except ParameterError as error:
        raise _in_its_words(error, {name: sheet.written(name)[0] for name in sheet.names}) from None
    acting = {*params.active(), *params.lists()}
    left_out += _idle(numbers, acting, given, sheet)
    return Found(params, target.name, tuple(left_out), {n: v for n, v in unsaid.items() if n in acting})


def _idle(numbers: Mapping[str, Number], acting: set[str], given: Mapping[str, Any], sheet: Sheet) -> list[str]:
    """Fields that are on, and that an order leaves out, another step replaces or nothing looks at.

    What shapes a step that is off is written into every artefact: at its usual value it goes without saying.
    """
    idle = [n for n in numbers if n not in acting and not (PARAMETERS[n].leaders and numbers[n] == sheet.off.get(n))]
    return [field for n in idle for field in sheet.written(n) if field in given]


def _in_its_words(error: ParameterError, names: Mapping[str, str]) -> ParameterError:
    """The same error, with the names that the file has."""
    rule, got = (re.sub(r"\w+", lambda m: names.get(m[0], m[0]), text) for text in (error.rule, error.got))
    # poise's own advice is to leave it out to switch it off, and an engine then takes its default.
    leave = error.next_step.startswith("Leave it out")
    return ParameterError(rule, got, "Mend it, or take it out to have the engine's own" if leave else error.next_step)


def _sorted_out(given: Mapping[str, Any], target: Target, sheet: Sheet) -> list[str]:
    """The fields that shape no law; every other one has to be known."""
    lists = {sheet.bars, sheet.words, sheet.breakers, sheet.sequence, sheet.bias[0] if sheet.bias else ""} - {""}
    law = {n for name in sheet.names for n in sheet.written(name)} | lists | {sheet.switch}
    left_out = []
    for name, value in given.items():
        if name in sheet.neutral:
            _check_neutral(name, value, sheet.neutral[name], target)
        elif name in sheet.apart:
            left_out.append(name)
        elif name not in law and name != PROVENANCE:
            near = difflib.get_close_matches(name, [*law, *sheet.apart, *sheet.neutral], n=1)
            raise ParameterError(
                f"Every field is one that poise knows of {target.name}", repr(name),
                f"Did you mean {near[0]}?" if near else "Take it out if it shapes no law, or name another --format",
            )  # fmt: skip
    if sheet.switch in given and not isinstance(given[sheet.switch], bool):
        raise ParameterError(f"{sheet.switch} is true or false", reprlib.repr(given[sheet.switch]), "Write one of them")
    return left_out


def _check_neutral(name: str, value: Any, neutral: Any, target: Target) -> None:
    """A field that changes the law in a way that poise has not."""
    off = value == neutral or value in (None, False, 0) or value in ([], {}, "")
    below = isinstance(value, (int, float)) and isinstance(neutral, float) and neutral < 0 and value < 0
    if not off and not below:
        raise ParameterError(
            f"poise has no {name.lstrip('-')}, which changes {target.name}'s law", reprlib.repr(value),
            "Take it out" if value is True and name.startswith("-") else f"Set it to {neutral!r}, or take it out",
        )  # fmt: skip


def _numbers(given: Mapping[str, Any], target: Target, sheet: Sheet) -> dict[str, Number]:
    """Parameters that are on."""
    found: dict[str, Number] = {}
    for name in sheet.names:
        values = {n: given[n] for n in sheet.written(name) if n in given}
        for field, value in values.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise ParameterError(f"{field} takes a number", reprlib.repr(value), "Write one, or take it out")
        if not values:
            continue
        value = _agreed(values, found)
        low, high = sheet.off_too.get(name, (1, 0))
        off = low <= value <= high or value in (sheet.off.get(name), PARAMETERS[name].neutral)
        if off and not PARAMETERS[name].leaders:
            continue
        found[name] = _checked(name, value, next(iter(values)), sheet)
        if sheet.switch and name == "temperature" and value == 0:
            raise ParameterError(
                f"{target.name} takes a temperature above 0", "0", f"Say {sheet.switch}: false for the likeliest token"
            )
    return found


def _checked(name: str, value: Number, field: str, sheet: Sheet) -> Number:
    """A value in its range; a window of the whole text as the one that is written for it."""
    window = name in ("penalty_last_n", "dry_last_n")
    if window and (value == sheet.whole or (value == 0 and len(sheet.written(name)) > 1)):  # several: mlx-lm's contexts
        return ALL_TOKENS
    try:
        return check_value(name, value)
    except ParameterError as error:
        raise _in_its_words(error, {name: field}) from None


def _agreed(values: Mapping[str, Number], found: Mapping[str, Number]) -> Number:
    """One value for a parameter that has several names there: those of penalties that are on have to agree."""
    stems = {name: name.partition("_")[0] for name in values}
    acting = {v for n, v in values.items() if len(values) == 1 or f"{stems[n]}_penalty" in found}
    if len(acting) > 1:
        shown = ", ".join(f"{n}={v}" for n, v in values.items())
        raise ParameterError("All penalties look at as many tokens in poise", shown, "Give them one value")
    return acting.pop() if acting else next(iter(values.values()))


def _lists(given: Mapping[str, Any], sheet: Sheet, there: Dialect) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if biases := _biases(given, sheet):
        checked = check_list("logit_bias", biases)
        barred = tuple((token,) for token, bias in checked if sheet.bars_words and bias == BARRED)
        finite = tuple(pair for pair in checked if (pair[0],) not in barred)
        found |= {**({"logit_bias": finite} if finite else {}), **({"bad_words": barred} if barred else {})}
    if sheet.words and given.get(sheet.words):
        found["bad_words"] = check_list("bad_words", given[sheet.words])
    if sheet.breakers in given and given[sheet.breakers] is not None and sheet.breakers:
        words = given[sheet.breakers]
        flags = sheet.breakers.startswith("-")
        said = [_unescaped(w) for w in words if w != "none"] if flags and isinstance(words, list) else words
        found["dry_breakers"] = check_list("dry_breakers", said)
    if sheet.sequence in given and sheet.sequence:
        found["order"] = _order(given[sheet.sequence], sheet)
    return found


def _biases(given: Mapping[str, Any], sheet: Sheet) -> list[Any]:
    """Pairs of a token and a bias."""
    if sheet.bias is None:
        return []
    name, style = sheet.bias
    value = given.get(name) or []
    barred = given.get(sheet.bars) or [] if sheet.bars else []
    try:
        if style == "flags":
            return [_flag_bias(word) for word in value]
        if style == "sequences":
            pairs = value.items() if isinstance(value, Mapping) else value
            if any(len(ids) != 1 for ids, _ in pairs):
                raise ParameterError(
                    f"poise has biases of single tokens: in {name} each sequence is one token",
                    reprlib.repr(value), "Take longer sequences out",
                )  # fmt: skip
            return [*((ids[0], bias) for ids, bias in pairs), *((token, BARRED) for token in barred)]
        return [*value.items()] if isinstance(value, Mapping) else [tuple(pair) for pair in value]
    except (TypeError, ValueError, AttributeError):
        raise ParameterError(
            f"{name} pairs token ids with numbers", reprlib.repr([value, *barred]), "Mend it, or take it out"
        ) from None


def _flag_bias(word: str) -> tuple[int, float]:
    match = re.fullmatch(r"(\d+)([+-].+)", word)
    if match is None:
        raise ValueError(word)
    return int(match[1]), float(match[2])


def _unescaped(word: str) -> str:
    """A breaker as llama.cpp's programs read it."""
    plain = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}
    return re.sub(r"\\(?:x([0-9a-fA-F]{2})|([nrt\\'\"]))", lambda m: chr(int(m[1], 16)) if m[1] else plain[m[2]], word)


def _order(value: Any, sheet: Sheet) -> tuple[str, ...]:
    words, name = value, sheet.sequence
    if isinstance(value, str):
        words = spelled(value) if sheet.letters == name else value.split(";")
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise ParameterError(f"{name} lists samplers", reprlib.repr(value), 'For example ["top_k", "temperature"]')
    found: list[str] = []
    for word in filter(None, words):
        sampler = sampler_of(word)
        if sampler is None:
            raise ParameterError(f"{name} names samplers that poise has", repr(word), "Take it out")
        if sampler in found:
            rule = f"{name} names each sampler once: llama.cpp would apply it again, and poise has each step once"
            raise ParameterError(rule, f"{sampler} twice", "Keep one of them")
        found.append(sampler)
    return order_of(found)


def _acting(found: dict[str, Any], there: Dialect) -> dict[str, Any]:
    """Without what shapes a step that is off, what an order leaves out, and what goes without saying."""
    order = found.get("order")
    alone = {s for step, beside in there.alone.items() if found.get(step) for s in beside}
    if order is not None and any(s in found and s not in order for s in alone):
        del found["order"]  # beside mirostat nothing reads it: the temperature acts all the same
    elif order is not None:
        missing = [s for s in there.order if s not in order]
        found = {n: v for n, v in found.items() if n not in missing}
        if order == tuple(s for s in there.order if s in order) and not missing:
            del found["order"]
    usual = {"penalty_last_n": there.rules.window, "dry_last_n": there.rules.dry_window, "dry_breakers": BREAKERS}
    found = {n: v for n, v in found.items() if n not in usual or v != usual[n]}
    leaders = {n: PARAMETERS[n].leaders for n in found if n in PARAMETERS} | {"dry_breakers": ("dry_multiplier",)}
    kept = {n: v for n, v in found.items() if not leaders.get(n) or any(leader in found for leader in leaders[n])}
    for step, beside in there.alone.items():
        if kept.get(step):
            own = {n for n in kept if step in leaders.get(n, ())}
            kept = {n: v for n, v in kept.items() if n in beside or n in own or n == "order"}
    return kept
