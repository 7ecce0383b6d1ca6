"""What a goal may ask: numbers that its metrics can have."""

from __future__ import annotations

from poise.errors import UseCaseError
from poise.goals import Aim, Goal
from poise.metrics import find_metrics
from poise.metrics.metric import Metric
from poise.numerals import PERCENT_UNITS


def check_limits(goal: Goal) -> None:
    """Make sure that what a goal names can be: its targets, its bounds, the difference that matters.

    Args:
        goal: read, or built by hand.

    Raises:
        MetricError: a metric that is unknown.
        UseCaseError: a number that its metric never has.
    """
    known = {metric.name: metric for metric in find_metrics(goal.metrics)}
    for aim in filter(None, (goal.aim, goal.also)):
        _check_target(known[aim.metric], aim)
    for constraint in goal.constraints:
        _check_value(known[constraint.metric], constraint.bound, f"the constraint {constraint}")
    if goal.matters is not None:
        check_matters(known[goal.aim.metric], goal.matters)


def check_matters(metric: Metric, difference: float) -> None:
    """Make sure that two values of a metric can differ by so much.

    Args:
        metric: that is compared.
        difference: the smallest that matters, in its unit, above 0.

    Raises:
        UseCaseError: they cannot.
    """
    if metric.low is None or metric.high is None or difference <= metric.high - metric.low:
        return
    rule = f"Values of {metric.name} lie between {metric.low:g} and {metric.high:g}, and differ by no more than that"
    raise UseCaseError(rule, f"a difference of {difference:g} that matters", _instead(metric, difference))


def _check_target(metric: Metric, aim: Aim) -> None:
    if isinstance(aim.target, float | int):
        _check_value(metric, float(aim.target), f"near {aim.target:g}")


def _check_value(metric: Metric, value: float, said: str) -> None:
    low, high = metric.low, metric.high
    if (low is None or value >= low) and (high is None or value <= high):
        return
    ends = f"lies between {low:g} and {high:g}" if low is not None and high is not None else f"is at least {low:g}"
    raise UseCaseError(f"{metric.name} {ends}", said, _instead(metric, value))


def _instead(metric: Metric, value: float) -> str:
    if metric.unit in PERCENT_UNITS and 1 < value <= 100:
        return f"Shares are written 0.05 for 5 %: perhaps {value / 100:g} is meant"
    return f"Name a number that {metric.name} can have; `poise list metrics` shows its unit"
