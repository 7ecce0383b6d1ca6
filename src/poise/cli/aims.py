"""The flags that say a goal, and the goal that they make."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from poise.cli.flags import any_number
from poise.errors import UsageError, UseCaseError
from poise.goals import REFERENCE, SENSES, Constraint, Goal, read_goal
from poise.usecases import load_use_case
from poise.verdicts.case import goal_of

if TYPE_CHECKING:
    from poise.study import Study

PANEL = "Goal. Default: the study's, which a use-case file brought"
_ALSO = re.compile(r"\s*(raise|lower|hold)\s+([a-z][a-z0-9_]*)(?:\s+near\s+(?:the\s+)?(\S+))?\s*")

# What each flag is: name, type, default, declaration, what it takes, help.
_GOAL: tuple[tuple[str, Any, Any, str, str, str], ...] = (
    ("raised", str | None, None, "--raise", "METRIC", "The metric that should rise."),
    ("lowered", str | None, None, "--lower", "METRIC", "The metric that should fall."),
    ("held", str | None, None, "--hold", "METRIC", "The metric that should stay near a target; needs --near."),
    ("near", str | None, None, "--near", "VALUE",
     "What --hold holds it near: a number, or reference: what the metric gives for each prompt's reference text."),
    ("also", str | None, None, "--also", "AIM",
     'A second metric, for the trade-off: "raise METRIC", "lower METRIC" or "hold METRIC near VALUE".'),
    ("constraints", list[str], [], "--constraint", "TEXT",
     'What every setting has to keep: "METRIC <= VALUE" or "METRIC >= VALUE". Repeatable; added to the goal\'s.'),
    ("matters", float | None, None, "--matters", "X", "The smallest difference that matters, in the metric's unit."),
    ("baseline", str | None, None, "--baseline", "TRIAL", "The trial to beat: its settings, or greedy, vendor, …"),
    ("source", str | None, None, "--goal-from", "FILE", "The goal of a use-case file, or of a built-in use case."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the goal flags said; see `_GOAL` for each."""

    raised: str | None
    lowered: str | None
    held: str | None
    near: str | None
    also: str | None
    constraints: list[str]
    matters: float | None
    baseline: str | None
    source: str | None

    @property
    def said(self) -> bool:
        """Whether any flag was given."""
        return any(getattr(self, name) != default for name, _, default, *_ in _GOAL)

    @property
    def words(self) -> list[str]:
        """The flags as they were typed, for a following command."""
        words: list[str] = []
        for name, _, default, declared, *_ in _GOAL:
            value = getattr(self, name)
            if value != default:
                words += [w for v in (value if isinstance(value, list) else [value]) for w in (declared, _typed(v))]
        return words

    def goals(self, study: Study, names: Sequence[str]) -> dict[str, Goal]:
        """The goal of each use case that has one: its own as the flags change it, or the one that they say.

        Args:
            study: that was drawn.
            names: of its use cases.

        Raises:
            PoiseError: see `over`.
        """
        made = {name: self.over(goal_of(study, name, None)) for name in names}
        return {name: goal for name, goal in made.items() if goal is not None}

    def over(self, kept: Goal | None) -> Goal | None:
        """The goal that counts.

        Args:
            kept: the study's; None where it has none.

        Returns:
            A goal of its own where the flags say one; else the kept one with what they change. None where
            there is nothing to change.

        Raises:
            UseCaseError: a flag that cannot be read, or a file without a goal.
            UsageError: two goals at once.
        """
        start = self._started() or (None if kept is None else kept.record())
        if start is None:
            return None
        if self.also is not None:
            start["also"] = _read_also(self.also)
        if self.constraints:
            start["constraints"] = _joined(start.get("constraints", []), self.constraints)
        if self.matters is not None:
            start["matters"] = self.matters
        if self.baseline is not None:
            start["baseline"] = self.baseline
        return read_goal(start)

    def _started(self) -> dict[str, Any] | None:
        """A goal that does not begin with the study's."""
        metrics = dict(zip(SENSES, (self.raised, self.lowered, self.held), strict=True))
        given = [f"--{sense}" for sense, metric in metrics.items() if metric is not None]
        if self.source is not None:
            given.append("--goal-from")
        if len(given) > 1:
            raise UsageError(
                "A goal is said once, by --raise, --lower, --hold or --goal-from", " and ".join(given),
                'Keep one; a second metric goes to --also "raise METRIC"',
            )  # fmt: skip
        if (self.near is not None) != (self.held is not None):
            got = f"--near {self.near}" if self.held is None else f"--hold {self.held}"
            raise UsageError("--hold and --near go together", f"{got} alone", "For example --hold nll --near reference")
        if self.source is not None:
            case = load_use_case(self.source)
            if case.goal is None:
                raise UseCaseError(
                    "A use case that lends its goal has one", f"{case.name} without", "Write goal: in its file"
                )
            return case.goal.record()
        said: dict[str, Any] = {sense: metric for sense, metric in metrics.items() if metric is not None}
        if self.near is not None:
            said["near"] = _read_near(self.near, "--near")
        return said or None


