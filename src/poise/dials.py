"""The dial: every value of one parameter at once."""

from __future__ import annotations

import functools
import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple, Unpack, cast

from poise import asks
from poise.asks import Ask, DrawOptions, Given, Options
from poise.branches import Budget, Parting, Progress, Strand, grow
from poise.database import is_blank
from poise.errors import UsageError
from poise.forecasts import Forecast, forecasts
from poise.motions import Motion, motion, moving_step
from poise.params import FOLLOWERS, PARAMETERS, SamplingParams, check_value, find_parameter
from poise.partings import fork_of
from poise.pieces import Cost, Dial, Dials, Found, beside, tile, with_value
from poise.records import Prompt, Request
from poise.sameness import check_sameness
from poise.sessions import Engine, LogitsEngine, Tally
from poise.spans import Span, closed, gaps
from poise.study import Study

PARTS = 12  # missing stretches of a prompt that are forecast one by one


class DialOptions(DrawOptions, total=False):
    """How to dial: how to draw, and where to stop early.

    Args:
        max_rows: forward passes of one row at most, over all dials; the widest unknown stretch goes first.
        resolution: stretches narrower than this are given up; what is not monotone is halved down to it.
        max_texts: finished stretches at most, over all dials.
        forks: keep the next word's probabilities wherever texts part, for a page; default False.
    """

    max_rows: int | None
    resolution: float | None
    max_texts: int | None
    forks: bool


@dataclass(frozen=True, slots=True)
class DialPlan:
    """What a dial would do; str() shows it to people.

    Args:
        study: where the pieces will be kept.
        model: the engine's name.
        prompts: as they will be asked.
        parameter: the one that moves.
        low, high: its range.
        params: the others.
        how: why the dial is exact, or what it can prove.
        draws: dials per prompt.
        seed: of the noise.
        held: share of the ranges that the study knows already, 0 to 1.
        expected: pieces and rows of all dials from the closed form, without sharing; None where there is none.
        budget: where it stops early.
        notes: what the reader should know.
    """

    study: Path
    model: str
    prompts: tuple[Prompt, ...]
    parameter: str
    low: float
    high: float
    params: SamplingParams
    how: Motion
    draws: int
    seed: int
    held: float
    expected: Forecast | None
    budget: Budget
    notes: tuple[str, ...]

    @property
    def expects(self) -> str:
        """The cost in words."""
        if self.expected is None:
            return "no closed form beside these settings"
        e = self.expected
        pieces = f"{e.pieces:,.0f} piece{'s' * (round(e.pieces) != 1)}"
        return f"about {pieces} and {e.rows:,.0f} rows, less what draws share"

    @property
    def _beside(self) -> str:
        said = beside(self.parameter, self.params)
        return f" beside {said}" if said else ", nothing else set"

    def __str__(self) -> str:
        limits = [
            f"{name.replace('_', ' ')} {value:g}" for name, value in self.budget._asdict().items() if value is not None
        ]
        lines = [
            ("model", self.model),
            ("study", str(self.study)),
            ("prompts", f"{len(self.prompts):,}, {self.draws:,} draw{'s' * (self.draws > 1)} each, seed {self.seed}"),
            ("dial", f"{self.parameter} over [{self.low:g}, {self.high:g}]{self._beside}"),
            ("exact" if self.how.exact else "in part", self.how.why),
            *([("known", f"{self.held:.0%} of the range is in the study already")] if self.held else []),
            ("expected", self.expects),
            *([("stops at", ", ".join(limits))] if limits else []), *(("note", note) for note in self.notes),
        ]  # fmt: skip
        return "\n".join(f"{name:<9} {said}" for name, said in lines)


class _Prepared(NamedTuple):
    engine: LogitsEngine
    asks: list[Ask]
    options: Options
    fixed: SamplingParams
    how: Motion
    span: Span
    budget: Budget
    requests: list[Request]
    notes: list[str]
    forks: bool


