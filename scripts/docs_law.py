"""The pages of docs/ about parameters, dialects and dials."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from poise.cli.flags import LIST_FLAGS
from poise.dialects import DIALECTS, Dialect, Rules
from poise.motions import Motion, motion, moving_step
from poise.param_lists import LISTS
from poise.parameters import PARAMETERS, Parameter
from poise.params import SamplingParams

Table = Callable[[tuple[str, ...], Any], list[str]]

MANY = 5  # parameters from which on the largest group of a row is "all others"
# A value of each at which it acts, as it stands beside a dial.
BESIDE: Mapping[str, float] = {
    "temperature": 0.7, "top_k": 40, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.9, "repetition_penalty": 1.2,
    "frequency_penalty": 0.5, "presence_penalty": 0.5, "top_n_sigma": 1.5, "epsilon_cutoff": 0.001,
    "eta_cutoff": 0.001, "top_h": 0.4, "tfs": 0.95, "top_a": 0.2, "dynatemp_range": 0.5, "smoothing_factor": 0.3,
    "xtc_probability": 0.5, "mirostat": 2, "dry_multiplier": 0.8, "no_repeat_ngram_size": 3, "guidance_scale": 1.5,
}  # fmt: skip
# What a rule says, where it is not that of transformers.
RULES: Mapping[tuple[str, object], str] = {
    ("top_k_ties", "exact"): "top_k keeps k tokens and no more: of those tied with the last the lowest ids",
    ("top_p_scope", "joint"): "top_p weighs all tokens, also those that top_k cut",
    ("top_p_scope", "joint without min_p"): "top_p weighs all tokens, also those that top_k cut, unless min_p is on",
    ("top_p_passes", True): "top_p ends at the first mass above p",
    ("top_p_ties", "keep"): "top_p keeps what ties with the last of its tokens",
    ("top_p_zero", "off"): "top_p = 0 is off",
    ("top_p_zero", "refused"): "top_p = 0 is an error",
    ("typical_ties", "exact"): "typical_p keeps no ties",
    ("typical_passes", True): "typical_p ends at the first mass above p",
    ("dynatemp_counts", "listed"): "the dynamic temperature counts barred tokens too that are still on its list",
    ("xtc_strict", True): "XTC's members lie above the threshold, and those tied with the least of them stay",
    ("greedy_last", True): "temperature 0 takes the likeliest of what the steps before it left",
}


def parameters(table: Table) -> list[str]:
    """Every parameter, then every dialect.

    Args:
        table: makes a table of heads and rows.

    Returns:
        Lines of Markdown.
    """
    lines = ["# Parameters", ""]
    lines += [
        "A parameter that is left out is off. `off` on the command line and `None` in Python say so explicitly.",
        "Zero temperature is greedy: the likeliest token, the lowest id among ties. Some parameters shape the step of",
        "another one and do nothing without it. What a parameter means to the boundary, and whether an engine has it,",
        "is the dialect's to say: see [Dialects](#dialects).",
        "",
    ]
    for name, p in PARAMETERS.items():
        lines += [f"## {name}", "", f"{p.meaning} {p.helps} {p.harms}", ""]
        lines += [*table(("", ""), _rows(name, p)), ""]
    for name in LISTS:
        written, meaning = LIST_FLAGS[name]
        steps = {"dry_breakers": "dry_multiplier"}.get(name, name)
        rows = [("flag", f"`--{name.replace('_', '-')} {written}`")]
        having = [d.name for d in DIALECTS.values() if d.orderable] if name == "order" else _having(steps)
        lines += [f"## {name}", "", meaning.replace("\\n", "`\\n`"), ""]
        lines += [*table(("", ""), [*rows, ("dialects", ", ".join(having))]), ""]
    return [*lines, *dialects(table)]


def dialects(table: Table) -> list[str]:
    """Every dialect: its order, its rules, where they were read."""
    lines = ["# Dialects", ""]
    lines += [
        "The order of the steps is part of the law: logits (3, 2, 1), temperature 0.5 and top_p 0.8 keep one token in",
        "the order of transformers and two in that of llama.cpp. A rule that is not named is that of transformers.",
        "",
    ]
    for dialect in DIALECTS.values():
        lines += [f"## The dialect {dialect.name}", "", *_wrapped(" → ".join(dialect.order)), ""]
        lines += [*table(("", ""), _of_dialect(dialect)), ""]
    return lines[:-1]


def _rows(name: str, p: Parameter) -> Iterator[tuple[str, str]]:
    yield "flag", f"`--{name.replace('_', '-')}`"
    yield "range", p.range_text
    if p.leaders:
        yield "shapes", ", ".join(f"`{n}`" for n in p.leaders) + "; without it, it does nothing"
        yield "left out it is", "as the dialect says" if p.neutral is None else f"{p.neutral:g}"
    else:
        yield "changes nothing at", "—" if p.neutral is None else f"{p.neutral:g}"
    yield "stage", p.stage
    yield "dialects", ", ".join(_having(*(p.leaders or (name,))))
    how = motion(name, SamplingParams.model_validate(_leading(name)))
    yield "dial", f"{_said(how)}: {how.why}; [beside others](dial-table.md)"
    yield "source", p.source


def _having(*steps: str) -> list[str]:
    """The dialects that have a step, with a mark where poise adds it."""
    found = []
    for d in DIALECTS.values():
        here = [step for step in steps if d.has(step)]
        if here:
            found.append(f"{d.name} (added by poise)" if d.extensions.issuperset(here) else d.name)
    return found


def _of_dialect(d: Dialect) -> Iterator[tuple[str, str]]:
    yield "source", d.source
    if d.version:
        yield "version", d.version
    if d.extensions:
        yield "added by poise", ", ".join(n for n in d.order if n in d.extensions)
    if rules := _rules(d.rules):
        yield "rules", "; ".join(rules)
    for step, beside in d.alone.items():
        yield f"beside {step}", f"nothing acts but {', '.join(n for n in beside if n != step)}"
    if d.orderable:
        at = ", ".join(f"{step} {f'after {leader}' if leader else 'first'}" for step, leader in d.placed.items())
        yield "order", f"its users may give another; not named, {at}" if at else "its users may give another"
    if d.limits:
        yield "ranges", "; ".join(f"{n} from {low:g} to {high:g}" for n, (low, high) in d.limits.items())
    if d.defaults:
        yield "an empty request gets", ", ".join(f"{n}={v:g}" for n, v in d.defaults.items())


def _rules(rules: Rules) -> list[str]:
    """The rules that are not those of transformers, in words."""
    plain, found = Rules(), []
    for field in dataclasses.fields(Rules):
        value = getattr(rules, field.name)
        if value == getattr(plain, field.name):
            continue
        found.append(_NUMBERS[field.name](value) if field.name in _NUMBERS else RULES[field.name, value])
    return found


def _scopes(scopes: Mapping[str, str]) -> str:
    plain = Rules().scopes
    by_scope: dict[str, list[str]] = {}
    for name, scope in scopes.items():
        if plain.get(name, "all") != scope:
            by_scope.setdefault(scope, []).append(name)
    words = {
        "all": "prompt and output",
        "output": "the output alone",
        "last and output": "the prompt's last token and the output",
    }  # fmt: skip
    return "; ".join(f"{', '.join(names)} see {words[scope]}" for scope, names in by_scope.items())


_NUMBERS: Mapping[str, Callable[[Any], str]] = {
    "scopes": _scopes,
    "window": lambda n: f"penalties see the last {n} tokens",
    "dry_window": lambda n: f"DRY sees the last {n} tokens",
    "greedy_below": lambda t: f"a temperature below {t:g} is 0",
    "temperature_floor": lambda t: f"a temperature above that is at least {t:g}",
}


def dial_table(table: Table) -> list[str]:
    """Which parameter can be dialled beside which.

    Args:
        table: makes a table of heads and rows.

    Returns:
        Lines of Markdown.
    """
    lines = ["# What can be dialled", ""]
    lines += [
        "A row for each parameter that moves and each reason that holds beside others, one at a time. Exact dials need",
        "nothing else; those in part need `--resolution`: the range is halved down to it, and only proved stretches",
        "count as known. A parameter that shapes the step of another one moves beside that one, and acts beside others",
        "as that one does. At temperature 0 no truncation cuts in most dialects, so every penalty is exact there.",
        "Beside mirostat there is no dial: its cut depends on the tokens that were drawn, which differ at each value.",
    ]
    for dialect in DIALECTS.values():
        lines += ["", f"## In the order of {dialect.name}", ""]
        moving = [n for n in PARAMETERS if dialect.has(moving_step(n, SamplingParams(dialect=dialect.name)))]
        rows = [row for name in moving for row in _dials(name, dialect)]
        lines += table(("moves", "beside", "dial", "mechanism", "why"), rows)
    return lines


def _dials(name: str, dialect: Dialect) -> Iterator[tuple[str, str, str, str, str]]:
    """The rows of one parameter: what it can stand beside, by reason."""
    leading = {n: v for n, v in _leading(name).items() if dialect.has(n)}
    groups: dict[tuple[str, str], tuple[Motion, list[str]]] = {}
    for beside in ("", *(n for n in dialect.order if n in BESIDE and n not in (name, "mirostat", *leading))):
        fixed = {**leading, **({beside: BESIDE[beside]} if beside else {}), "dialect": dialect.name}
        if any(n in leading and beside not in ("", *company) for n, company in dialect.alone.items()):
            continue
        how = motion(name, SamplingParams.model_validate(fixed))
        why = re.sub(rf"\b{beside}\b(?!')", "it", how.why) if "_" in beside or beside == "tfs" else how.why
        groups.setdefault((how.kind, why), (how, []))[1].append(beside)
    most = max(groups.values(), key=lambda group: len(group[1]))[1]
    for (kind, why), (how, besides) in groups.items():
        shown = ", ".join(f"`{n}`" if n else "nothing" for n in besides)
        if besides is most and len(besides) > MANY:
            shown = "nothing, and all others" if "" in besides else "all others"
        yield f"`{name}`", shown, _said(how), kind, why


def _leading(name: str) -> dict[str, float]:
    """The step that a parameter shapes, on; nothing for a step."""
    leaders = PARAMETERS[name].leaders
    return {leaders[0]: BESIDE[leaders[0]]} if leaders else {}


def _said(how: Motion) -> str:
    return "exact" if how.exact else "**in part**" if how.possible else "**no**"


def _wrapped(text: str, width: int = 116) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
