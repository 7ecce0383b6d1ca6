"""From a request's fields to the law in force, lies included."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from poise.fakeserver.laws import Step
from poise.fakeserver.lies import Lies
from poise.fakeserver.refusals import Refused, out_of_range, unsupported, unsupported_value, wrong_type
from poise.fakeserver.styles import Style
from poise.params import PARAMETERS

NEUTRAL: Mapping[str, float] = {
    name: math.inf if p.neutral is None else p.neutral for name, p in PARAMETERS.items()
}  # where a step changes nothing; top_k keeps everything
PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")


class Scopes(NamedTuple):
    """Which tokens penalties look at: whether the prompt counts, and how many of the last; 0 for all."""

    repetition_prompt: bool
    additive_prompt: bool
    window: int


class InForce(NamedTuple):
    """The law in force for one request.

    Args:
        steps: temperature and truncations, in their order; what changes nothing is left out.
        penalties: repetition, frequency and presence; (1, 0, 0) is off.
        scopes: what the penalties look at.
        bias: added to the logits before anything else, by token.
        processed: whether log-probabilities are those after all steps.
    """

    steps: tuple[Step, ...]
    penalties: tuple[float, float, float]
    scopes: Scopes
    bias: tuple[tuple[int, float], ...]
    processed: bool

    @property
    def remembers(self) -> bool:
        """Whether the law looks at more than the last token."""
        return self.penalties != (1.0, 0.0, 0.0)


def read_fields(style: Style, lies: Lies, fields: Mapping[str, Any], size: int) -> InForce:
    """What the server makes of the fields of a request.

    Args:
        style: the software.
        lies: what it does otherwise.
        fields: by their names on the wire.
        size: V, for the tokens of logit_bias.

    Returns:
        The law in force.

    Raises:
        Refused: a value or a field that this server rejects.
    """
    sent = {n: v for n, w in style.names.items() if (v := _number(style, fields.get(w), w)) is not None}
    for name, value in sent.items():
        sent[name] = _taken(style, lies, name, value)
    values = {**NEUTRAL, **style.defaults, **_told(lies, sent)}
    for name in values:
        values[name] = _bent(lies, name, values[name])
    if lies.find("greedy=off") and values["temperature"] == 0:
        values["temperature"] = 1.0
    if 0 < values["temperature"] < style.lifts:
        values["temperature"] = style.lifts
    return InForce(
        steps=tuple(_steps(style, lies, values, _extra(style, fields, "samplers"))),
        penalties=(values[PENALTIES[0]], values[PENALTIES[1]], values[PENALTIES[2]]),
        scopes=_scopes(style, lies, _number(style, _extra(style, fields, "repeat_last_n"), "repeat_last_n")),
        bias=_bias(style, lies, fields.get("logit_bias"), size),
        processed=bool(lies.find("logprobs=processed") or _extra(style, fields, "post_sampling_probs")),
    )


def whole_number(style: Style, fields: Mapping[str, Any], name: str) -> int:
    """A count among the extra fields; 0 where it is not sent or not known. Raises Refused."""
    value = _number(style, _extra(style, fields, name), name) or 0.0
    if value < 0 or value != int(value):
        raise wrong_type(style, name, "integer", value)
    return int(value)


def _extra(style: Style, fields: Mapping[str, Any], name: str) -> Any:
    return fields.get(name) if name in style.extras else None


def _number(style: Style, value: object, field: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise wrong_type(style, field, "number", value)
    return float(value)


def _taken(style: Style, lies: Lies, name: str, value: float) -> float:
    """A value as the server takes it: rejected, clamped to its range, or as it is; a top-k that is off is infinite."""
    field = style.names[name]
    always, once = lies.find("PARAM=rejected", name), lies.find("PARAM=rejected:X", name)
    if always or (once and once.numbers[0] == value):
        raise unsupported(field)
    if style.effort and value != NEUTRAL[name]:
        raise unsupported_value(field, value, NEUTRAL[name])
    limits = style.ranges.get(name)
    if limits is not None and not limits.holds(value):
        if not limits.clamps:
            raise out_of_range(style, field, value, limits)
        value = min(max(value, limits.low), limits.high)
    return math.inf if name == "top_k" and value <= 0 else value


def _told(lies: Lies, sent: Mapping[str, float]) -> dict[str, float]:
    """What lies make of which parameters were sent, and of their values."""
    told = {n: v for n, v in sent.items() if not lies.find("PARAM=ignored", n)}
    for lie in lies.told:
        name, value = lie.subject, told.get(lie.subject)
        if lie.name == "PARAM=default:X" and value is None:
            told[name] = lie.numbers[0]
        elif lie.name == "PARAM=swapped:PARAM":
            other = told.pop(lie.other, None)
            told.pop(name, None)
            told.update({n: _fitting(n, v) for n, v in ((lie.other, value), (name, other)) if v is not None})
        elif lie.name == "PARAM=mapped:X" and value is not None:
            del told[name]
            told["repetition_penalty"] = max(value + lie.numbers[0], 0.01)
    return told


def _fitting(name: str, value: float) -> float:
    """A value of another parameter, made to fit this one."""
    p = PARAMETERS[name]
    low = 0.01 if p.low_open else p.low
    value = min(max(value, low), math.inf if p.high is None else p.high)
    return value if p.kind == "float" or math.isinf(value) else float(round(value))


def _bent(lies: Lies, name: str, value: float) -> float:
    """What lies make of a value in force."""
    for lie in lies.about(name):
        if lie.name == "PARAM=fixed:X":
            value = lie.numbers[0]
        elif lie.name == "PARAM=scaled:X":
            value = _fitting(name, value * lie.numbers[0])
        elif lie.name == "PARAM=floor:X":
            value = max(value, lie.numbers[0])
        elif lie.name == "PARAM=clamped:X:X":
            value = min(max(value, lie.numbers[0]), lie.numbers[1])
    return value


def _steps(style: Style, lies: Lies, values: Mapping[str, float], samplers: object) -> list[Step]:
    order = [n for n in style.order if n not in PENALTIES]
    if isinstance(samplers, list):  # a step that is left out is off
        order = [n for n in (_SAMPLERS.get(s, str(s)) for s in samplers) if n in order]
    if lies.find("order=temperature last"):
        order = [*(n for n in order if n != "temperature"), "temperature"]
    if lies.find("order=temperature first"):
        order = ["temperature", *(n for n in order if n != "temperature")]
    on = [Step(n, values[n]) for n in order if values[n] != NEUTRAL[n]]
    return [Step("exact_k", s.value) if style.exact_k and s.name == "top_k" else s for s in on]


_SAMPLERS: Mapping[object, str] = {"typ_p": "typical_p"}  # llama.cpp's names that are not poise's


def _scopes(style: Style, lies: Lies, asked: float | None) -> Scopes:
    output, window = lies.find("penalties=output"), lies.number("penalties=window:N")
    window = asked if window is None else window
    additive = style.additive_scope == "prompt and output" or bool(lies.find("penalties=prompt"))
    return Scopes(
        repetition_prompt=style.repetition_scope == "prompt and output" and not output,
        additive_prompt=additive and not output,
        window=style.window if window is None else int(window),
    )


def _bias(style: Style, lies: Lies, given: object, size: int) -> tuple[tuple[int, float], ...]:
    """``{id: bias}``, or llama.cpp's ``[[id, bias], …]``, where false bars a token."""
    if not given or lies.find("logit_bias=ignored"):
        return ()
    if not style.biases:
        if style.strict:
            raise unsupported("logit_bias")
        return ()
    try:
        pairs = given.items() if isinstance(given, Mapping) else list(given)  # type: ignore[call-overload]
        read = [(int(token), -math.inf if bias is False else float(bias)) for token, bias in pairs]
    except (TypeError, ValueError):
        raise wrong_type(style, "logit_bias", "object", given) from None
    outside = [token for token, _ in read if not 0 <= token < size]
    if outside and style.kind in ("vllm", "openai"):
        told = f"token_id(s) {outside} in logit_bias contain out-of-vocab token ids. Vocabulary size: {size}"
        raise Refused(400, told, "logit_bias", "invalid_value")
    read = [(token, bias) for token, bias in read if 0 <= token < size]
    if style.kind in ("vllm", "openai"):
        read = [(token, min(max(bias, -100.0), 100.0)) for token, bias in read]
    return tuple(read)
