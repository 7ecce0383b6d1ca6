"""Have a judge compare every text with the baseline's; keep each answer."""

from __future__ import annotations

import difflib
import math
from collections import defaultdict
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack, get_type_hints

from poise.errors import StudyError, UsageError
from poise.goals import DEFAULT_BASELINE
from poise.judges.endpoint import QUESTION, Endpoint, find_endpoint
from poise.judges.hearing import Hearing, Pair, Progress, Task
from poise.judges.reliability import Judged, Reliability, reliability
from poise.metrics.judged import ORDERS, Judgement, Panel, baseline_texts, read_kept
from poise.params import SamplingParams
from poise.records import Trial
from poise.study import Study
from poise.trials import find_baseline

PARALLEL = 4
TIMEOUT = 120.0  # seconds


class JudgeOptions(TypedDict, total=False):
    """How to judge.

    Args:
        baseline: the trial whose texts the others are compared with, by settings or name; None: the goal's.
        question: by what to judge; None for `judges.QUESTION`.
        repeats: how often each order of a pair is asked, at least 1; default 1.
        use_case: one of the study's; None for all.
        limit_draws: only the first so many draws; None for all.
        key_env: the environment variable that holds the server's key; None for OPENAI_API_KEY, which goes over https
            or to this machine only.
        parallel: questions under way at once, 1 to 64; default 4.
        timeout: seconds that an answer may take, from asking to its last byte; default 120.
    """

    baseline: str | SamplingParams | None
    question: str | None
    repeats: int
    use_case: str | None
    limit_draws: int | None
    key_env: str | None
    parallel: int
    timeout: float


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """What judging would take; str() shows it to people.

    Args:
        study: where the answers will be kept.
        url, model: where the judge is, and its name.
        question: by what it judges.
        baselines: the trial compared with, by use case.
        pairs: different pairs of texts.
        same: completions whose text is the baseline's: nothing to ask.
        alone: completions without a text of the baseline to compare with.
        calls: answers wanted: every pair in both orders, `repeats` times.
        kept: of these, in the study already.
        characters: of the questions still to be asked.
    """

    study: Path
    url: str
    model: str
    question: str
    baselines: dict[str, Trial]
    pairs: int
    same: int
    alone: int
    calls: int
    kept: int
    characters: int

    @property
    def missing(self) -> int:
        """Answers still to be asked for; each bad one costs a second call."""
        return self.calls - self.kept

    def __str__(self) -> str:
        against = "; ".join(f"{c}: {t.label}{_also(t)}" for c, t in self.baselines.items())
        lines = [
            ("judge", f"{self.model} at {self.url}"),
            ("study", str(self.study)),
            ("baseline", against),
            ("pairs", f"{self.pairs:,} of different texts; {self.same:,} texts are the baseline's own words"),
            ("calls", f"{self.calls:,}: {self.kept:,} in the study already, {self.missing:,} to make"),
            ("cost", f"about {self.characters:,} characters to read; no more than a word each to write, apart from "
                     "thinking; an answer that is no answer is asked for once more"),
            *([("note", f"{self.alone:,} texts have none of the baseline's to compare with")] if self.alone else []),
        ]  # fmt: skip
        return "\n".join(f"{name:<9} {said}" for name, said in lines)


@dataclass(frozen=True, slots=True)
class Judging:
    """What a judge said in all, and how far it can be trusted; str() shows it to people.

    Args:
        plan: what was wanted.
        asked: calls made now, second attempts included.
        reliability: of all answers that the plan wants, old and new.
    """

    plan: JudgePlan
    asked: int
    reliability: Reliability

    @property
    def notes(self) -> list[str]:
        """What to know before using the values, a sentence each."""
        return [f"{doubt[0].upper()}{doubt[1:]}." for doubt in self.reliability.doubts]

    def __str__(self) -> str:
        plan = self.plan
        made = f"{plan.calls:,} answers of {plan.model}, {plan.kept:,} kept before; {self.asked:,} calls now"
        return "\n".join([made, self.reliability.table().text(), *(f"Note: {note}" for note in self.notes)])


@dataclass(frozen=True, slots=True)
class _Options:
    """`JudgeOptions`, checked; see there."""

    baseline: str | SamplingParams | None = None
    question: str = QUESTION
    repeats: int = 1
    use_case: str | None = None
    limit_draws: int | None = None
    key_env: str | None = None
    parallel: int = PARALLEL
    timeout: float = TIMEOUT


class _Found(NamedTuple):
    """What there is to judge in a use case."""

    pairs: list[Pair]  # by draw, so that what an interruption leaves is whole draws
    same: int
    alone: int


class _Ready(NamedTuple):
    endpoint: Endpoint
    options: _Options
    panels: dict[str, Panel]
    pairs: dict[str, Pair]  # by name, each once
    tasks: list[Task]
    trusted: bool
    plan: JudgePlan


def plan_judging(study: Study, url: str, model: str, **how: Unpack[JudgeOptions]) -> JudgePlan:
    """What `judge` with the same arguments would do; nobody is asked and nothing is written.

    Args:
        study: with completions of at least two trials.
        url: of a server that speaks the OpenAI chat-completions protocol, for example ``http://localhost:8000/v1``.
        model: the judge's name there.
        **how: see `JudgeOptions`.

    Returns:
        The plan.

    Raises:
        UsageError: an option out of range, a URL that is none.
        StudyError: no such trial or use case, or one trial alone.
    """
    return _prepare(study, url, model, how).plan


