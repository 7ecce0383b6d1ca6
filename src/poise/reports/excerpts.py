"""Which texts a page shows, side by side, with their loops marked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from poise.metrics.repetition import Loop, find_loop
from poise.records import Completion, Prompt, Trial
from poise.reports.axes import Axis, in_order

MAX_PROMPTS = 4
MAX_DRAWS = 2
MAX_COLUMNS = 8
MAX_CHARACTERS = 3000  # of one text


@dataclass(frozen=True, slots=True)
class Excerpt:
    """One text as the page shows it.

    Args:
        trial: the settings it was drawn under.
        column: number of the setting among those shown.
        before: text up to the loop.
        marked: the part that repeats up to the end; empty where none does.
        loop: where and how its tokens repeat; None where they do not.
        finish: why the text ended, in words.
        tokens: how many were drawn; 0 where their ids are not known.
        hidden: characters left out at the end.
        same_as: label of the first column that shows the same text; empty where this is the first.
        thinking: whether a thought precedes the text; it is not shown.
    """

    trial: Trial
    column: int
    before: str
    marked: str
    loop: Loop | None
    finish: str
    tokens: int
    hidden: int
    same_as: str
    thinking: bool


@dataclass(frozen=True, slots=True)
class Strip:
    """The same draw of the same prompt under several settings, side by side."""

    draw: int
    seed: int
    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class PromptExcerpts:
    """What is shown of one prompt.

    Args:
        prompt: the input.
        system: the system message it was asked under; empty where there was none.
        strips: one per draw.
    """

    prompt: Prompt
    system: str
    strips: tuple[Strip, ...]


def choose_columns(trials: Sequence[Trial], axis: Axis) -> list[Trial]:
    """The settings whose texts are shown: at most eight, both ends and every baseline among them.

    Args:
        trials: of one use case.
        axis: what was varied.

    Returns:
        Trials in the page's order.
    """
    ordered = in_order(trials, axis)
    if len(ordered) <= MAX_COLUMNS:
        return ordered
    named = [t for t in ordered if t.names][: MAX_COLUMNS - 2]
    rest = [t for t in ordered if t not in named]
    room = MAX_COLUMNS - len(named)
    kept = [rest[round(i * (len(rest) - 1) / (room - 1))] for i in range(room)]
    return [t for t in ordered if t in named or t in kept]


def choose_excerpts(
    completions: Iterable[Completion],
    columns: Sequence[Trial],
    prompts: Sequence[Prompt],
    length: int = MAX_CHARACTERS,
) -> list[PromptExcerpts]:
    """Take the first draws of the first prompts: the first, never the best or the worst.

    Args:
        completions: of one use case; read once.
        columns: the settings to show, in order.
        prompts: of the use case, in order.
        length: characters of one text.

    Returns:
        One record per prompt shown.
    """
    place = {t.params: i for i, t in enumerate(columns)}
    wanted = {p: i for i, p in enumerate(prompts[:MAX_PROMPTS])}
    found: dict[tuple[int, int, int], dict[int, Completion]] = {}
    for c in completions:
        r = c.request
        if r.prompt in wanted and r.draw < MAX_DRAWS and r.params in place:
            found.setdefault((wanted[r.prompt], r.draw, r.seed), {}).setdefault(place[r.params], c)
    shown = []
    for i, prompt in enumerate(prompts[:MAX_PROMPTS]):
        keys = sorted(k for k in found if k[0] == i)[:MAX_DRAWS]
        strips = tuple(Strip(draw, seed, _row(found[i, draw, seed], columns, length)) for _, draw, seed in keys)
        system = next((m.content for m in prompt.messages if m.role == "system"), "")
        shown.append(PromptExcerpts(prompt, system, strips))
    return [p for p in shown if p.strips]


def _row(found: dict[int, Completion], columns: Sequence[Trial], length: int) -> tuple[Excerpt, ...]:
    first: dict[tuple[int, ...] | str, str] = {}
    row = []
    for i in sorted(found):
        same = first.setdefault(found[i].token_ids or found[i].text, columns[i].label)  # servers may give no ids
        row.append(_excerpt(found[i], columns[i], i, "" if same == columns[i].label else same, length))
    return tuple(row)


def _excerpt(completion: Completion, trial: Trial, column: int, same_as: str, length: int) -> Excerpt:
    text = completion.text.strip()
    loop = find_loop(completion.content_ids)
    # A text loops where its tokens do, as the metrics count it. The place is found on characters, for tokens
    # cannot be laid over a text without their tokenizer.
    where = find_loop(text, least=1) if loop else None
    shown = text[:length]
    start = min(where.onset if where else len(text), len(shown))
    return Excerpt(
        trial=trial, column=column, before=shown[:start], marked=shown[start:], loop=loop,
        finish=_FINISH[completion.finish_reason], tokens=len(completion.token_ids),
        hidden=len(text) - len(shown), same_as=same_as, thinking=bool(completion.thinking),
    )  # fmt: skip


_FINISH = {"eos": "ended by itself", "stop": "ended at a stop string", "length": "cut at the token limit"}