def plan_dial(
    engine: Engine,
    prompts: Given | Iterable[Given],
    parameter: str,
    low: float,
    high: float,
    *,
    params: SamplingParams | None = None,
    study: Study | str | Path | None = None,
    **how: Unpack[DialOptions],
) -> DialPlan:
    """What `dial` with the same arguments would do; one forced pass over each prompt, nothing is drawn or written.

    Args:
        engine, prompts, parameter, low, high, params, study, **how: see `dial`.

    Returns:
        The plan, with the expected cost.

    Raises:
        UsageError: what cannot be dialled.
        ParameterError: an unknown parameter, a value out of range.
        StoreError: the study cannot be read.
    """
    ready = _prepare(engine, prompts, (parameter, low, high), params or SamplingParams(), how)
    path = study.path if isinstance(study, Study) else Path(study or asks.default_study(engine, ready.asks))
    known, notes = _look(ready, parameter, study if isinstance(study, Study) else path)
    whole = PARAMETERS[parameter].kind == "int"
    missing = sum(span.extent(whole) for spans in known for span in spans) / len(known)
    held, found = 1.0 - missing / ready.span.extent(whole), _expected(ready, parameter, known)
    return DialPlan(
        study=path, model=engine.name, prompts=tuple(a.prompt for a in ready.asks), parameter=parameter,
        low=ready.span.low.value, high=ready.span.high.value, params=ready.fixed, how=ready.how,
        draws=ready.options.draws, seed=ready.options.seed, held=held, expected=found, budget=ready.budget,
        notes=(*ready.notes, *notes),
    )  # fmt: skip


def dial(
    engine: Engine,
    prompts: Given | Iterable[Given],
    parameter: str,
    low: float,
    high: float,
    *,
    params: SamplingParams | None = None,
    study: Study | str | Path | None = None,
    progress: Progress | None = None,
    **how: Unpack[DialOptions],
) -> Dials:
    """Every text for every value of a parameter, each prompt and draw with its own noise.

    The same call resumes an interrupted one; a wider range or more draws find out only what is missing.

    Args:
        engine: a loaded model whose tokens poise draws.
        prompts: texts, prompts and use cases, one or several.
        parameter, low, high: which one moves, and its range, both ends in it; inf is the whole vocabulary for top_k.
        params: the other parameters; None for none.
        study: where to keep the pieces; None for one per model and prompts.
        progress: told the share of the work that is done.
        **how: see `DialOptions`.

    Returns:
        A dial per prompt and draw; a lone one is read without an index: `dial.at(0.73).text`.

    Raises:
        UsageError, ParameterError: what cannot be dialled, and why; a budget too small for one text.
        EngineError, StoreError, StudyError: the model failed; the study cannot be written, or is another model's.

    Source: docs/method.md.
    """
    ready = _prepare(engine, prompts, (parameter, low, high), params or SamplingParams(), how)
    if isinstance(study, Study):
        return _dial(study, ready, parameter, progress)
    with Study.open(study or asks.default_study(engine, ready.asks)) as held:
        return _dial(held, ready, parameter, progress)


def _dial(
    study: Study,
    ready: _Prepared,
    parameter: str,
    progress: Progress | None,
) -> Dials:
    engine = ready.engine
    for note in study.bind(engine.fingerprint, latest=False):
        warnings.warn(note, stacklevel=4)
    check_sameness(engine, study)
    low, high, found = ready.span.low.value, ready.span.high.value, list[list[Found]]()
    for request in ready.requests:
        study.expect_dial(request, parameter, low, high)
        found.append(study.pieces(request, parameter, ready.span))
    strands = [Strand(i, r, _gaps(ready, found[i])) for i, r in enumerate(ready.requests)]
    known = sum(map(len, found))
    expected = _expected(ready, parameter, [s.spans for s in strands]) if any(s.spans for s in strands) else None
    tally, start = Tally(), time.perf_counter()
    for strand, piece in grow(
        engine, strands, parameter, ready.how, budget=ready.budget, tally=tally,
        watch=functools.partial(_keep_fork, study, parameter) if ready.forks else None, progress=progress,
    ):  # fmt: skip
        began = time.perf_counter()
        if piece.completion is not None:
            study.add_piece(strand.request, parameter, piece)
        found[strand.number].append(piece)
        tally.seconds["store"] = tally.seconds.get("store", 0.0) + time.perf_counter() - began
    dials = [
        Dial(request, parameter, low, high, tile(pieces)) for request, pieces in zip(ready.requests, found, strict=True)
    ]
    cost = Cost(
        rows=tally.rows, pieces=sum(len(d.pieces) for d in dials),
        expected_rows=expected and expected.rows, expected_pieces=expected and expected.pieces + known,
        seconds=time.perf_counter() - start, parts=tuple(tally.seconds.items()),
    )  # fmt: skip
    return Dials(dials, cost, ready.notes)


