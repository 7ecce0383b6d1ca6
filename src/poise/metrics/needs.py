"""What prompts must come with before a metric can be measured."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from poise.errors import MetricError
from poise.metrics.metric import Metric, Need
from poise.records import Prompt

# What a use case may lack that a metric needs: what it is, what was got, what to do.
_UNMET: Mapping[Need, tuple[str, str, str]] = {
    "answers": (
        "prompts with answers", "without any",
        "Give each prompt its `answer` in the use case's file, or leave the metric out",
    ),
    "judgements": ("texts that a judge compared", "that no judge was asked about", "`poise judge` asks one"),
    "checks": (
        "prompts with checks", "without any",
        "Write `check:` into the use case's file and sweep again, which draws nothing anew; or leave the metric out",
    ),
    "reference": (
        "prompts with a reference", "without any",
        "Give each prompt its `reference` in the use case's file, or leave the metric out",
    ),
}  # fmt: skip


def unmet_needs(prompts: Collection[Prompt], *, judged: bool) -> list[Need]:
    """What no prompt of a use case meets.

    Args:
        prompts: of the use case.
        judged: whether a judge compared its texts, or may still do so.

    Returns:
        Needs that a metric may have.
    """
    held: Mapping[Need, bool] = {
        "answers": any(p.answers for p in prompts),
        "judgements": judged,
        "checks": any(p.checks for p in prompts),
        "reference": any(p.reference for p in prompts),
    }
    return [need for need, there in held.items() if not there]


def check_needs(metrics: Sequence[Metric], use_case: str, prompts: Collection[Prompt], *, judged: bool = True) -> None:
    """Make sure that metrics can have values.

    Args:
        metrics: that are asked for.
        use_case: its name.
        prompts, judged: see `unmet_needs`.

    Raises:
        MetricError: one needs what no prompt has.
    """
    for need in unmet_needs(prompts, judged=judged):
        if blind := [m.name for m in metrics if need in m.needs]:
            rule, got, step = _UNMET[need]
            raise MetricError(f"{', '.join(blind)} needs {rule}", f"use case {use_case!r} {got}", step)