def with_goal_flags(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command every goal flag; its argument `wanted` receives them as one `Wanted`.

    Args:
        command: a function with a parameter called `wanted`.

    Returns:
        The function as Typer is to see it.
    """
    own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "wanted"]

    def with_flags(**given: Any) -> None:
        mine = {p.name: given.pop(p.name) for p in own}
        command(**mine, wanted=Wanted(**given))

    kinds = [(p.name, p.annotation, p.default) for p in own]
    made = [*kinds[:1], *((name, _flag(*row), row[1]) for name, *row in _GOAL), *kinds[1:]]
    with_flags.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, annotation=a, default=d) for n, a, d in made]
    )
    with_flags.__name__, with_flags.__doc__ = command.__name__, command.__doc__
    return with_flags


def _flag(kind: Any, _: Any, declared: str, takes: str, meaning: str) -> Any:
    parser = any_number(declared, "0.02") if kind == float | None else None
    return Annotated[
        kind,
        typer.Option(declared, metavar=takes, help=meaning, rich_help_panel=PANEL, show_default=False, parser=parser),
    ]


def _typed(value: str | float) -> str:
    return value if isinstance(value, str) else repr(value).removesuffix(".0")


def _read_also(text: str) -> dict[str, Any]:
    """
    >>> _read_also("hold nll near 2.5"), _read_also("lower loop_rate")
    ({'hold': 'nll', 'near': 2.5}, {'lower': 'loop_rate'})
    """
    found = _ALSO.fullmatch(text)
    if found is None:
        raise UsageError(
            "--also is raise, lower or hold, and a metric", repr(text),
            'For example --also "raise distinct_2", or "hold nll near 2.5"',
        )  # fmt: skip
    sense, metric, near = found.groups()
    return {sense: metric, **({} if near is None else {"near": _read_near(near, "near")})}


def _read_near(text: str, name: str) -> float | str:
    if text == REFERENCE:
        return text
    try:
        return float(text)
    except ValueError:
        rule = f"{name} is a number, or {REFERENCE}"
        raise UsageError(rule, repr(text), "For example 2.5, in the metric's unit") from None


def _joined(kept: list[str], added: list[str]) -> list[str]:
    """Constraints of the goal and of the flags; of two on the same side of one metric the flag's."""
    flags: dict[tuple[str, bool], str] = {}
    for text in added:
        read = Constraint.parse(text)
        side = (read.metric, read.most)
        if side in flags:
            raise UsageError(
                "--constraint is given once for each side of a metric", f"{flags[side]!r} and {text!r}", "Keep one"
            )
        flags[side] = text
    said = {(c.metric, c.most): text for text in [*kept, *added] for c in [Constraint.parse(text)]}
    return list(said.values())


assert [f.name for f in fields(Wanted)] == [row[0] for row in _GOAL]
