"""Settings as a target's artefact: fields first, then the form."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from poise.dialects import DIALECTS
from poise.exports.arranging import samplers_of
from poise.exports.origin import Origin
from poise.exports.target import Form, Sheet, Target
from poise.exports.working import BARRED
from poise.param_lists import BREAKERS
from poise.params import PARAMETERS, SamplingParams

Fields = dict[str, Any]
PROVENANCE = "_poise"


def fields_of(params: SamplingParams, sheet: Sheet) -> Fields:
    """Everything that an artefact says, by its names there; what is off is said to be.

    Args:
        params: in the target's dialect.
        sheet: how it is written.

    Returns:
        Values, in the order in which they are written.
    """
    on = params.active()
    said: Fields = {}
    if sheet.switch:
        said[sheet.switch] = not params.greedy
    for name in sheet.names:
        if sheet.switch and params.greedy and PARAMETERS[name].stage != "penalty":
            continue  # the loader warns of what only draws at random could use
        value = on.get(name, sheet.off.get(name))
        said |= {} if value is None else dict.fromkeys(sheet.written(name), value)
    said |= _biases(params, sheet)
    if sheet.words and params.bad_words:
        said[sheet.words] = [list(word) for word in params.bad_words]
    if sheet.breakers:
        said[sheet.breakers] = list(BREAKERS if params.dry_breakers is None else params.dry_breakers)
    if sheet.sequence:
        said[sheet.sequence] = samplers_of(params.order or DIALECTS[params.dialect].order)
    return {**said, **sheet.beside}


def _biases(params: SamplingParams, sheet: Sheet) -> Fields:
    if sheet.bias is None:
        return {}
    name, style = sheet.bias
    pairs = params.logit_bias or ()
    if sheet.bars_words:
        words = {word[0]: BARRED for word in params.bad_words or ()}
        pairs = tuple(sorted({**dict(pairs), **words}.items()))
    if style == "pairs":  # an empty list switches off what the server was started with
        return {name: [[token, False if bias == BARRED else bias] for token, bias in pairs]}
    if style == "flags":
        return {name: [f"{token}{bias:+}" for token, bias in pairs]} if pairs else {}
    if style == "sequences":
        finite = [[[token], bias] for token, bias in pairs if bias != BARRED]
        barred = [token for token, bias in pairs if bias == BARRED]
        return {**({name: finite} if finite else {}), **({sheet.bars: barred} if barred else {})}
    return {name: dict(pairs)} if pairs else {}


def artefact(params: SamplingParams, target: Target, form: Form, origin: Origin) -> str:
    """Settings as text that their engine takes.

    Args:
        params: in the target's dialect.
        target: for whom.
        form: a key of its sheets.
        origin: where they come from; left out where the format has no place for it.

    Returns:
        The text, with a line end.
    """
    sheet = target.sheets[form]
    return _FORMS[form](fields_of(params, sheet), target, sheet, origin)


def _json(said: Fields, target: Target, sheet: Sheet, origin: Origin) -> str:
    own = {PROVENANCE: origin.record(target.name)} if sheet.tolerates else {}
    lines = [f"  {json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in {**said, **own}.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _python(said: Fields, target: Target, sheet: Sheet, origin: Origin) -> str:
    made = []
    for function, names in sheet.calls.items():
        mine = {n: v for n, v in said.items() if n in names or not names}
        inside = "".join(f"    {name}={_literal(value)},\n" for name, value in mine.items())
        made.append(f"{_VARIABLES[function]} = {function}(\n{inside})")
    head = _comments([*origin.comments(target.name)])
    return "\n".join([*head, sheet.imports, "", *made, f"# {sheet.usage}", ""])


_VARIABLES = {
    "SamplingParams": "sampling_params", "GenerationConfig": "generation_config", "make_sampler": "sampler",
    "make_logits_processors": "logits_processors",
}  # fmt: skip


def _literal(value: Any) -> str:
    if value == BARRED:
        return 'float("-inf")'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{k!r}: {_literal(v)}" for k, v in value.items()) + "}"
    return repr(value)


def _flags(said: Fields, target: Target, sheet: Sheet, origin: Origin) -> str:
    words = [[name, word] for name, value in said.items() for word in _words(name, value, sheet)]
    if sheet.program == ("vllm", "serve"):
        words = [["--generation-config", "vllm"], ["--override-generation-config", json.dumps(said)]]
    lines = [f'exec {" ".join(sheet.program)} "$@"', *(shlex.join(pair) for pair in words)]
    head = _comments([*origin.comments(target.name), f"use: {sheet.usage}"])
    return "\n".join(["#!/bin/sh", *head, " \\\n  ".join(lines), ""])


def _words(name: str, value: Any, sheet: Sheet) -> Sequence[str]:
    if name == sheet.sequence:
        return [";".join(value)]
    if name == sheet.breakers:
        return [_escaped(word) for word in value] or ["none"]
    return value if isinstance(value, list) else [_number(value)]


def _escaped(breaker: str) -> str:
    r"""A breaker as llama.cpp's programs read it: they turn \n and the like into what they mean."""
    if breaker == "none":
        return r"\x6eone"
    return breaker.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r").replace("\t", "\\t")


def _modelfile(said: Fields, target: Target, sheet: Sheet, origin: Origin) -> str:
    lines = [f"PARAMETER {name} {_number(value)}" for name, value in said.items()]
    return "\n".join([*_comments([*origin.comments(target.name), sheet.usage]), *lines, ""])


def _keys(said: Fields, target: Target, sheet: Sheet, origin: Origin) -> str:
    lines = [f"{name} = {';'.join(v) if isinstance(v, list) else _number(v)}" for name, v in said.items()]
    return "\n".join([*_comments(origin.comments(target.name)), *lines, ""])


def _number(value: Any) -> str:
    return repr(value).removesuffix(".0")


def _comments(lines: Sequence[str]) -> list[str]:
    return [f"# {line}" for line in lines]


_FORMS: Mapping[Form, Callable[[Fields, Target, Sheet, Origin], str]] = {
    "json": _json,
    "python": _python,
    "flags": _flags,
    "modelfile": _modelfile,
    "keys": _keys,
}
