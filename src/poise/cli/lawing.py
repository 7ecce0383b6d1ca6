"""law: one next token through every step, in numbers, in a picture."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, cast

import numpy as np
import typer

import poise
from poise import asks
from poise.cli.declared import with_flags_of
from poise.cli.evidence import JsonFlag
from poise.cli.flags import MODEL, whole_number
from poise.cli.law_records import BesideRecord, LawRecord, PartingRecord, StepRecord
from poise.cli.settings import with_setting_flags, words_of
from poise.cli.terminal import quoted, room, show, show_json, wrapped
from poise.errors import UsageError
from poise.exports.catalogue import TARGETS
from poise.law import History
from poise.params import DEFAULT_DIALECT, SamplingParams
from poise.records import params_record
from poise.reports.lawcharts import law_figure
from poise.tables import whole_text
from poise.targets import checked_target, write_target
from poise.traces import TOP, Beside, Trace

TOY = "A toy distribution, instead of a model"
SAID = "What was said before, for penalties"
SURE = 0.005  # probabilities that add up to 1 as closely as this were rounded
LONG = 60  # characters of a toy, or of a prompt, that a following command repeats
PICTURES = ("svg", "png", "pdf")

MaybeModel = Annotated[str | None, typer.Argument(help="A model as `poise list models` writes them; or a toy.")]
MaybePrompt = Annotated[str | None, typer.Argument(help="The text whose next token is looked at.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for with the flags of `law`, decoding parameters apart."""

    logits: Annotated[
        str | None, typer.Option("--logits", metavar="L,…", rich_help_panel=TOY, help="A logit for each token.")
    ] = None
    probs: Annotated[
        str | None, typer.Option("--probs", metavar="P,…", rich_help_panel=TOY, help="A probability for each token.")
    ] = None
    tokens: Annotated[
        str | None,
        typer.Option("--tokens", metavar="NAME,…", rich_help_panel=TOY, help="Their names. Default: 0, 1, …"),
    ] = None
    unconditional: Annotated[
        str | None,
        typer.Option(
            "--unconditional", metavar="L,…", rich_help_panel=TOY, help="Logits without the prompt, for guidance."
        ),
    ] = None
    said: Annotated[
        str | None, typer.Option("--prompt-tokens", metavar="ID,…", rich_help_panel=SAID, help="Of the toy's prompt.")
    ] = None
    output: Annotated[
        str | None,
        typer.Option(
            "--output-tokens",
            "--history",
            metavar="ID,…",
            rich_help_panel=SAID,
            help="Drawn so far, after the prompt; a model reads them too.",
        ),
    ] = None
    beside: Annotated[
        str | None, typer.Option("--beside", metavar="DIALECT", help="Another dialect, side by side with the first.")
    ] = None
    top: Annotated[
        int,
        typer.Option("--top", parser=whole_number("--top"), metavar="N", help="How many tokens of a model to show."),
    ] = TOP
    picture: Annotated[
        str | None, typer.Option("-o", "--output", metavar="FILE", help="Draw it: a .svg, .png or .pdf file.")
    ] = None
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--text", help="Ask through the model's template, or continue the prompt as it is."),
    ] = None
    system: Annotated[str | None, typer.Option("--system", help="The system message of a chat; implies --chat.")] = None
    dtype: Annotated[str, typer.Option("--dtype", rich_help_panel=MODEL, help="float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option("--device", rich_help_panel=MODEL, help="cpu, cuda, cuda:1 or mps.")] = "auto"
    as_json: JsonFlag = False


class _Subject(NamedTuple):
    """A model and its prompt, or neither."""

    model: str | None
    prompt: str | None


@with_flags_of(Asked)
@with_setting_flags
def law(params: SamplingParams, asked: Asked, model: MaybeModel = None, prompt: MaybePrompt = None) -> None:
    """Follow one next token through every step of a dialect, as numbers and as a picture.

    After each step: how many tokens are left, how much probability it cut, and
    how far it moved the distribution. A toy shows the rule, a model's prompt what
    it does there. --beside another dialect says at which step the two part.
    """
    subject = _Subject(model, prompt)
    _check(subject, asked)
    target = None if asked.picture is None else _target(asked.picture)
    other = None if asked.beside is None else _in(params, asked.beside)
    first = _traced(subject, asked, [params] if other is None else [params, other])
    found: Trace | Beside = first[0] if other is None else first[0].beside(first[1])
    if target is not None:
        write_target(target, law_figure(found, cast(Literal["svg", "png", "pdf"], _format(target))), "A picture")
    if asked.as_json:
        show_json(_record(found, subject, target))
        return
    show(whole_text((), found.tables(room()), room()))
    if isinstance(found, Beside):
        show("\n" + wrapped("\n".join(f"{s}." for s in found.sentences)))
    if target is not None:
        show(f"\nWrote {target}")
    show(f"\nNext: {_following(params, subject, asked)}")


def _check(subject: _Subject, asked: Asked) -> None:
    """What no flag is wrong in by itself."""
    toys = [name for name, text in (("--logits", asked.logits), ("--probs", asked.probs)) if text is not None]
    if len(toys) + (subject.model is not None) != 1:
        given = " and ".join([*toys, *([f"the model {subject.model}"] if subject.model is not None else [])])
        raise UsageError(
            "A law acts on a model's prompt, or on a toy distribution: --logits or --probs", given or "neither",
            "For example: poise law --logits 3,2,1 --temperature 0.5 --top-p 0.8",
        )  # fmt: skip
    if subject.model is not None and subject.prompt is None:
        raise UsageError(
            "A model's next token follows a prompt", "none", f'poise law {subject.model} "Once upon a time"'
        )
    of_toys = {"--tokens": asked.tokens, "--unconditional": asked.unconditional, "--prompt-tokens": asked.said}
    for name, text in of_toys.items():
        if subject.model is not None and text is not None:
            raise UsageError(f"{name} is for toy distributions", f"it for {subject.model}", "Leave it out")
    if asked.system is not None and asked.chat is False:
        raise UsageError("A system message needs the model's chat template", "--system with --text", "Drop one")
    if asked.top < 1:
        raise UsageError("--top is a whole number of at least 1", str(asked.top), "For example --top 10")


def _in(params: SamplingParams, dialect: str) -> SamplingParams:
    """The same numbers in another dialect."""
    said = {name: value for name, value in params if value is not None}
    return SamplingParams.model_validate({**said, "dialect": dialect})


def _target(name: str) -> Path:
    target = Path(name)
    if _format(target) not in PICTURES:
        raise UsageError("A picture is a .svg, .png or .pdf file", repr(name), "For example -o law.svg")
    return checked_target(target, what="A picture", example="-o law.svg")


def _format(target: Path) -> str:
    return target.suffix.lower().removeprefix(".")


def _traced(subject: _Subject, asked: Asked, laws: Sequence[SamplingParams]) -> list[Trace]:
    output = tuple(_ids("--output-tokens", asked.output))
    if subject.model is None:
        row = _numbers("--logits", asked.logits) if asked.logits is not None else _logs(asked.probs or "")
        words = [] if asked.tokens is None else asked.tokens.split(",")
        free = None if asked.unconditional is None else _numbers("--unconditional", asked.unconditional)
        history = History(tuple(_ids("--prompt-tokens", asked.said)), output)
        top = max(asked.top, len(row))
        return [poise.trace(row, p, history=history, words=words, top=top, unconditional=free) for p in laws]
    engine = poise.load(subject.model, dtype=asked.dtype, device=asked.device)
    said: asks.DrawOptions = {"chat": asked.chat, "system": asked.system, "max_tokens": len(output) + 1}
    [ask] = asks.ask_all(engine, [subject.prompt or ""], asks.check_options(said))
    return [poise.trace(engine, p, ask.prompt, history=History((), output), top=asked.top) for p in laws]


def _numbers(name: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{name} takes numbers with commas between them", repr(text), f"For example {name} 3,2,1"
        ) from None


def _logs(text: str) -> list[float]:
    """Probabilities as logits."""
    shares = _numbers("--probs", text)
    total = math.fsum(shares)
    if not all(0 <= p <= 1 for p in shares) or not abs(total - 1) <= SURE:
        example = "For example --probs 0.5,0.3,0.2; weights of another sum go into --logits as logarithms"
        raise UsageError("--probs are at least 0 and add up to 1", f"{text}, which add up to {total:g}", example)
    return [math.log(p / total) if p else -math.inf for p in shares]


def _ids(name: str, text: str | None) -> list[int]:
    try:
        return [] if text is None or not text.strip() else [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(
            f"{name} takes token ids with commas between them", repr(text), f"For example {name} 0,2"
        ) from None


def _record(found: Trace | Beside, subject: _Subject, target: Path | None) -> LawRecord:
    """A trace, or two, as JSON."""
    first = found.left if isinstance(found, Beside) else found
    shown = sorted(first.shown) if first.plain else list(first.shown)
    other = parting = far = None
    if isinstance(found, Beside):
        far, right = found.total_variation, found.right
        other = BesideRecord(
            params=params_record(right.params), steps=_steps(right, shown), notes=list(right.notes),
            probabilities=_shares(right.probabilities, shown), kept=int(np.count_nonzero(right.probabilities)),
        )  # fmt: skip
        if found.parting is not None:
            kind, at, there, tokens = found.parting
            parting = PartingRecord(kind=kind, left=at, right=there, token_ids=list(tokens))
    return LawRecord(
        model=subject.model, params=params_record(first.params), token_ids=shown,
        tokens=[first.words[i] for i in shown], before=_shares(first.model, shown), steps=_steps(first, shown),
        probabilities=_shares(first.probabilities, shown), kept=int(np.count_nonzero(first.probabilities)),
        strikes=first.strikes, notes=list(first.notes), beside=other, parting=parting, total_variation=far,
        picture=None if target is None else os.path.abspath(target),
    )  # fmt: skip


def _steps(t: Trace, shown: Sequence[int]) -> list[StepRecord]:
    return [
        StepRecord(
            step=s.name, setting=s.said, kept=s.kept, cut_mass=s.cut_mass, moved=s.moved,
            probabilities=_shares(s.probabilities, shown),
        )
        for s in t.steps
    ]  # fmt: skip


def _shares(row: np.ndarray[tuple[int], np.dtype[np.float64]], shown: Sequence[int]) -> list[float]:
    return [float(row[i]) for i in shown]


def _following(params: SamplingParams, subject: _Subject, asked: Asked) -> str:
    """Which of the settings do anything at all; where nothing is on, the same with something on."""
    if not params.steps:
        return _with_steps(params, subject, asked)
    words = ["poise", "lint", *words_of(params)]
    if asked.beside is not None and asked.beside in TARGETS:
        words += ["--to", asked.beside]
    elif subject.model is not None and "guidance_scale" not in params.steps:  # a lint measures without a second pass
        words += ["--model", subject.model]
    return " ".join(map(quoted, words))


def _with_steps(params: SamplingParams, subject: _Subject, asked: Asked) -> str:
    if subject.model is not None:
        given = [subject.model, subject.prompt or ""]
    else:
        given = [f"--logits={asked.logits}" if asked.logits is not None else f"--probs={asked.probs}"]
    if sum(map(len, given)) > LONG:
        given = ["--logits=3,2,1"]
    dialect = ["--dialect", params.dialect] if params.dialect != DEFAULT_DIALECT else []
    beside = ["--beside", asked.beside] if asked.beside is not None else []
    return " ".join(map(quoted, ["poise", "law", *given, "--temperature", "0.5", "--top-p", "0.8", *dialect, *beside]))
