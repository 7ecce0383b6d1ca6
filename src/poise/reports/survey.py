"""What one use case holds: counts, limits, and the texts to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from poise.goals import Goal
from poise.records import Completion, Prompt, Request, Trial
from poise.reports.axes import Axis, Contrast, contrasts, find_axis
from poise.reports.excerpts import PromptExcerpts, choose_columns, choose_excerpts
from poise.study import Study


@dataclass(frozen=True, slots=True)
class Limits:
    """What starts and ends a draw, besides the settings."""

    max_tokens: int
    min_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """One use case as it was drawn.

    Args:
        use_case: its name.
        prompts: in order of first appearance.
        trials: all of them.
        axis: what was varied.
        contrasts: both ends of each varied parameter.
        columns: the settings whose texts are shown.
        excerpts: the texts shown.
        completions: number of texts.
        fewest, most: draws per prompt and setting.
        seeds: in ascending order.
        limits: every combination that was used.
        goal: what it was last drawn for; None where it has none.
    """

    use_case: str
    prompts: tuple[Prompt, ...]
    trials: tuple[Trial, ...]
    axis: Axis
    contrasts: tuple[Contrast, ...]
    columns: tuple[Trial, ...]
    excerpts: tuple[PromptExcerpts, ...]
    completions: int
    fewest: int
    most: int
    seeds: tuple[int, ...]
    limits: tuple[Limits, ...]
    goal: Goal | None = None


class _Counter:
    """Counts completions while somebody else reads them: a study is read once."""

    def __init__(self) -> None:
        self.cells: dict[tuple[Prompt, object], int] = {}
        self.seeds: set[int] = set()
        self.limits: dict[Limits, None] = {}

    def watch(self, completions: Iterator[Completion]) -> Iterator[Completion]:
        for completion in completions:
            request: Request = completion.request
            cell = (request.prompt, request.params)
            self.cells[cell] = self.cells.get(cell, 0) + 1
            self.seeds.add(request.seed)
            self.limits.setdefault(Limits(request.max_tokens, request.min_tokens, request.stop))
            yield completion


def survey(study: Study, use_case: str) -> Survey:
    """Read one use case, once.

    Args:
        study: with completions.
        use_case: its name.

    Returns:
        What the page needs besides the measurements.
    """
    trials: Sequence[Trial] = study.trials(use_case)
    prompts = study.prompts(use_case)
    axis = find_axis(trials)
    columns = choose_columns(trials, axis)
    counter = _Counter()
    excerpts = choose_excerpts(counter.watch(study.completions(use_case, with_logprobs=False)), columns, prompts)
    counts = counter.cells.values()
    return Survey(
        use_case=use_case,
        prompts=tuple(prompts),
        trials=tuple(trials),
        axis=axis,
        contrasts=tuple(contrasts(trials, axis)),
        columns=tuple(columns),
        excerpts=tuple(excerpts),
        completions=sum(counts),
        fewest=min(counts, default=0),
        most=max(counts, default=0),
        seeds=tuple(sorted(counter.seeds)),
        limits=tuple(counter.limits),
        goal=study.goal(use_case),
    )
