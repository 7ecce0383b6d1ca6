"""demo: the article on temperature, drawn, measured, held to its claims."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
import webbrowser
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

import poise
from poise.cli.dialling import PAGE_DRAWS, dialled
from poise.cli.drawing import drawn
from poise.cli.evidence import JsonFlag
from poise.cli.flags import checked_study
from poise.cli.schemas import ClaimRecord, Demonstrated, MeasurementRecord, VerdictRecord
from poise.cli.terminal import counted, show, show_heading, show_json, tell, wrapped
from poise.errors import UsageError
from poise.params import SamplingParams
from poise.tables import Table, figure, interval
from poise.targets import checked_target
from poise.verdicts.words import headline, sentences

if TYPE_CHECKING:
    from poise.asks import DrawOptions
    from poise.dials import DialOptions
    from poise.measurements import Measurement, Measurements
    from poise.reports.claims import ClaimResult, Claims
    from poise.sessions import Engine
    from poise.study import Study
    from poise.usecases import UseCase
    from poise.verdicts import Verdict

ARTICLE = "https://dzone.com/articles/decoding-llm-parameters-temperature"
FOOTBALL = "What are some of the best strategies within NFL Fantasy"
MAX_TOKENS = 96  # long enough for loops to show; the article's 200 would take twice the time and tell the same
DIAL_TOKENS = 48  # of the page that opens first: its cost grows with the square, and a visitor waits for it
MIN_TOKENS = 64  # a model that ends most texts after a few tokens leaves nothing to compare
BARRED = (
    f"The model may not end a text before {MIN_TOKENS} tokens, so that texts of one length are compared; the article's "
    "model never ended one."
)
AXIS = (0.0, 1.5)  # the temperatures of the page with the slider: all between
FIRST = (0.2, 0.9)  # the temperatures shown before anything is measured
# Of each built-in use case, in as many steps as 16 prompts with 4 draws: more prompts tell more than more draws, and
# these choose a setting on 13 and check it on 8.
PROMPTS, DRAWS = 21, 3
# What the table shows of all that was measured; the report has the rest.
SHOWN = ("seq_rep_4", "loop_rate", "word_vector_distance", "nll", "relevance")


class Part(NamedTuple):
    """One experiment of the article: its prompts, its temperatures, texts per prompt and setting."""

    case: UseCase
    temperatures: tuple[float, ...]
    draws: int

    @property
    def settings(self) -> list[SamplingParams]:
        """The temperatures as settings."""
        return poise.grid(temperature=self.temperatures)

    @property
    def options(self) -> DrawOptions:
        """How it is drawn: continued as text, as the article does."""
        return {"draws": self.draws, "seed": 0, "max_tokens": MAX_TOKENS, "min_tokens": MIN_TOKENS, "chat": False}


class Found(NamedTuple):
    """What the demonstration found: numbers, claims held against them, verdicts, and the page with all of it."""

    rows: Measurements
    claims: Claims
    verdicts: Sequence[Verdict]
    page: Path


def demo(
    model: Annotated[str, typer.Option("--model", help="smollm2, or hf:gpt2 where there is a network.")] = "smollm2",
    output: Annotated[str, typer.Option("--output", "-o", help="File of the report.")] = "report.html",
    study: Annotated[str | None, typer.Option("--study", help="File that keeps every text.")] = None,
    dial_page: Annotated[
        str, typer.Option("--dial", help="File of the page to move the temperature on.")
    ] = "dial.html",
    open_page: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open both pages. Default: if a person watches.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Measure an article's claims about temperature with its own prompts.

    First every temperature of its story at once, on a page with a slider; then all its prompts, measured.
    """
    _check_files(checked_study(study), output, dial_page)
    parts = _parts()
    if sys.stderr.isatty():
        tell(f"Loading {model} …")
    engine = poise.load(model)
    kept = Path(study) if study else poise.plan(engine, [p.case for p in parts], parts[0].settings).study
    tell(wrapped(BARRED))
    if not as_json:
        _show_first(engine, parts[0], kept)
    watched = _watched() if open_page is None else open_page
    _open(moved := _dial(engine, parts[0], kept, dial_page), watched)
    done = [_draw(engine, part, kept) for part in parts]
    with poise.Study.open(kept, create=False, read_only=True) as opened:
        found = Found(
            poise.measure(opened), poise.check_claims(opened), _verdicts(opened), poise.report(opened, output)
        )
    if as_json:
        show_json(_record(found, moved, kept, done))
        return
    _show_all(found, moved, kept)
    _open(found.page, watched)
    show(f"\nNext: poise compare temperature=0.2 temperature=0.9 --use-case {parts[0].case.name}")


def _check_files(study: str | None, output: str, dial_page: str) -> None:
    kept = [Path(study)] if study else []
    checked_target(output, *kept, example="-o report.html")
    checked_target(dial_page, *kept, example="--dial dial.html")
    if Path(output).resolve() == Path(dial_page).resolve():
        raise UsageError("The report and the page with the slider are two files", output, "Name another with --dial")


def _show_all(found: Found, moved: Path, kept: Path) -> None:
    """The tables, the claims, the verdicts, and where everything lies: the report, the dial's page, the study."""
    for table in _tables(found.rows):
        show(f"\n{table.text()}")
    show_heading("What the article says, and what was measured")
    show(f"{wrapped(str(found.claims))}\n\n{ARTICLE}\n")
    if found.verdicts:
        show_heading("Which setting suits each use case")
        show(
            wrapped("\n".join(line for v in found.verdicts for line in (v.use_case, *(f"    {s}" for s in _brief(v)))))
        )
    show(f"\n{found.page}: the whole report. Every text is kept in {kept}")
    show(f"{moved}: every temperature of the article's story, under a slider")