def judge(
    study: Study, url: str, model: str, *, progress: Progress | None = None, **how: Unpack[JudgeOptions]
) -> Judging:
    """Have a judge model compare every text with the baseline's of the same prompt and draw.

    Each pair is asked about in both orders. Every answer is kept as it comes, so that the same call resumes an
    interrupted one and asks nothing twice. The metric `judge` reads them.

    Args:
        study: as for `plan_judging`, open for writing.
        url, model: see `plan_judging`.
        progress: called after every answer.
        **how: see `JudgeOptions`.

    Returns:
        What was asked, and how far the judge can be trusted.

    Raises:
        UsageError: see `plan_judging`; the extra `judge` is not installed.
        EngineError: the judge does not answer, or does not let us in; what was answered is kept.
        StoreError: the study cannot be written.

    Source: Zheng et al. 2023, pairwise comparison with swapped positions.
    """
    ready = _prepare(study, url, model, how)
    study.check_writable()
    hearing = Hearing(study, ready.endpoint, ready.panels, trusted=ready.trusted)
    hearing.hear(ready.tasks, ready.options.parallel, progress)
    found: dict[str, list[Judgement]] = {name: [] for name in ready.pairs}
    for judgement in read_kept(study).values():
        if judgement.pair in found:
            found[judgement.pair].append(judgement)
    judged = [Judged(ready.pairs[name].asked, judgements) for name, judgements in found.items()]
    return Judging(ready.plan, hearing.calls, reliability(judged))


def _prepare(study: Study, url: str, model: str, how: JudgeOptions) -> _Ready:
    """Everything that can be wrong is found here, before anyone is asked."""
    options = _checked(how)
    endpoint = find_endpoint(url, model, options.key_env, options.timeout)
    Study.given(study)
    baselines: dict[str, Trial] = {}
    panels: dict[str, Panel] = {}
    pairs: dict[str, Pair] = {}
    same = alone = 0
    for case in _cases(study, options.use_case):
        baselines[case] = _baseline(study, case, options.baseline)
        panels[case] = Panel(endpoint.model, options.question, baselines[case].params)
        found = _find(study, case, panels[case], options.limit_draws)
        pairs.update((pair.name, pair) for pair in found.pairs)
        same, alone = same + found.same, alone + found.alone
    if not pairs and not same:
        raise StudyError(
            "A judge compares texts with the baseline's of the same prompt and draw",
            f"none such in {study.path}", "`poise sweep` draws several settings, baselines included",
        )  # fmt: skip
    kept = read_kept(study)
    wanted = [
        Task(pair, Judgement(name, order, repeat, "garbage", 0))
        for name, pair in pairs.items() for repeat in range(options.repeats) for order in ORDERS
    ]  # fmt: skip
    begun = [task._replace(judgement=kept.get(task.judgement.key, task.judgement)) for task in wanted]
    tasks = [task for task in begun if not task.judgement.final]
    plan = JudgePlan(
        study=study.path, url=endpoint.url, model=endpoint.model, question=options.question, baselines=baselines,
        pairs=len(pairs), same=same, alone=alone, calls=len(wanted), kept=len(wanted) - len(tasks),
        characters=sum(len(t.pair.shown(t.judgement.order, options.question)) for t in tasks),
    )  # fmt: skip
    return _Ready(endpoint, options, panels, pairs, tasks, any(t.judgement.valid for t in begun), plan)


def _cases(study: Study, use_case: str | None) -> list[str]:
    if use_case is not None:
        study.prompts(use_case)  # says which there are, where it is none
        return [use_case]
    return study.use_cases()


def _baseline(study: Study, use_case: str, asked: str | SamplingParams | None) -> Trial:
    goal = study.goal(use_case)
    wanted = asked or (DEFAULT_BASELINE if goal is None else goal.baseline)
    return find_baseline(study.trials(use_case), wanted)[0]


def _find(study: Study, use_case: str, panel: Panel, limit_draws: int | None) -> _Found:
    others = baseline_texts(study, use_case, panel.baseline)
    asked: dict[tuple[int, ...], str] = {}
    found: dict[tuple[int, int], list[Pair]] = defaultdict(list)
    same = alone = 0
    for c in study.completions(use_case, with_logprobs=False):
        ids, seed, draw = place = c.request.prompt_ids, c.request.seed, c.request.draw
        if c.request.params == panel.baseline or (limit_draws is not None and draw >= limit_draws):
            continue
        other = others.get(place)
        if other is None:
            alone += 1
        elif other == c.text:
            same += 1
        else:
            if ids not in asked:
                asked[ids] = panel.asked(ids)
            found[seed, draw].append(Pair(asked[ids], c.request.prompt, c.text, other))
    return _Found([pair for draw in sorted(found) for pair in found[draw]], same, alone)


def _checked(how: JudgeOptions) -> _Options:
    known = list(get_type_hints(JudgeOptions))
    for name in how:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else "Leave it out"
            raise UsageError(f"An option of a judge is one of {', '.join(known)}", repr(name), hint)
    given: dict[str, Any] = {name: value for name, value in how.items() if value is not None}
    options = _Options(**given)
    if not isinstance(options.question, str) or not options.question.strip():
        raise UsageError("A judge's question is text", repr(options.question), "Leave it out for a short rubric")
    for name, most in (("repeats", 100), ("parallel", 64), ("limit_draws", None)):
        value: Any = getattr(options, name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= (most or int(value)):
            rule = f"{name} is a whole number of at least 1" + (f" and at most {most}" if most else "")
            raise UsageError(rule, repr(value), f"For example {name}=2")
    seconds = options.timeout
    if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < seconds < math.inf:
        raise UsageError("timeout is a number of seconds above 0", repr(seconds), "For example timeout=120")
    return options


def _also(trial: Trial) -> str:
    return f" ({', '.join(trial.names)})" if trial.names else ""
