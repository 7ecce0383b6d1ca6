"""The dial on a page: move a parameter, watch the texts."""

from __future__ import annotations

import functools
import itertools
import json
import math
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from poise import __version__
from poise.branches import Budget
from poise.curves import Curve, curve, distinct_texts
from poise.escapes import changed, visible
from poise.forks import Fork
from poise.motions import motion
from poise.param_lists import LISTS, listed
from poise.params import DIALECTS, PARAMETERS, Number
from poise.pieces import Dial, Dials, Piece
from poise.records import Prompt, params_record
from poise.reports import bundle, readout
from poise.reports.dialdata import SIDE_BY_SIDE, Record, prompt_record
from poise.reports.page import environment
from poise.reports.recipe import DTYPES
from poise.reports.served import address
from poise.sessions import Engine, LogitsEngine
from poise.study import Study
from poise.targets import checked_target, write_target
from poise.usecases import built_in_names

MAX_PROMPTS = 6
CURVES = ("loop_rate", "nll")
SYMBOLS = {"temperature": "T"}
LOG_FROM = 100  # a range of whole numbers this wide is shown on a logarithmic axis


def dial_report(
    study: Study,
    dials: Dials | Sequence[Dial],
    path: str | Path = "dial.html",
    *,
    engine: Engine,
    budget: Budget | None = None,
) -> Path:
    """Write dials as one self-contained page with a slider over every value of the parameter.

    Args:
        study: that keeps them; where texts part, the page shows the next word's probabilities that it holds.
        dials: of one parameter, by prompt and draw; the first four draws of each prompt stand side by side.
        path: file to write; an existing one is replaced.
        engine: that drew them: it turns tokens into words.
        budget: where they could stop early, for the command that makes them again.

    Returns:
        The file's path.

    Raises:
        UsageError: the path is a folder, or in a folder that is not there.
        StoreError: the file cannot be written.
    """
    target = checked_target(path, study.path, example="dial.html")
    groups = [list(g) for _, g in itertools.groupby(dials, lambda d: (d.request.prompt_ids, d.request.max_tokens))]
    logits = cast(LogitsEngine, engine)
    human = [readout.human_values(engine, g) for g in groups[:MAX_PROMPTS]]
    data = _data(study, groups[:MAX_PROMPTS], human, logits)
    fields: dict[str, Any] = {
        "cost": dials.cost if isinstance(dials, Dials) else None,
        "notes": dials.notes if isinstance(dials, Dials) else (),
        "human": any(h.nll for h in human),
        "command": _command(study, groups, budget or Budget(), data["ends"][1]),
        "lacks": _lacks(groups, budget),
    }
    write_target(target, _render(study, groups, data, fields))
    return target


def _data(study: Study, groups: list[list[Dial]], human: Sequence[readout.Human], engine: LogitsEngine) -> Record:
    """What the page's script reads."""
    curves = [_curves(g, h.nll) for g, h in zip(groups, human, strict=True)]
    records = [
        prompt_record(g, _forks(study, g[0]), engine.decode, readout.less_likely(c[-1]) if h.nll else ())
        for g, h, c in zip(groups, human, curves, strict=True)
    ]
    first = groups[0][0]
    whole = PARAMETERS[first.parameter].kind == "int"
    return {
        "parameter": first.parameter,
        "symbol": SYMBOLS.get(first.parameter, first.parameter),
        "low": first.low,
        "high": first.high,
        "ends": [_end(first.parameter, v, engine.vocab_size) for v in (first.low, first.high)],
        "whole": whole,
        "log": whole and first.high > LOG_FROM * max(first.low, 1),
        "prompts": records,
        "curves": [[_plot(c) for c in of_prompt] for of_prompt in curves],
        "says": [readout.sentences(g, h) if len(g) > 1 else [] for g, h in zip(groups, human, strict=True)],
    }


def _end(parameter: str, value: float, vocab_size: int) -> str:
    """An end of the range as it is written: as many tokens as there are is no limit."""
    if PARAMETERS[parameter].kind == "int":
        return "off" if value >= vocab_size else f"{int(value):,}"
    return _plain(value)


