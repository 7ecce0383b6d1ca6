"""What is remarked on settings, and what each of them does."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from poise.escapes import visible
from poise.params import SamplingParams
from poise.tables import Table, whole_html

WIDTH = 96  # columns of a remark
Level = Literal["error", "warning", "note"]
Kind = Literal["contradicts", "lost", "changed", "inert", "masked", "doubtful"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
KINDS: Mapping[Kind, str] = {
    "contradicts": "settings that cannot both mean what they say",
    "lost": "the target has no such parameter",
    "changed": "the target, or the dialect, does something else with it",
    "inert": "it changes nothing",
    "masked": "another setting leaves it nothing to do",
    "doubtful": "it works, and is seldom meant",
}


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing worth knowing about a setting.

    Args:
        rule: id of the rule that found it, a key of `RULES`.
        level: how much it matters; errors and warnings fail a strict lint.
        kind: a key of `KINDS`.
        parameters: which it is about.
        said: one sentence.
        next_step: what to do about it; empty where there is nothing.
    """

    rule: str
    level: Level
    kind: Kind
    parameters: tuple[str, ...]
    said: str
    next_step: str = ""

    def __str__(self) -> str:
        return f"{self.level}: {self.said}.{f' {self.next_step}.' if self.next_step else ''}"


@dataclass(frozen=True, slots=True)
class Influence:
    """What one parameter does along texts drawn under the settings: each step with it and without it.

    Args:
        parameter: its name.
        said: the parameter with its value, as users write it.
        steps: next tokens looked at.
        texts, prompts: that they are of.
        law: share of the steps at which the law is another without it: total variation above 1e-6.
        low, high: 95 % interval of that share over prompts like these; None without one.
        bound: where no step showed a change, the largest share that may have gone unseen: 3 / steps, at 95 %.
        kept: share at which other tokens are left without it, however unlikely.
        total_variation: mean over the steps at which the law is another; None where there are none.
        token: share at which another token is drawn without it, with the same noise.
    """

    parameter: str
    said: str
    steps: int
    texts: int
    prompts: int
    law: float
    low: float | None
    high: float | None
    bound: float | None
    kept: float
    total_variation: float | None
    token: float


@dataclass(frozen=True, slots=True, repr=False)
class Lint:
    """What is remarked on settings; str() and a notebook show it.

    Args:
        params: the settings.
        target: what they go to; empty where they stay.
        remarks: the weightiest first.
        influences: what each parameter does on a model, in the order of the steps; empty without a model.
        about: along which texts that was measured.
        notes: what a reader has to know.
    """

    params: SamplingParams
    target: str
    remarks: tuple[Remark, ...]
    influences: tuple[Influence, ...] = ()
    about: str = ""
    notes: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether there is nothing but notes."""
        return all(remark.level == "note" for remark in self.remarks)

    def __getitem__(self, parameter: str) -> Influence:
        return next(i for i in self.influences if i.parameter == parameter)

    def tables(self) -> list[Table]:
        """The remarks, and the influences where they were measured."""
        goes = f" to {self.target}" if self.target else ""
        rows = [[r.level, r.said + ".", f"{r.next_step}." if r.next_step else ""] for r in self.remarks]
        said = Table(f"{self.params.label}{goes}", ("", "remark", "next"), rows, () if rows else ("nothing to remark",))
        return [said, *([_influences(self.influences, self.about, self.notes)] if self.influences else [])]

    def lines(self, width: int = WIDTH) -> list[str]:
        """The remarks, a paragraph each, wrapped.

        Args:
            width: columns of a line.

        Returns:
            Lines, nothing in them that a terminal obeys.
        """
        lines: list[str] = []
        for remark in self.remarks:
            text = f"{remark.level:<8} {remark.said}.{f' {remark.next_step}.' if remark.next_step else ''}"
            lines += textwrap.wrap(visible(text), width, subsequent_indent=" " * 9, break_on_hyphens=False)
        return lines or ["nothing to remark"]

    def text(self, width: int = WIDTH) -> str:
        """What str() gives, for a terminal of some width.

        Args:
            width: columns of a line; the rows of a table stay whole.
        """
        title, *measured = self.tables()
        told = "\n".join([visible(title.title), *self.lines(width)])
        return "\n\n".join([told, *(table.text(width) for table in measured)])

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return whole_html((), self.tables())


_HEAD = ("setting", " law changes", " 95 %", " by", " others left", " token changes")
_NOTES = (
    "shares of steps, each with and without the setting, the text so far and the noise being the same",
    "law changes: total variation above 1e-6; by: its mean where it does, 0 to 1",
)


def _influences(found: Sequence[Influence], about: str, notes: Sequence[str]) -> Table:
    rows = [
        [
            i.said, percent(i.law), _interval(i),
            "" if i.total_variation is None else f"{i.total_variation:.2g}", percent(i.kept), percent(i.token),
        ]
        for i in found
    ]  # fmt: skip
    return Table(f"What each setting does {about}", _HEAD, rows, [*_NOTES, *notes])


def _interval(i: Influence) -> str:
    if i.bound is not None:
        return f"at most {percent(i.bound)}"
    return "" if i.low is None or i.high is None else f"{percent(i.low)} to {percent(i.high)}"


def percent(share: float) -> str:
    """A share as a reader wants it.

    >>> percent(0.0), percent(0.0001), percent(0.0117), percent(0.5), percent(1.0)
    ('0 %', '<0.1 %', '1.2 %', '50 %', '100 %')
    """
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:.3g} %"


def value_said(name: str, value: Any) -> str:
    """A parameter with its value, as users write it; a long list by its length.

    >>> value_said("top_p", 0.9), value_said("logit_bias", ((50, -1.0),))
    ('top_p=0.9', 'logit_bias (1)')
    """
    return f"{name} ({len(value)})" if isinstance(value, tuple) else f"{name}={value:g}"
