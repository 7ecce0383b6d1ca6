"""score: how surprising a model finds given text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
import typer

import poise
from poise import asks
from poise.cli.declared import with_flags_of
from poise.cli.drawing import Model
from poise.cli.evidence import JsonFlag
from poise.cli.flags import MODEL
from poise.cli.judge_records import Scored, ScoreRecord
from poise.cli.terminal import clip, counted, quoted, show, show_json, tell
from poise.errors import PromptError, UsageError, UseCaseError
from poise.scores import Score, continuation
from poise.stats import MIN_UNITS, Bounds, Interval, mean_interval
from poise.tables import Table, figure, interval

if TYPE_CHECKING:
    from poise.asks import Ask, DrawOptions, Options
    from poise.sessions import Engine

_SHOWN = 60  # characters of a prompt in a table

Words = Annotated[str | None, typer.Argument(metavar="TEXT", help="What to score, as it stands after the prompt.")]
MaybePrompt = Annotated[str | None, typer.Argument(help="What stands before the text; or use -f.")]


@dataclass(frozen=True, slots=True)
class Asked:
    """What a user asked for with the flags of `score`."""

    file: Annotated[
        str | None,
        typer.Option(
            "--file", "-f",
            help="A use case, whose reference texts are scored; after a prompt, a file that holds the text.",
        ),
    ] = None  # fmt: skip
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--text", help="Ask through the model's template, or put the text right after the prompt."),
    ] = None
    system: Annotated[str | None, typer.Option("--system", help="The system message of a chat; implies --chat.")] = None
    dtype: Annotated[str, typer.Option("--dtype", rich_help_panel=MODEL, help="float32, bfloat16 or float16.")] = "auto"
    device: Annotated[str, typer.Option("--device", rich_help_panel=MODEL, help="cpu, cuda, cuda:1 or mps.")] = "auto"
    as_json: JsonFlag = False

    @property
    def words(self) -> list[str]:
        """The flags that a following command shares."""
        chat = [] if self.chat is None or self.system is not None else ["--chat" if self.chat else "--text"]
        named = [("--system", self.system), ("--dtype", self.dtype), ("--device", self.device)]
        return [*chat, *(w for flag, value in named if value not in (None, "auto") for w in (flag, str(value)))]


class _Found(NamedTuple):
    scores: list[Score]
    without: int  # prompts of the use case that have no reference

    @property
    def mean(self) -> float:
        return float(np.mean([s.nll for s in self.scores]))

    @property
    def interval(self) -> Interval:
        """Of the mean over prompts like these."""
        if len(self.scores) < MIN_UNITS:
            return Interval(None, None, f"an interval needs {MIN_UNITS} prompts with a reference")
        if not math.isfinite(self.mean):
            return Interval(None, None, "the model gives some text no chance at all")
        return mean_interval([np.array([s.nll for s in self.scores])], Bounds(0.0))


@with_flags_of(Asked)
def score(model: Model, asked: Asked, prompt: MaybePrompt = None, text: Words = None) -> None:
    """Score a text, or the reference texts of a use case: how surprising the model finds it.

    One forced pass; nothing is drawn and nothing is kept.
    """
    given = _text(prompt, text, asked.file)
    case = poise.load_use_case(asked.file) if asked.file is not None and prompt is None else None
    options = _options(asked)
    engine = poise.load(model, dtype=asked.dtype, device=asked.device)
    prompts = asks.ask_all(engine, [case or prompt or ""], options)
    found = _Found([poise.score(engine, prompts[0].prompt, given)], 0) if case is None else _references(engine, prompts)
    if asked.as_json:
        show_json(scored_record(engine, found))
        return
    if case is None:
        [one] = found.scores
        if not prompts[0].prompt.chat and not (prompts[0].prompt.shown[-1:].isspace() or given[:1].isspace()):
            tell("Note: the text follows the prompt without a space; put one in front if a new word begins.")
        size = counted(len(one.token_ids), "token")
        show(f"{_said(one.nll)} nats/token, perplexity {_said(one.perplexity)}, {size}")
    else:
        show(_table(case.name, found).text())
    show(f"\nNext: {_following(model, prompt, asked)}")


def _text(prompt: str | None, text: str | None, file: str | None) -> str:
    """The text to score; empty where a use case is asked for."""
    if prompt is None:
        if file is None:
            raise UsageError(
                "Scoring takes a prompt and a text, or a use case (-f)", "neither",
                'For example: poise score smollm2 "The sky is" " blue."',
            )  # fmt: skip
        return ""
    if (text is None) == (file is None):
        given = "neither" if file is None else "both"
        raise UsageError("A prompt is scored with a TEXT, or a --file that holds it", given, "Give one of them")
    found = text if text is not None else _read(str(file))
    if not found:
        raise PromptError("A text to score has at least one token", "an empty one", "Give it some text")
    return found


def _read(name: str) -> str:
    """A file's text, without its last line end."""
    try:
        said = Path(name).read_text(encoding="utf-8")
    except OSError as error:
        raise PromptError("--file names a file that can be read", f"{name}: {error.strerror}", "Name another") from None
    except UnicodeDecodeError:
        raise PromptError("A text to score is UTF-8", f"{name}, which is not", "Save it as UTF-8") from None
    return said.removesuffix("\n").removesuffix("\r")


