"""The dial on a page: move a parameter, watch the texts."""

from __future__ import annotations

import functools
import itertools
import shlex
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup

from poise import __version__
from poise.curves import Curve, curve, distinct_texts
from poise.escapes import visible
from poise.forks import Fork
from poise.motions import motion
from poise.params import PARAMETERS
from poise.pieces import Dial, Dials
from poise.records import Prompt
from poise.reports import bundle, readout
from poise.reports.dialdata import SIDE_BY_SIDE, Record, prompt_record
from poise.reports.page import checked_target, environment, write_page
from poise.sessions import Engine, LogitsEngine
from poise.study import Study

MAX_PROMPTS = 6
CURVES = ("loop_rate", "nll")
SYMBOLS = {"temperature": "T"}
LOG_FROM = 100  # a range of whole numbers this wide is shown on a logarithmic axis


def dial_report(study: Study, dials: Dials | Sequence[Dial], path: str | Path = "dial.html", *, engine: Engine) -> Path:
    """Write dials as one self-contained page with a slider over every value of the parameter.

    Args:
        study: that keeps them; where texts part, the page shows the next word's probabilities that it holds.
        dials: of one parameter, by prompt and draw; the first four draws of each prompt stand side by side.
        path: file to write; an existing one is replaced.
        engine: that drew them: it turns tokens into words.

    Returns:
        The file's path.

    Raises:
        UsageError: the path is a folder, or in a folder that is not there.
        StoreError: the file cannot be written.
    """
    target = checked_target(Path(path))
    groups = [list(g) for _, g in itertools.groupby(dials, lambda d: (d.request.prompt_ids, d.request.max_tokens))]
    decode = cast(LogitsEngine, engine).decode
    shown = groups[:MAX_PROMPTS]
    human = [readout.human_values(engine, g) for g in shown]
    curves = [_curves(g, h.nll) for g, h in zip(shown, human, strict=True)]
    records = [
        prompt_record(g, _forks(study, g[0]), decode, readout.less_likely(c[-1]) if h.nll else ())
        for g, h, c in zip(shown, human, curves, strict=True)
    ]
    first = groups[0][0]
    data = {
        "parameter": first.parameter,
        "symbol": SYMBOLS.get(first.parameter, first.parameter),
        "low": first.low,
        "high": first.high,
        "whole": PARAMETERS[first.parameter].kind == "int",
        "log": PARAMETERS[first.parameter].kind == "int" and first.high > LOG_FROM * max(first.low, 1),
        "prompts": records,
        "curves": [[_plot(c) for c in of_prompt] for of_prompt in curves],
        "says": [readout.sentences(g, h) if len(g) > 1 else [] for g, h in zip(shown, human, strict=True)],
    }
    write_page(target, _render(study, dials, groups, data, human=any(h.nll for h in human)))
    return target


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
        "x": [p.span.low.value for p in c.steps], "mean": [p.mean for p in c.steps],
        "low": [p.low for p in c.steps], "high": [p.high for p in c.steps],
    }  # fmt: skip


def _render(study: Study, dials: Dials | Sequence[Dial], groups: list[list[Dial]], data: Record, *, human: bool) -> str:
    first = groups[0][0]
    script, style = _script(), _style()
    cost = dials.cost if isinstance(dials, Dials) else None
    fields: dict[str, Any] = {
        "parameter": PARAMETERS[first.parameter],
        "name": first.parameter,
        "noun": first.parameter.replace("_", "-"),
        "first": first,
        "groups": groups,
        "left_out": len(groups) - MAX_PROMPTS,
        "side_by_side": SIDE_BY_SIDE,
        "exact": sum(d.exact_share for g in groups for d in g) / sum(map(len, groups)),
        "pieces": sum(len(d.pieces) for g in groups for d in g),
        "doubtful": sum(bool(p.doubtful) for g in groups for d in g for p in d.pieces),
        "how": motion(first.parameter, first.request.params),
        "cost": cost,
        "human": human,
        "notes": dials.notes if isinstance(dials, Dials) else (),
        "fingerprint": study.fingerprint,
        "command": _command(study, first, groups),
        "version": __version__,
        "data": data,
    }
    return (
        environment()
        .get_template("dial.html.j2")
        .render(**fields, script=script, style=style, policy=bundle.policy([script], [style]))
    )


def _command(study: Study, first: Dial, groups: list[list[Dial]]) -> str:
    """How to make the page again."""
    request = first.request
    words = ["poise", "dial", study.fingerprint.model]
    words += [request.prompt.shown] if len(groups) == 1 and not request.prompt.chat else ["-f", request.prompt.use_case]
    words += [f"--{first.parameter.replace('_', '-')}", f"{first.low:g}..{first.high:g}"]
    for name, value in request.params.active().items():
        words += [f"--{name.replace('_', '-')}", f"{value:g}"]
    words += ["--draws", str(len(groups[0])), "--max-tokens", str(request.max_tokens), "--seed", str(request.seed)]
    words += ["--min-tokens", str(request.min_tokens)] if request.min_tokens else []
    words += [w for s in request.stop for w in ("--stop", s)]
    if request.params.dialect != "transformers":
        words += ["--dialect", request.params.dialect]
    return " ".join(shlex.quote(w) for w in [*words, "--report", "dial.html"])


@functools.cache
def _script() -> Markup:
    return bundle.raw_text((resources.files("poise.reports") / "templates" / "dial.js").read_text("utf-8"), "script")


@functools.cache
def _style() -> Markup:
    return bundle.raw_text((resources.files("poise.reports") / "templates" / "dial.css").read_text("utf-8"), "style")
