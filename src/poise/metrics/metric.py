"""What a metric is: a number, its unit, direction and needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from poise.metrics.context import Context
from poise.records import Completion

Direction = Literal["lower", "higher", "neutral"]
Level = Literal["completion", "group"]
Need = Literal[
    "token ids", "log-probabilities", "answers", "word vectors", "other prompts", "several draws", "judgements",
    "checks", "reference",
]  # fmt: skip
EqualSize = Literal["tokens", "bytes", "texts", "tokens of texts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """What every metric says about itself; its number comes from `compute`.

    Args:
        name: lower case, with underscores.
        unit: of its values; ``share`` for values between 0 and 1, ``tokens`` for counts up to max_tokens.
        direction: ``lower`` or ``higher`` is better, ``neutral`` where neither is.
        needs: what a completion, or a group of them, must come with.
        meaning: what it tells, one sentence that a newcomer understands.
        absent: why there may be no value, as a clause.
        source: paper or rule that defines it.
        low, high: smallest and largest possible value, None where there is no limit.
        equal: what has to be the same for all texts compared, None where nothing has to.
        when_asked: whether it is measured only where a user or a use case's goal names it.
    """

    name: str
    unit: str
    direction: Direction
    needs: tuple[Need, ...] = ()
    meaning: str
    absent: str
    source: str
    low: float | None = 0.0
    high: float | None = None
    equal: EqualSize | None = None
    when_asked: bool = False

    @property
    def level(self) -> Level:
        """``completion``: a value per text; ``group``: one per prompt and setting."""
        return "completion" if isinstance(self, CompletionMetric) else "group"

    @property
    def relative(self) -> bool:
        """Whether a value depends on the text of the same draw that it is compared with: greedy draws then differ."""
        return "judgements" in self.needs


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMetric(Metric):
    """A number per text.

    Args:
        compute: takes one completion and the context; None where there are no data for it.
        binary: whether its values are 0 or 1 only.
    """

    compute: Callable[[Completion, Context], float | None]
    binary: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMetric(Metric):
    """A number per prompt and setting, from all its draws together.

    Args:
        compute: takes the completions of one prompt under one setting, and the context.
        uses: whether a completion takes part in a group's value; `n` counts those.
    """

    compute: Callable[[Sequence[Completion], Context], float | None]
    uses: Callable[[Completion, Context], bool] = lambda completion, context: True