def _open(page: Path, watched: bool) -> None:
    if watched:
        webbrowser.open(page.resolve().as_uri())


def _parts() -> list[Part]:
    stories, explanations = map(_built_in, ("creative-story", "technical-explanation"))
    football = poise.UseCase(name="nfl-fantasy", mode="text", prompts=(poise.Prompt(FOOTBALL),))
    # The article's values for each, and those of its other scripts that its claims about each need.
    return [
        Part(stories, (0.2, 0.5, 0.9), DRAWS),
        Part(explanations, (0.2, 0.5, 0.7, 0.9), DRAWS),
        Part(football, (0.3, 0.5, 0.9), 16),
    ]


def _built_in(name: str) -> UseCase:
    """A built-in use case, its first prompts alone: the article's own comes first."""
    case = poise.load_use_case(name)
    return case.model_copy(update={"prompts": case.prompts[:PROMPTS]})


def _show_first(engine: Engine, part: Part, kept: Path) -> None:
    """The article's own prompt at its own temperatures, before anything is measured."""
    prompt = dataclasses.replace(part.case.prompts[0], use_case=part.case.name)
    options: DrawOptions = {**part.options, "draws": 1}
    first = poise.grid(temperature=FIRST)
    plan = poise.plan(engine, prompt, first, study=kept, baselines=False, **options)
    with drawn(engine, prompt, first, plan, options, baselines=False) as study:
        for params in first:
            texts = study.completions(part.case.name, params, with_logprobs=False)
            show_heading(params.label)
            show(prompt.shown + next(c.text for c in texts if c.request.draw == 0 and c.request.prompt == prompt))


def _dial(engine: Engine, part: Part, kept: Path, page: str) -> Path:
    """The article's story at every temperature, on a page."""
    prompt = dataclasses.replace(part.case.prompts[0], use_case=part.case.name)
    options: DialOptions = {
        "draws": PAGE_DRAWS, "seed": 0, "max_tokens": DIAL_TOKENS, "min_tokens": DIAL_TOKENS, "chat": False,
        "forks": True,
    }  # fmt: skip
    plan = poise.plan_dial(engine, prompt, "temperature", *AXIS, study=kept, **options)
    tell(f"\nEvery temperature from {AXIS[0]:g} to {AXIS[1]:g}: {plan.expects}")
    dials = dialled(engine, [prompt], plan, options)
    with poise.Study.open(kept, create=False, read_only=True) as study:
        written = poise.dial_report(study, dials, page, engine=engine)
    took = f"{counted(dials.cost.pieces, 'piece')}, {counted(dials.cost.rows, 'row')} in {dials.cost.seconds:.0f} s"
    tell(f"{written}: {took}\n")
    return written


def _draw(engine: Engine, part: Part, kept: Path) -> tuple[int, int]:
    """Draw one part with its baselines. Returns how many texts were drawn and how many reused."""
    plan = poise.plan(engine, part.case, part.settings, study=kept, **part.options)
    size = f"{len(plan.prompts)} × {len(plan.trials)} × {part.draws} (prompts × settings × draws)"
    tell(f"{part.case.name}: {size}, {counted(plan.missing, 'text')} to draw, at most {plan.max_new_tokens:,} tokens")
    with drawn(engine, part.case, part.settings, plan, part.options, baselines=True):
        return plan.missing, plan.reused


def _tables(rows: Sequence[Measurement]) -> Iterator[Table]:
    """One table per use case: a row per setting, a column per metric."""
    shown = [r for r in rows if r.metric in SHOWN and r.mean is not None]
    for name, found in itertools.groupby(shown, lambda r: r.use_case):
        cells: dict[str, dict[str, str]] = {}
        for r in sorted(found, key=lambda r: bool(r.trial.names)):
            label = ", ".join(r.trial.names) or r.trial.label
            cells.setdefault(label, {})[r.metric] = f"{figure(r.mean)} {interval(r.low, r.high)}"
        metrics = [m for m in SHOWN if any(m in row for row in cells.values())]
        body = [[label, *(row.get(m, "-") for m in metrics)] for label, row in cells.items()]
        yield Table(f"{name}: mean and 95 % interval", ("settings", *metrics), body)


def _verdicts(study: Study) -> list[Verdict]:
    """Of the use cases that have a goal."""
    names = [name for name in study.use_cases() if study.goal(name) is not None]
    return [v for name in names for v in poise.decide(study, use_case=name)]


def _brief(v: Verdict) -> list[str]:
    """What to do, and what it delivers."""
    return [headline(v), *[s for s in sentences(v)[1:] if " delivered " in s][:1]]


def _record(found: Found, moved: Path, kept: Path, done: Sequence[tuple[int, int]]) -> Demonstrated:
    drawn_now, reused = (sum(column) for column in zip(*done, strict=True))
    return Demonstrated(
        study=str(kept), report=str(found.page), dial=str(moved), drawn=drawn_now, reused=reused,
        rows=[MeasurementRecord.model_validate(r) for r in found.rows.rows()],
        claims=[_claim_record(c) for c in found.claims],
        verdicts=[VerdictRecord.model_validate(v.row()) for v in found.verdicts],
    )  # fmt: skip


def _claim_record(result: ClaimResult) -> ClaimRecord:
    return ClaimRecord(use_case=result.use_case, claim=result.claim.said, status=result.status, evidence=result.numbers)


def _watched() -> bool:
    return sys.stdin.isatty() and sys.stdout.isatty() and not os.environ.get("CI")
