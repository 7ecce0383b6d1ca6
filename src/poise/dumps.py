"""A study's completions, pieces and curves as tables, and curves as figures."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from poise.curves import Curve, curve
from poise.errors import StudyError, UsageError
from poise.metrics.metric import Metric
from poise.param_lists import LISTS
from poise.params import PARAMETERS, SamplingParams
from poise.pieces import Dial, Piece, alike, beside
from poise.records import Completion, Request, params_record
from poise.reports.charts import Figure, curve_figure
from poise.study import Study
from poise.tabular import FORMULA_STARTS as FORMULA_STARTS
from poise.tabular import MARK as MARK
from poise.tabular import Column, Columns, Format, Record, write_rows
from poise.targets import checked_target, write_target

What = Literal["completions", "pieces", "curves"]
DRAWN = ("loop_rate", "nll")  # curves of a dump, unless asked for others

COLUMNS: Columns = {
    "model": Column("text", "the model's name, as it was first written"),
    "use_case": Column("text", 'name of the use case; "prompt" for prompts without one'),
    "prompt_index": Column("integer", "position of the prompt in its use case, from 0"),
    "prompt": Column("text", "the prompt's text, or its last user message"),
    "messages": Column("messages", "the chat turns; none where the prompt was continued as text"),
    "answers": Column("texts", "accepted right answers"),
    "reference": Column("text", "a human text to compare with; null without one"),
    "setting": Column("text", "the settings as users write them, the trial's name"),
    "names": Column("texts", "what else the trial is called: greedy, engine-default, vendor"),
    **{
        name: Column("integer" if p.kind == "int" else "number", f"{p.meaning} Null: off.")
        for name, p in PARAMETERS.items()
    },
    "logit_bias": Column("text", "JSON: pairs of a token id and its bias, false where it bars. Null: none."),
    "bad_words": Column("text", "JSON: lists of token ids that are never completed. Null: none."),
    "dry_breakers": Column("text", "JSON: strings that end a repeated sequence for DRY. Null: those of llama.cpp."),
    "order": Column("text", "JSON: the order of the steps, where it was chosen. Null: the dialect's."),
    "dialect": Column("text", "whose order and boundary rules hold"),
    "seed": Column("text", "the seed, a whole number of any size"),
    "draw": Column("integer", "number of the draw, from 0"),
    "max_tokens": Column("integer", "new tokens at most"),
    "min_tokens": Column("integer", "the model could not end the text before this many; a stop string still could"),
    "stop": Column("texts", "strings that end the text"),
    "text": Column("text", "without the prompt, special tokens, stop string and thinking"),
    "thinking": Column("text", "what a reasoning model thought before its text"),
    "token_ids": Column("integers", "every token drawn, a closing end-of-text token included"),
    "logprobs": Column("numbers", "ln p of each token under the model itself, nats"),
    "finish_reason": Column("text", "eos, stop (a stop string) or length (max_tokens)"),
}
_OF_PROMPT = (
    "model", "use_case", "prompt_index", "prompt", "messages", "answers", "reference", "setting", *PARAMETERS,
    *LISTS, "dialect", "seed", "draw", "max_tokens", "min_tokens", "stop",
)  # fmt: skip
_OF_TEXT = ("text", "thinking", "token_ids", "logprobs", "finish_reason")
STAY = Column("text", "the parameters that stay; empty where nothing else is set")
PIECE_COLUMNS: Columns = {
    **{name: COLUMNS[name] for name in _OF_PROMPT},
    "setting": STAY,
    "parameter": Column("text", "the one that moves; its own column is null"),
    "range_low": Column("number", "low end of the dial's range"),
    "range_high": Column("number", "high end of the dial's range"),
    "low": Column("number", "low end of the piece"),
    "high": Column("number", "high end of the piece"),
    "low_closed": Column("integer", "1: low belongs to the piece; 0: it does not"),
    "high_closed": Column("integer", "1: high belongs to the piece; 0: it does not"),
    "parent": Column("integer", "number of the piece that it departs from, from 0; null for the first"),
    "departs": Column("integer", "tokens in common with that piece"),
    "known": Column("integer", "1: its text is known; 0: the dial stopped early, token_ids is what its texts share"),
    "doubtful": Column("integers", "positions of tokens that another machine may decide otherwise"),
    **{name: COLUMNS[name] for name in _OF_TEXT},
}
CURVE_COLUMNS: Columns = {
    "model": COLUMNS["model"],
    "use_case": COLUMNS["use_case"],
    "setting": STAY,
    "parameter": Column("text", "the one that moves"),
    **{name: COLUMNS[name] for name in ("max_tokens", "min_tokens", "stop")},
    "metric": Column("text", "name of the metric"),
    "unit": Column("text", "of mean, band_low and band_high"),
    "low": Column("number", "low end of the stretch"),
    "high": Column("number", "high end of the stretch"),
    "low_closed": Column("integer", "1: low belongs to the stretch; 0: it does not"),
    "high_closed": Column("integer", "1: high belongs to the stretch; 0: it does not"),
    "mean": Column("number", "mean of the prompts' means; null where a text is not known"),
    "band_low": Column("number", "low end of the simultaneous 95 % band; null without one"),
    "band_high": Column("number", "high end of the simultaneous 95 % band; null without one"),
    "n_prompts": Column("integer", "prompts"),
    "n_draws": Column("integer", "dials"),
    "scope": Column("text", "use_case: the band speaks of prompts like these; prompt: of these only"),
    "note": Column("text", "why there is no band, else empty"),
}


def dump(
    study: Study,
    format: Format | Figure,
    path: str | Path | None = None,
    *,
    everything: bool = True,
    what: What = "completions",
    metrics: Sequence[str | Metric] = DRAWN,
) -> int:
    """Write what a study holds as a table; `COLUMNS`, `PIECE_COLUMNS`, `CURVE_COLUMNS` say what its columns hold.

    Args:
        study: the study.
        format: ``jsonl``, ``csv`` or ``parquet``; see `tabular.write_rows` for what each keeps. Of curves also a
            figure, ``svg``, ``png`` or ``pdf``.
        path: the file to write or replace; None or "-" for standard output, which takes no figure.
        everything: also completions that earlier askings drew: prompts that left a use case, other limits.
        what: ``completions``; ``pieces`` of its dials; ``curves``: metrics along its dials, with their bands.
        metrics: of the curves.

    Returns:
        How many rows, or curves of a figure, were written.

    Raises:
        UsageError: an unknown format or kind, a folder, the study itself; a figure of anything but curves.
        MetricError: an unknown metric.
        StudyError: no dials to write.
        StoreError: the file cannot be written.
    """
    Study.given(study)
    target = None if path in (None, "-") else Path(str(path))
    if format == "svg" or format == "png" or format == "pdf":
        return _figure(study, format, target, what, metrics)
    if what == "completions":
        return write_rows(COLUMNS, _records(study, everything), format, target, study.path)
    if what not in ("pieces", "curves"):
        raise UsageError("A dump holds completions, pieces or curves", repr(what), "Leave it out for completions")
    if what == "pieces":
        return write_rows(PIECE_COLUMNS, _pieces(study, _dials(study, what)), format, target, study.path)
    return write_rows(CURVE_COLUMNS, list(_steps(study, metrics)), format, target, study.path)


def _dials(study: Study, what: What) -> list[Dial]:
    found = study.dials()
    if not found:
        got = f"none in {study.path}"
        raise StudyError(f"{what.capitalize()} need a dial", got, "Name a study of one: `poise dial` says where it is")
    return found


def _records(study: Study, everything: bool) -> Iterator[Record]:
    names = {trial.params: list(trial.names) for trial in study.trials()}
    model = study.fingerprint.model if study.use_cases() else ""
    seen: dict[str, dict[tuple[int, ...], int]] = {}  # prompts of each use case, in order
    of_trials = itertools.groupby(study.completions(everything=everything), key=lambda c: c.request.params)
    for params, of_trial in of_trials:
        law = _law(params, names.get(params, []))
        for completion in of_trial:
            places = seen.setdefault(completion.request.prompt.use_case, {})
            index = places.setdefault(completion.request.prompt_ids, len(places))
            yield {"model": model, "prompt_index": index, **law, **_asked(completion.request), **_said(completion)}


def _law(params: SamplingParams, names: list[str]) -> Record:
    on = params_record(params)
    values = {name: on.get(name) for name in PARAMETERS}
    lists = {name: json.dumps(on[name]) if name in on else None for name in LISTS}
    return {"setting": params.label, "names": names, **values, **lists, "dialect": params.dialect}


def _asked(request: Request) -> Record:
    prompt = request.prompt
    return {
        "use_case": prompt.use_case,
        "prompt": prompt.shown,
        "messages": [{"role": m.role, "content": m.content} for m in prompt.messages],
        "answers": list(prompt.answers),
        "reference": prompt.reference,
        "seed": str(request.seed),
        "draw": request.draw,
        "max_tokens": request.max_tokens,
        "min_tokens": request.min_tokens,
        "stop": list(request.stop),
    }


def _said(completion: Completion) -> Record:
    return {
        "text": completion.text,
        "thinking": completion.thinking,
        "token_ids": list(completion.token_ids),
        "logprobs": [p if math.isfinite(p) else None for p in completion.logprobs],
        "finish_reason": completion.finish_reason,
    }


def _pieces(study: Study, dials: Sequence[Dial]) -> Iterator[Record]:
    seen: dict[str, dict[tuple[int, ...], int]] = {}
    for dial in dials:
        request = dial.request
        places = seen.setdefault(request.prompt.use_case, {})
        index = places.setdefault(request.prompt_ids, len(places))
        common = {
            "model": study.fingerprint.model, "prompt_index": index, **_law(request.params, []), **_asked(request),
            "setting": beside(dial.parameter, request.params),
            "parameter": dial.parameter, "range_low": dial.low, "range_high": dial.high,
        }  # fmt: skip
        for piece in dial.pieces:
            yield {**common, **_piece(piece)}


def _piece(piece: Piece) -> Record:
    nothing: Record = dict.fromkeys(_OF_TEXT)
    said = {**nothing, "token_ids": list(piece.prefix)} if piece.completion is None else _said(piece.completion)
    return {
        "low": piece.low, "high": piece.high, "low_closed": int(piece.low_closed),
        "high_closed": int(piece.high_closed), "parent": piece.parent, "departs": piece.departs,
        "known": int(piece.known), "doubtful": list(piece.doubtful), **said,
    }  # fmt: skip


def _figure(study: Study, format: Figure, target: Path | None, what: What, metrics: Sequence[str | Metric]) -> int:
    if what != "curves":
        raise UsageError("Figures are of curves", f"{format} of {what}", "Ask for curves, or for a table: jsonl, csv")
    if target is None:
        raise UsageError("A figure goes to a file", "none", f"For example curves.{format}")
    checked_target(target, study.path, what="A figure", example=f"curves.{format}")
    found = curves(study, metrics)
    named = [(", ".join(filter(None, (d.prompt.use_case, beside(d.parameter, d.request.params)))), c) for d, c in found]
    write_target(target, curve_figure(named, format), "A figure")
    return len(found)


def curves(study: Study, metrics: Sequence[str | Metric] = DRAWN) -> list[tuple[Dial, Curve]]:
    """The curves that a study's dials give, as `dump` writes them.

    Args:
        study: with dials.
        metrics: of the curves.

    Returns:
        For each use case, parameter, range and setting, and each metric, one of the dials and the curve of all.

    Raises:
        StudyError: no dials.
        MetricError: an unknown metric.
    """
    groups = alike(_dials(study, "curves"))
    return [(found[0], curve(found, metric)) for found, metric in itertools.product(groups, metrics)]


def _steps(study: Study, metrics: Sequence[str | Metric]) -> Iterator[Record]:
    """A row per step of each curve."""
    for first, c in curves(study, metrics):
        for step in c.steps:
            yield {
                "model": study.fingerprint.model, "use_case": first.prompt.use_case,
                "setting": beside(c.parameter, first.request.params), "parameter": c.parameter,
                "max_tokens": first.request.max_tokens,
                "min_tokens": first.request.min_tokens, "stop": list(first.request.stop), "metric": c.metric,
                "unit": c.unit,
                "low": step.span.low.value, "high": step.span.high.value, "low_closed": int(not step.span.low.after),
                "high_closed": int(step.span.high.after), "mean": step.mean, "band_low": step.low,
                "band_high": step.high, "n_prompts": c.n_prompts, "n_draws": c.n_draws, "scope": c.scope,
                "note": c.note,
            }  # fmt: skip