def _keep_fork(study: Study, parameter: str, parting: Parting) -> None:
    fork = fork_of(parting)
    study.add_fork(parting.node.request, parameter, fork.prefix, fork.span, fork.to_json())


def _gaps(ready: _Prepared, known: Sequence[Found]) -> tuple[Span, ...]:
    """What of the range is still to be found out."""
    return tuple(gaps(ready.span, [f.span for f in known]))


def _look(ready: _Prepared, parameter: str, study: Study | Path) -> tuple[list[tuple[Span, ...]], list[str]]:
    """What of each request's range is missing, and what changed since."""
    if isinstance(study, Path):
        if is_blank(study):
            return [(ready.span,) for _ in ready.requests], []
        with Study.open(study, read_only=True) as held:
            return _look(ready, parameter, held)
    changes = study.check(ready.engine.fingerprint)
    return [_gaps(ready, study.pieces(r, parameter, ready.span)) for r in ready.requests], changes


def _expected(ready: _Prepared, parameter: str, missing: Sequence[tuple[Span, ...]]) -> Forecast | None:
    """Of all that is missing together, request by request."""
    whole = PARAMETERS[parameter].kind == "int"
    total = [0.0, 0.0, 0.0]
    for a in ready.asks:
        wanted = [spans for r, spans in zip(ready.requests, missing, strict=True) if _asks(r, a)]
        distinct = list(dict.fromkeys(span for spans in wanted for span in spans))
        if len(distinct) > PARTS:  # too many to look at one by one: their share of the whole range
            share = sum(span.extent(whole) for spans in wanted for span in spans) / ready.span.extent(whole)
            distinct, counts = [ready.span], [share]
        else:
            counts = [float(sum(span in spans for spans in wanted)) for span in distinct]
        found = forecasts(ready.engine, a.prompt_ids, (parameter, ready.fixed), distinct, a.limits.max_tokens)
        if found is None:
            return None
        for f, n in zip(found, counts, strict=True):
            total = [t + n * x for t, x in zip(total, f, strict=True)]
    return Forecast(*total)


def _asks(request: Request, ask: Ask) -> bool:
    """Whether a request is one of an ask's draws."""
    mine = (ask.prompt_ids, ask.limits.max_tokens, ask.limits.min_tokens, ask.limits.stop)
    return (request.prompt_ids, request.max_tokens, request.min_tokens, request.stop) == mine


def _prepare(
    given_engine: Engine,
    prompts: Given | Iterable[Given],
    moving: tuple[str, float, float],
    params: SamplingParams,
    given: DialOptions,
) -> _Prepared:
    """Everything that can be wrong is found here, before any work."""
    parameter, low, high = moving
    engine = _check_engine(given_engine, parameter, params)
    span = _check_range(engine, parameter, low, high)
    budget, draw = _check_budget(given)
    options = asks.check_options(draw)
    [trial] = asks.check_settings(engine, params.without(parameter), baselines=False)
    asks.check_laws(engine, [with_value(trial.params, parameter, end.value) for end in (span.high, span.low)])
    how = _check_motion(parameter, trial.params, budget)
    _check_resolution(budget, span)
    asked = asks.ask_all(engine, asks.listed(prompts), options)
    distinct = list({(a.prompt_ids, a.limits): a for a in reversed(asked)}.values())[::-1]
    twice = len(asked) - len(distinct)
    read = "1 prompt reads" if twice == 1 else f"{twice:,} prompts read"
    notes = [f"{read} like another one, left out."] if twice else []
    notes += filter(None, [engine.fingerprint.replay_note])
    least = max(a.limits.max_tokens for a in distinct) - 1
    if budget.max_rows is not None and budget.max_rows < least:
        raise UsageError(
            f"A budget has rows for one text of {least + 1:,} tokens", f"max_rows={budget.max_rows:,}",
            f"Give at least {least:,}, or fewer --max-tokens",
        )  # fmt: skip
    requests = asks.requests_of(distinct, [trial], options)
    return _Prepared(
        engine, distinct, options, trial.params, how, span, budget, requests, notes, bool(given.get("forks"))
    )