def _options(asked: Asked) -> Options:
    """How prompts are asked; a text is scored whole, so no limits matter."""
    if asked.system is not None and asked.chat is False:
        raise UsageError("A system message needs the model's chat template", "--system with --text", "Drop one")
    said: DrawOptions = {"max_tokens": 1, "min_tokens": 0}
    if asked.chat is not None:
        said["chat"] = asked.chat
    if asked.system is not None:
        said["system"] = asked.system
    return asks.check_options(said)


def _references(engine: Engine, prompts: Sequence[Ask]) -> _Found:
    with_one = [ask.prompt for ask in prompts if ask.prompt.reference]
    if not with_one:
        raise UseCaseError(
            "Reference texts are scored", f"{counted(len(prompts), 'prompt')} without any",
            "Give prompts a `reference` in the use case's file",
        )  # fmt: skip
    return _Found([poise.score(engine, p, continuation(p)) for p in with_one], len(prompts) - len(with_one))


def _table(name: str, found: _Found) -> Table:
    rows = [[clip(s.prompt.shown, _SHOWN), _said(s.nll), f"{len(s.token_ids):,}"] for s in found.scores]
    low, high, note = found.interval
    rows.append(["mean over prompts", _said(found.mean), ""])
    said = f"95 % interval of the mean: {interval(low, high)}; it speaks of prompts like these"
    without = f"{counted(found.without, 'prompt')} without a reference left out" if found.without else ""
    notes = [n for n in (f"no interval: {note}" if note else said, without) if n]
    return Table(f"reference texts of {name}", ("prompt", " nats/token", " tokens"), rows, notes)


def scored_record(engine: Engine, found: _Found) -> Scored:
    """Scores as JSON."""
    rows = [
        ScoreRecord(
            prompt=s.prompt.shown, use_case=s.prompt.use_case, text=s.text, nll=_finite(s.nll),
            perplexity=_finite(s.perplexity), tokens=len(s.token_ids), token_ids=list(s.token_ids),
            logprobs=[_finite(x) for x in s.logprobs],
        )
        for s in found.scores
    ]  # fmt: skip
    low, high, note = found.interval
    return Scored(
        model=engine.name, rows=rows, mean=_finite(found.mean), low=low, high=high, without=found.without, note=note
    )


def _said(value: float) -> str:
    return figure(value) if math.isfinite(value) else "infinite"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _following(model: str, prompt: str | None, asked: Asked) -> str:
    """Draw the same prompts, to see how surprising the model's own texts are."""
    given = [model, *([] if prompt is None else [prompt])]
    dashed = any(word.startswith("-") for word in given)
    files = ["-f", str(asked.file)] if prompt is None else []
    words = ["poise", "sweep", *([] if dashed else given), *files, "--temperature", "0.3,0.5,0.9", *asked.words]
    return " ".join(map(quoted, [*words, *(["--", *given] if dashed else [])]))