def _plain(value: Number) -> str:
    """A number in full, without digits that say nothing."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _forks(study: Study, dial: Dial) -> list[Fork]:
    return [Fork.from_json(*kept) for kept in study.forks(dial.request, dial.parameter)]


def _curves(dials: Sequence[Dial], human: Mapping[Prompt, float]) -> list[Curve]:
    """Those on the page; the difference to a human text, where there is one, stands last."""
    made = [distinct_texts(dials), *(curve(dials, name) for name in CURVES)]
    return [*made, curve(dials, "nll", reference=human)] if human else made


def _plot(c: Curve) -> Record:
    """A step function over the range: value, mean and band."""
    return {
        "name": c.metric, "unit": c.unit, "note": visible(c.note), "n": c.n_draws,
        "x": [p.span.low.value for p in c.steps], "after": [int(p.span.low.after) for p in c.steps],
        "mean": [p.mean for p in c.steps], "low": [p.low for p in c.steps], "high": [p.high for p in c.steps],
    }  # fmt: skip


def _render(study: Study, groups: list[list[Dial]], data: Record, more: Mapping[str, Any]) -> str:
    first = groups[0][0]
    script, style = _script(), _style()
    all_dials = [d for g in groups for d in g]
    pieces = [p for d in all_dials for p in d.pieces]
    fields: dict[str, Any] = {
        "parameter": PARAMETERS[first.parameter],
        "name": first.parameter,
        "first": first,
        "ends": data["ends"],
        "groups": groups,
        "left_out": len(groups) - MAX_PROMPTS,
        "side_by_side": SIDE_BY_SIDE,
        "draws": max(map(len, groups)),
        "whole": all(p.known for p in pieces),
        "exact": _percent(sum(d.exact_share for d in all_dials) / len(all_dials), pieces),
        "pieces": len(pieces),
        "doubtful": sum(bool(p.doubtful) for p in pieces),
        "how": motion(first.parameter, first.request.params),
        "stays": _stays(first),
        "banded": any(v is not None for cs in data["curves"] for c in cs for v in c["low"]),
        "fingerprint": study.fingerprint,
        "version": __version__,
        "data": data,
        **more,
    }
    return (
        environment()
        .get_template("dial.html.j2")
        .render(**fields, script=script, style=style, policy=bundle.policy([script], [style]))
    )


def _percent(share: float, pieces: Sequence[Piece]) -> str:
    """A share known, in percent; never 100 while a piece is not known."""
    if all(p.known for p in pieces):
        return "100"
    return f"{min(math.floor(1000 * share) / 10, 99.9):g}"


def _stays(first: Dial) -> str:
    """The other parameters as they are set, without the one that moves."""
    params = first.request.params
    on = {name: value for name, value in params.active().items() if name != first.parameter}
    said = [f"{name}={_plain(on[name])}" for name in PARAMETERS if name in on]
    if first.parameter != "temperature" and "temperature" not in on:
        said.insert(0, "temperature=1")
    said += [f"{name}={listed(value)}" for name, value in params.lists().items()]
    said += [f"dialect={params.dialect}"] * (params.dialect != next(iter(DIALECTS)))
    return ", ".join(said) or "no other parameter is set"


def _command(study: Study, groups: list[list[Dial]], budget: Budget, high: str) -> str:
    """How to make the page again."""
    first = groups[0][0]
    request, fingerprint = first.request, study.fingerprint
    source, said = _source(groups)
    words = ["poise", "dial", address(fingerprint)[0], *source]
    ends = f"{_plain(first.low)}..{'off' if high == 'off' else _plain(first.high)}"
    others = [(n, _plain(v)) for n, v in request.params.active().items() if n != first.parameter]
    for name, value in [(first.parameter, ends), *others]:
        words += _flag(name, value)
    words += [w for n, v in params_record(request.params).items() if n in LISTS for w in _flag(n, json.dumps(v))]
    words += _flag("draws", len(groups[0])) + _flag("max_tokens", request.max_tokens) + _flag("seed", request.seed)
    words += _flag("min_tokens", request.min_tokens) if request.min_tokens else []
    words += [w for s in request.stop for w in _flag("stop", s)]
    words += _flag("dialect", request.params.dialect) if request.params.dialect != next(iter(DIALECTS)) else []
    words += _flag("dtype", fingerprint.dtype) if fingerprint.dtype in DTYPES else []
    words += [w for n, v in budget._asdict().items() if v is not None for w in _flag(n, _plain(v))]
    return " ".join(map(_quoted, [*words, "--report", "dial.html", *said]))


def _lacks(groups: list[list[Dial]], budget: Budget | None) -> str:
    """What the command cannot say."""
    first = groups[0][0]
    said = []
    if budget is None and not all(p.known for g in groups for d in g for p in d.pieces):
        said.append("and the limits at which this dial stopped: --max-rows, --max-texts or --resolution")
    elif budget is None and not motion(first.parameter, first.request.params).exact:
        said.append("and its --resolution")
    if _source(groups)[0][:2] == ["-f", "usecase.yaml"]:
        said.append("where usecase.yaml is the file with its prompts")
    return "; ".join(said)


def _source(groups: list[list[Dial]]) -> tuple[list[str], list[str]]:
    """What was asked, as words after the model's name, and as words at the command's end."""
    prompt = groups[0][0].prompt
    turns = [m.role for m in prompt.messages]
    if len(groups) > 1 or turns not in ([], ["user"], ["system", "user"]):
        named = prompt.use_case in built_in_names()
        return ["-f", prompt.use_case if named else "usecase.yaml"], []
    system = [w for m in prompt.messages if m.role == "system" for w in _flag("system", m.content)]
    chat = ["--chat"] * prompt.chat + system
    # A prompt that begins with a dash has to stand behind all flags.
    return (chat, ["--", prompt.shown]) if prompt.shown.startswith("-") else ([prompt.shown, *chat], [])


def _flag(name: str, value: object) -> list[str]:
    """A flag with its value; joined where the value itself begins with a dash."""
    flag, said = f"--{name.replace('_', '-')}", str(value)
    return [f"{flag}={said}"] if said.startswith("-") else [flag, said]


def _quoted(word: str) -> str:
    """A word for a POSIX shell; what a reader cannot see or type stands as bytes in $'...'."""
    if not (changed(word) or any(c in "\n\t" for c in word)):
        return shlex.quote(word)
    plain = {"\n": "\\n", "\t": "\\t", "\\": "\\\\", "'": "\\'"}
    said = [
        plain.get(c) or (c if " " <= c <= "~" else "".join(f"\\x{b:02x}" for b in c.encode("utf-8", "surrogatepass")))
        for c in word
    ]
    return f"$'{''.join(said)}'"


@functools.cache
def _script() -> Markup:
    return bundle.raw_text("\n".join(map(_template, ("dial.js", "dialdrawn.js"))), "script")


@functools.cache
def _style() -> Markup:
    return bundle.raw_text(_template("dial.css"), "style")


def _template(name: str) -> str:
    return (resources.files("poise.reports") / "templates" / name).read_text("utf-8")