def _check_engine(engine: Engine, parameter: str, params: SamplingParams) -> LogitsEngine:
    if not hasattr(engine, "fingerprint"):
        raise UsageError("An engine is what poise.load gives", repr(engine), 'For example poise.load("smollm2")')
    if engine.draws_by != "poise":
        raise UsageError(
            "A dial needs a model whose tokens poise draws, with noise that stays the same at every value",
            f"{engine.name}, which draws by itself and gives no hold on its noise",
            "Load the weights (hf:, gguf:), or a server with draws_by='poise'; or sweep single values",
        )
    about = find_parameter(parameter)
    if not isinstance(params, SamplingParams):
        raise UsageError("params are SamplingParams", repr(params), "poise.SamplingParams(top_p=0.9) makes them")
    neutral = about.neutral if parameter in FOLLOWERS else None  # beside what shapes its step
    if getattr(params, parameter) not in (None, neutral):
        raise UsageError(
            "A parameter is either dialled or fixed", f"{parameter} as both", f"Leave {parameter} out of the settings"
        )
    if parameter not in engine.supports:
        why = getattr(engine, "refusal", None)
        known = ", ".join(n for n in PARAMETERS if n in engine.supports)
        raise (why([parameter]) if why is not None else None) or UsageError(
            f"{engine.name} honours {known}", parameter, "Dial one of these"
        )
    if not params.how.has(moving_step(parameter, params)):
        known = ", ".join(params.how.order)
        raise UsageError(f"The dialect {params.dialect} has {known}", parameter, "Dial one of these")
    return cast(LogitsEngine, engine)


def _check_motion(parameter: str, fixed: SamplingParams, budget: Budget) -> Motion:
    how = motion(parameter, fixed)
    got = f"{parameter} beside {beside(parameter, fixed)}: {how.why}"
    if not how.possible:
        rule = "A dial moves what acts on each step by itself"
        raise UsageError(rule, got, "Sweep single values with `poise sweep`")
    if not how.exact and budget.resolution is None:
        raise UsageError(
            f"A dial of {parameter} is exact where its winners change one by one", got,
            "Give a --resolution: the range is halved down to it, and only proved stretches count as known",
        )  # fmt: skip
    return how


def _check_range(engine: LogitsEngine, parameter: str, low: float, high: float) -> Span:
    if parameter == "top_k" and high == float("inf"):
        high = engine.vocab_size
    ends = [float(check_value(parameter, end)) for end in (low, high)]
    if not ends[0] < ends[1]:
        way = f"Swap them: {high:g}..{low:g}" if low > high else "A single value is drawn by `poise generate`"
        raise UsageError("A range goes from a lower to a higher value", f"{low!r} to {high!r}", way)
    return closed(*ends)


def _check_resolution(budget: Budget, span: Span) -> None:
    if budget.resolution is not None and not 0 < budget.resolution < span.width:
        raise UsageError(
            f"A resolution lies between 0 and the range's width, {span.width:g}", repr(budget.resolution),
            f"For example {span.width / 1000:g}",
        )  # fmt: skip


def _check_budget(given: DialOptions) -> tuple[Budget, DrawOptions]:
    draw: dict[str, object] = dict(given)
    draw.pop("forks", None)
    most = {name: draw.pop(name, None) for name in Budget._fields}
    for name in ("max_rows", "max_texts"):
        value = most[name]
        if value is not None and (isinstance(value, bool) or not isinstance(value, Integral) or value < 1):
            raise UsageError(f"{name} is a whole number of at least 1", repr(value), f"Leave {name} out for no limit")
    if most["resolution"] is not None and (
        isinstance(most["resolution"], bool) or not isinstance(most["resolution"], Real)
    ):
        raise UsageError("A resolution is a number", repr(most["resolution"]), "For example 0.001")
    return Budget(**most), draw  # type: ignore[arg-type, return-value]
