"""Assemble the page: read, measure, compare, render."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from poise import __version__, numerals
from poise.errors import StudyError, UsageError
from poise.escapes import visible
from poise.goals import Goal
from poise.metrics import METRICS
from poise.parameters import COMMON
from poise.params import PARAMETERS, Parameter, SamplingParams
from poise.records import Trial
from poise.reports import bundle, served, summary
from poise.reports.axes import value_of
from poise.reports.claims import ARTICLE
from poise.reports.findings import noun
from poise.reports.recipe import make_recipe
from poise.reports.ruling import NO_GOAL
from poise.reports.sections import Section, make_section
from poise.servers.honours import Finding
from poise.study import Study
from poise.targets import checked_target, write_target

MAX_SECTIONS = 12
MARKS = {"supported": "✓", "contradicted": "✗", "not detectable": "≈", "not measured": "–", "cannot be judged": "?"}
NOISE = (
    "Every token is drawn by adding Gumbel noise to the reshaped logits and taking the largest sum, which is drawing "
    "from the softmax. The noise depends on seed, prompt, draw, position and token alone, so draw 0 of a prompt meets "
    "the same noise under every setting, and settings are compared draw by draw."
)
METHOD = (
    "Each interval is made to hold the true mean in 95 of 100 studies like this one: for values with two bounds it is "
    "a Clopper-Pearson interval with the effective number of trials, for others a t interval, widened to the ends of "
    "the studentised bootstrap. With at least 8 prompts the prompt is the unit, and intervals speak of prompts like "
    "these; with fewer the draw is, and they say nothing of other prompts; below 8 of either there is no interval. "
    "Differences pair the texts of the same prompt and draw, and are tested by flipping signs. “Detected” means that "
    "the interval excludes 0 and p is at most 0.05, corrected for every comparison that a section’s opening makes, or "
    "for every claim tested on a use case (Holm). No automatic metric measures how good a text is."
)
VERDICTS = (
    "A verdict compares every setting with every other on the goal’s metric; the error of all of these claims together "
    "is 5%, and so the intervals in its table are wider than those elsewhere on the page. Settings that none was shown "
    "to beat, and that keep the constraints, may be the best; the simplest of them is recommended, the baseline first. "
    "A third of the prompts, at least 8, do not choose: on them the choice is measured again. With fewer than 16 "
    "prompts it is cross-fitted instead."
)


@dataclass(frozen=True, slots=True)
class ParameterUse:
    """A parameter and what this study did with it, in words."""

    name: str
    parameter: Parameter
    use: str


def report(study: Study, path: str | Path = "report.html", *, goals: Mapping[str, Goal] | None = None) -> Path:
    """Write a study as one self-contained HTML file: verdicts, findings, charts, texts, how they were made.

    The page needs no network and runs no code but its own; whatever a model wrote stays text.

    Args:
        study: with completions.
        path: file to write; an existing one is replaced.
        goals: what each use case wants, by its name; None for the goals that the study keeps.

    Returns:
        The file's path.

    Raises:
        UsageError: the path is a folder, or in a folder that is not there; a goal that cannot be decided on.
        StudyError: the study holds no completions.
        StoreError: the file cannot be written.

    >>> poise.report(study, "report.html")                            # doctest: +SKIP
    PosixPath('report.html')
    """
    Study.given(study)
    target = checked_target(path, study.path, what="A report", example="-o report.html")
    names = study.use_cases()
    if not names:
        raise StudyError("A report needs completions", "a study without any", "Draw some first: `poise sweep`")
    if unknown := [name for name in goals or () if name not in names]:
        raise UsageError("Goals are given by use case", repr(unknown[0]), f"The study holds {', '.join(names)}")
    sections = [make_section(study, name, f"u{i}", goals) for i, name in enumerate(names[:MAX_SECTIONS])]
    html = _render(study, sections, names[MAX_SECTIONS:])
    write_target(target, html, "A report")
    return target


def _render(study: Study, sections: Sequence[Section], left_out: Sequence[str]) -> str:
    surveys = [s.survey for s in sections]
    trials = list(dict.fromkeys(t for s in surveys for t in s.trials))
    on_page = {c.metric for s in sections for c in (*s.glance.columns, *s.rest.columns)}
    claims = [c for s in sections for c in s.claims]
    script, style, found = bundle.script(), bundle.style(), served.findings(study)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            title=summary.title(surveys, study.fingerprint),
            asked=summary.asked(surveys),
            caveats=study.caveats(),
            sections=sections,
            left_out=left_out,
            claims=claims,
            tally=summary.tally(claims),
            marks=MARKS,
            article=ARTICLE,
            uses=_uses(trials),
            named=[t for t in trials if t.names],
            fingerprint=study.fingerprint,
            circumstances=study.provenances(),
            laws=_laws(trials),
            noise=_noise(study, found),
            honoured=found,
            no_goal=NO_GOAL,
            method=METHOD,
            verdicts=VERDICTS if any(s.ruling for s in sections) else "",
            metrics=[m for name, m in METRICS.items() if name in on_page],
            recipes=[make_recipe(study.fingerprint, s) for s in surveys],
            study_file=study.path.name,
            version=__version__,
            script=script,
            style=style,
            policy=bundle.policy([script], [style]),
        )
    )


def _noise(study: Study, found: Sequence[Finding]) -> str:
    if not study.fingerprint.served:
        return NOISE
    return served.NOISE if found else served.UNPROBED


def environment() -> jinja2.Environment:
    """Templates whose every value is escaped, and made visible before."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("poise.reports"),
        autoescape=True,
        finalize=_finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        json=bundle.embedded_json,
        count=numerals.count,
        shortened=summary.shortened,
        sentence=summary.sentence,
        noun=noun,
    )
    return environment


def _finalize(value: object) -> object:
    """Every value a template prints passes here before it is escaped: no field can be forgotten."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _laws(trials: Sequence[Trial]) -> list[str]:
    """Each dialect, and order that was chosen, with the steps that any of its settings takes."""
    used: dict[tuple[str, ...], tuple[SamplingParams, set[str]]] = {}
    for params in (t.params for t in trials):
        used.setdefault((params.dialect, *(params.order or params.how.order)), (params, set()))[1].update(params.steps)
    return [_law(first, [n for n in order if n in steps]) for (_, *order), (first, steps) in used.items()]


def _law(params: SamplingParams, steps: Sequence[str]) -> str:
    """The order of steps of one dialect, as far as it is known."""
    if not params.how.known:
        return "steps in an order of the server’s own, which could not be told"
    return f"steps in the order of {params.dialect}: {', '.join(steps) or 'none'}"


def _uses(trials: Sequence[Trial]) -> list[ParameterUse]:
    """Every parameter in use with what was done with it, then the common ones that are not."""
    swept = [t for t in trials if not t.names] or trials
    made = []
    for name, parameter in PARAMETERS.items():
        values = sorted({value_of(t.params, name) for t in swept}, key=lambda v: (v is None, v or 0))
        said = ", ".join("off" if v is None else f"{v:g}" for v in values[:20]) + (", …" if len(values) > 20 else "")
        beside = [f"{v:g} in {n}" for t in trials for n in t.names if (v := t.params.active().get(name)) is not None]
        if len(values) > 1:
            use = f"Varied here: {said}."
        else:
            use = f"Held at {said}." if name in swept[0].params.active() else ""
        if beside:
            use += f" {'It is' if use else 'Here it is'} {', '.join(beside)}."
        if use or name in COMMON:
            made.append(ParameterUse(name, parameter, use.strip()))
    return sorted(made, key=lambda u: (not u.use, not u.use.startswith("Varied")))
