"""Sweeps: every prompt under every setting, drawn once, kept in a Study."""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, Unpack

from poise import asks
from poise.asks import Ask, DrawOptions, Given, Options
from poise.codec import RequestKeys
from poise.costs import expected_cost
from poise.database import is_blank
from poise.errors import EngineError, StudyError, UsageError
from poise.goals import Goal
from poise.ledger import SweepSummary
from poise.metrics import find_metrics
from poise.metrics.limits import check_limits
from poise.metrics.needs import check_needs
from poise.params import SamplingParams
from poise.probes.looking import look_first
from poise.records import Completion, Prompt, Request, Trial
from poise.references import check_references, score_references
from poise.sameness import check_sameness
from poise.servers.honours import Probe
from poise.sessions import Engine, Tally
from poise.study import Study
from poise.trials import find_baseline
from poise.usecases import UseCase

_SHARED = "; settings that agree so far share their work"
_SHOWN = 8  # settings that a plan spells out


class Progress(Protocol):
    """Told after every text: how many of how many are drawn, and what it cost so far."""

    def __call__(self, done: int, total: int, tally: Tally) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What a sweep would do; str() shows it to people.

    Args:
        study: where the texts will be kept.
        model: the engine's name.
        prompts: as they will be asked, text or chat.
        trials: the settings, and which of them are baselines.
        draws: texts per prompt and setting.
        seed: of the noise.
        total: distinct texts asked for.
        reused: of these, in the study already.
        prompt_tokens: tokens of all prompts; each prompt is read once.
        max_new_tokens: new tokens at most; sharing makes it fewer rows.
        rate: tokens a second when this study last drew under the same circumstances; None where unknown.
        notes: what the reader should know.
        shares: whether settings that agree so far share their work: where poise draws.
    """

    study: Path
    model: str
    prompts: tuple[Prompt, ...]
    trials: tuple[Trial, ...]
    draws: int
    seed: int
    total: int
    reused: int
    prompt_tokens: int
    max_new_tokens: int
    rate: float | None
    notes: tuple[str, ...]
    shares: bool = True

    @property
    def missing(self) -> int:
        """Texts still to be drawn."""
        return self.total - self.reused

    @property
    def seconds(self) -> float | None:
        """Time at most, in seconds; None where the rate is not known before the first texts."""
        return None if self.rate is None else self.max_new_tokens / self.rate

    @property
    def use_cases(self) -> tuple[str, ...]:
        """Names of the use cases, in order."""
        return tuple(dict.fromkeys(p.use_case for p in self.prompts))

    def __str__(self) -> str:
        settings = [t.label + (f" ({', '.join(t.names)})" if t.names else "") for t in self.trials]
        more = [f"and {len(settings) - _SHOWN:,} more"] if len(settings) > _SHOWN else []
        most = "known after the first texts" if self.seconds is None else f"at most {_duration(self.seconds)}"
        lines = [
            ("model", self.model),
            ("study", str(self.study)),
            ("prompts", f"{len(self.prompts):,} ({', '.join(self.use_cases)}), {self._asked()}"),
            ("settings", f"{len(settings):,}: {'; '.join([*settings[:_SHOWN], *more])}"),
            ("draws", f"{self.draws:,} each, seed {self.seed}"),
            ("texts", f"{self.total:,}: {self.reused:,} in the study already, {self.missing:,} to draw"),
            ("tokens", f"at most {self.max_new_tokens:,} new ones{_SHARED if self.shares else ''}"),
            ("time", most if self.missing else "nothing to draw"),
            *(("note", note) for note in self.notes),
        ]
        return "\n".join(f"{name:<9} {said}" for name, said in lines)

    def _asked(self) -> str:
        chats = sum(p.chat for p in self.prompts)
        if chats == len(self.prompts):
            return "asked as chat, through the model's template (--text or chat=False continues them as text)"
        if chats == 0:
            return "continued as text (--chat or chat=True asks through the model's template)"
        return f"{chats:,} asked as chat, {len(self.prompts) - chats:,} continued as text (--chat, --text: all alike)"


class _Prepared(NamedTuple):
    asks: list[Ask]
    trials: list[Trial]
    options: Options
    requests: list[Request]  # each distinct text once
    everything: list[Request]  # also those that two prompts share
    whole: frozenset[str]
    notes: list[str]
    goals: dict[str, Goal | None]  # of the use cases


def generate(
    engine: Engine,
    prompts: Given | Iterable[Given],
    params: SamplingParams | None = None,
    **draw: Unpack[DrawOptions],
) -> list[Completion]:
    """Draw texts under one setting and hand them over; nothing is kept.

    Args:
        engine: a loaded model.
        prompts: texts, prompts and use cases, one or several.
        params: the setting; None for the model as it is, at temperature 1.
        **draw: see `DrawOptions`.

    Returns:
        The completions, by prompt, then draw; the same as `sweep` and `dial` draw there.

    Raises:
        PoiseError: what cannot be asked, before anything is drawn; an engine that failed.

    >>> from poise.engines import load
    >>> [c.text for c in generate(load("fake"), "the ship", SamplingParams(temperature=0), max_tokens=3)]
    [' the quiet a']
    """
    _check_engine(engine)
    options = asks.check_options(draw)
    trials = asks.check_settings(engine, params or SamplingParams(), baselines=False)
    asks.check_laws(engine, [trial.params for trial in trials])
    requests = asks.requests_of(asks.ask_all(engine, asks.listed(prompts), options), trials, options)
    found = {c.request: c for c in engine.generate(requests)}
    return [found[request] for request in requests]


def plan(
    engine: Engine,
    prompts: Given | Iterable[Given],
    settings: SamplingParams | Iterable[SamplingParams],
    *,
    study: Study | str | Path | None = None,
    baselines: bool = True,
    **draw: Unpack[DrawOptions],
) -> Plan:
    """What `sweep` with the same arguments would do; nothing is drawn or written.

    Args:
        engine: a loaded model.
        prompts: texts, prompts and use cases, one or several.
        settings: one or several, for example from `grid`.
        study: where to keep the texts; None for one of its own per model and prompts.
        baselines: whether greedy, engine-default and vendor join.
        **draw: see `DrawOptions`.

    Returns:
        The plan, with what is in the study already and what is missing.

    Raises:
        UsageError: a prompt, setting or option that cannot be drawn; a study of another model.
        StoreError: the study cannot be read.
    """
    ready = _prepare(engine, prompts, settings, baselines, draw)
    path = study.path if isinstance(study, Study) else Path(study or asks.default_study(engine, ready.asks))
    return _planned(engine, ready, path, *_look(engine, ready, study if isinstance(study, Study) else path))


def sweep(
    engine: Engine,
    prompts: Given | Iterable[Given],
    settings: SamplingParams | Iterable[SamplingParams],
    *,
    study: Study | str | Path | None = None,
    baselines: bool = True,
    progress: Progress | None = None,
    **draw: Unpack[DrawOptions],
) -> Study:
    """Draw every prompt under every setting, and keep each text as it finishes.

    The same call resumes an interrupted one; more draws, settings or prompts draw only what is missing.
    Greedy draws are all alike: they are kept like any others and cost no rows.

    Args:
        engine: a loaded model.
        prompts, settings, study, baselines: see `plan`.
        progress: called after every text.
        **draw: see `DrawOptions`.

    Returns:
        The study, open; `last_sweep` says what was drawn and what it cost.

    Raises:
        UsageError: a prompt, setting or option that cannot be drawn; a study of another model.
        EngineError: the model failed.
        StoreError: the study cannot be written.
    """
    settings = asks.several(settings)
    look_first(engine, settings)
    ready = _prepare(engine, prompts, settings, baselines, draw)
    held = study if isinstance(study, Study) else Study.open(study or asks.default_study(engine, ready.asks))
    try:
        _draw(engine, held, ready, progress)
    except BaseException:
        if held is not study:
            held.close()
        raise
    return held


def _draw(engine: Engine, study: Study, ready: _Prepared, progress: Progress | None) -> None:
    for note in [*study.bind(engine.fingerprint), *study.expect(ready.everything, ready.whole)]:
        warnings.warn(note, stacklevel=3)
    check_sameness(engine, study)
    probe: Probe | None = getattr(engine, "probe", None)
    if probe is not None:
        study.note("probe", f"{probe.url}#{probe.model}", probe.record())
    for use_case, goal in ready.goals.items():
        study.keep_goal(use_case, goal)
        if goal is not None and goal.needs_reference and engine.draws_by == "poise":
            score_references(engine, study, use_case)
    for trial in ready.trials:
        for name in trial.names:
            study.name_trial(trial.params, name)
    waiting = study.missing(ready.requests)
    tally, done, tokens, start = Tally(), 0, 0, time.perf_counter()
    if progress is not None:
        progress(0, len(waiting), tally)
    with closing(_completions(engine, waiting, tally)) as completions:
        for completion in completions:
            began = time.perf_counter()
            study.add(completion)
            tally.seconds["store"] = tally.seconds.get("store", 0.0) + time.perf_counter() - began
            done, tokens = done + 1, tokens + len(completion.token_ids)
            if progress is not None:
                progress(done, len(waiting), tally)
    if done < len(waiting):
        raise EngineError("An engine answers every request", f"{done:,} of {len(waiting):,}", "Run it again to resume")
    seconds = time.perf_counter() - start
    asked = (tally.requests, tally.retries, tally.prompt_tokens) if tally.requests else (0, 0, 0)
    tokens = tally.tokens if tally.requests else tokens  # a server counts them where it does not name them
    study.log_sweep(SweepSummary(done, len(ready.requests) - done, tally.rows, tokens, seconds, *asked))


def _completions(engine: Engine, requests: list[Request], tally: Tally) -> Generator[Completion, None, None]:
    """A generator, so that closing it frees what the engine holds."""
    if requests:
        yield from engine.generate(requests, tally)


def _look(engine: Engine, ready: _Prepared, study: Study | Path) -> tuple[list[Request], float | None, list[str]]:
    """What is missing, how fast it went before, and what changed since."""
    if isinstance(study, Path):
        if is_blank(study):
            return ready.requests, None, _without_baseline(ready, None)
        with Study.open(study, read_only=True) as held:
            return _look(engine, ready, held)
    changes = study.check(engine.fingerprint)
    waiting = study.missing(ready.requests) if study.use_cases() else ready.requests
    return waiting, None if changes else study.seen_rate, [*changes, *_without_baseline(ready, study)]


def _without_baseline(ready: _Prepared, study: Study | None) -> list[str]:
    """Use cases whose goal names a baseline that neither this sweep nor the study holds."""
    notes = []
    for use_case, goal in ready.goals.items():
        if goal is None:
            continue
        held = study.trials(use_case) if study is not None and use_case in study.use_cases() else ()
        try:
            _, stands_in = find_baseline([*ready.trials, *held], goal.baseline)
            notes += [f"{use_case}: {stands_in}"] if stands_in else []
        except StudyError:
            notes.append(
                f"{use_case}: its goal's baseline, {goal.baseline}, is not among the settings: `poise decide` needs it"
            )
    return notes


def _check_engine(engine: Engine) -> None:
    if not hasattr(engine, "fingerprint"):
        raise UsageError("An engine is what poise.load gives", repr(engine), 'For example poise.load("smollm2")')


def _planned(
    engine: Engine, ready: _Prepared, path: Path, waiting: list[Request], rate: float | None, changes: list[str]
) -> Plan:
    return Plan(
        study=path,
        model=engine.name,
        prompts=tuple(ask.prompt for ask in ready.asks),
        trials=tuple(ready.trials),
        draws=ready.options.draws,
        seed=ready.options.seed,
        total=len(ready.requests),
        reused=len(ready.requests) - len(waiting),
        prompt_tokens=sum(len(ids) for ids in {ask.prompt_ids for ask in ready.asks}),
        max_new_tokens=sum(r.max_tokens for r in waiting),
        rate=rate,
        notes=(*ready.notes, *changes, *expected_cost(engine, waiting)),
        shares=engine.draws_by == "poise",
    )


def _prepare(
    engine: Engine,
    prompts: Given | Iterable[Given],
    settings: SamplingParams | Iterable[SamplingParams],
    baselines: bool,
    draw: DrawOptions,
) -> _Prepared:
    """Everything that can be wrong is found here, before any work."""
    _check_engine(engine)
    options = asks.check_options(draw)
    trials = asks.check_settings(engine, settings, baselines)
    asks.check_laws(engine, [trial.params for trial in trials])
    given = asks.listed(prompts)
    asked = asks.ask_all(engine, given, options)
    everything = asks.requests_of(asked, trials, options)
    keys = RequestKeys(engine.fingerprint)
    distinct: dict[bytes, Request] = {}
    for request in everything:
        distinct.setdefault(keys.key(request), request)
    notes = []
    if len(distinct) < len(everything):
        twice = len(everything) - len(distinct)
        notes.append(f"{twice:,} texts are asked for twice, by prompts that read alike; each is drawn once.")
    notes += filter(None, [engine.fingerprint.replay_note])
    cases = [item for item in given if isinstance(item, UseCase)]
    named = [item.name for item in cases]
    if len(set(named)) < len(named):
        raise UsageError("The use cases of a sweep have different names", ", ".join(named), "Rename one of them")
    for case in cases:
        notes += _check_goal(engine, case)
    goals = {case.name: case.goal for case in cases}
    return _Prepared(asked, trials, options, list(distinct.values()), everything, frozenset(named), notes, goals)


def _check_goal(engine: Engine, case: UseCase) -> list[str]:
    """Raises where what a goal names cannot be had; notes where it can be drawn, and not be decided here."""
    if case.goal is None:
        return []
    check_needs(find_metrics(case.goal.metrics), case.name, case.prompts)
    check_limits(case.goal)
    if not case.goal.needs_reference:
        return []
    if engine.draws_by == "engine":
        return [
            f"{case.name}: its goal is near the reference texts, which a server cannot score; "
            "`poise decide` will need another, for example --raise distinct_2"
        ]
    check_references(engine, case)
    return []


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
