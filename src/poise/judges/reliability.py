"""How far a judge can be trusted: both orders, repeats, invalid answers."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from poise.metrics.judged import Judgement, baseline_texts, pair_of, read_kept, read_panel, value_of
from poise.numerals import figure, interval
from poise.stats import MIN_UNITS, Bounds, mean_interval
from poise.study import Study
from poise.tables import Footnotes, Table

TOO_MANY = 0.2  # invalid answers, as a share, above which a judge is not to be trusted
COIN = 0.5  # how often the two orders of a pair agree where each is judged by a coin


class Share(NamedTuple):
    """How often something holds, with its 95 % interval; the prompt is the unit.

    Args:
        share: 0 to 1; None where there is nothing to count.
        low, high: of the interval; None where there can be none.
        n: how many cases were counted.
        n_prompts: of how many prompts.
        note: why there is no share or no interval; empty where there is.
    """

    share: float | None
    low: float | None
    high: float | None
    n: int
    n_prompts: int
    note: str

    def __str__(self) -> str:
        """It with its interval; where there is no share, why."""
        if self.share is None:
            return self.note
        return f"{figure(self.share, 'share')} {interval(self.low, self.high, 'share')}".rstrip()


class Judged(NamedTuple):
    """The answers about one pair of texts.

    Args:
        prompt: what tells its prompt from others.
        judgements: in every order and repeat, as far as there are any.
    """

    prompt: str
    judgements: Sequence[Judgement]


@dataclass(frozen=True, slots=True)
class Reliability:
    """What a judge's own answers say about it.

    Args:
        orders: how often both orders of a pair got the same judgement; a judge that looks at the place alone has 0.
        repeats: how often the same question got the same judgement again.
        first: how often, where one text was preferred, it was the one shown first; 0.5 without a bias.
        garbage: share of answers that are none of the three words, even asked again.
        refusals: share of answers that were declined, even asked again.
        withheld: pairs without a value, for want of a valid answer in both orders.
        pairs: of different texts that were looked at.
    """

    orders: Share
    repeats: Share
    first: Share
    garbage: Share
    refusals: Share
    withheld: int
    pairs: int

    @property
    def doubtful(self) -> bool:
        """Whether more than a fifth of the answers are invalid."""
        return (self.garbage.share or 0.0) + (self.refusals.share or 0.0) > TOO_MANY

    @property
    def doubts(self) -> list[str]:
        """What speaks against its values, a clause each."""
        found, first = [], self.first
        if self.doubtful:
            invalid = (self.garbage.share or 0) + (self.refusals.share or 0)
            found.append(
                f"{figure(invalid, 'share')} of the answers are invalid, more than {figure(TOO_MANY, 'share')}: this "
                "judge cannot do it; take another --model, or a plainer --question"
            )
        if self.withheld:
            found.append(
                f"{self.withheld:,} of {self.pairs:,} pairs have no value, for want of a valid answer in both orders"
            )
        if first.low is not None and first.high is not None and not first.low <= 0.5 <= first.high:
            found.append(
                f"the judge prefers the text shown {'first' if first.low > 0.5 else 'second'} (first: {first}); asking "
                "in both orders takes this out of the values, and leaves them closer to 0.5"
            )
        orders = self.orders.share if self.orders.low is None else self.orders.low
        if orders is not None and orders <= COIN:
            found.append(
                f"both orders of a pair agree in {self.orders} of the cases, and two coins would in "
                f"{figure(COIN, 'share')}: its preferences may be noise, or a liking for a place"
            )
        return found

    @property
    def figures(self) -> str:
        """Its shares in one clause."""
        shares = (
            ("both orders agree", self.orders), ("first text preferred", self.first), ("garbage", self.garbage),
            ("refusals", self.refusals),
        )  # fmt: skip
        return "; ".join(f"{name}: {share}" for name, share in shares)

    def table(self) -> Table:
        """One line per share."""
        marks = Footnotes()
        rows = [
            [
                name, figure(s.share, "share"), interval(s.low, s.high, "share") or "–", f"{s.n:,}",
                f"{s.n_prompts:,}", marks.mark(s.note),
            ]
            for name, s in (
                ("both orders agree", self.orders), ("repeats agree", self.repeats),
                ("first text preferred", self.first), ("garbage", self.garbage), ("refusals", self.refusals),
            )
        ]  # fmt: skip
        head = ("share of cases where", " share", " 95 % interval", " n", " prompts", "")
        return Table("How far to trust the judge", head, rows, marks.lines())


def reliability(judged: Iterable[Judged]) -> Reliability:
    """Look at a judge's answers.

    Args:
        judged: pair by pair.

    Returns:
        What they say about the judge.
    """
    pairs = list(judged)
    orders, repeats, first = [], [], []
    for prompt, judgements in pairs:
        by_repeat: dict[int, list[float]] = {}
        by_order: dict[int, list[float]] = {}
        for j in judgements:
            if j.value is not None:
                by_repeat.setdefault(j.repeat, []).append(j.value)
                by_order.setdefault(j.order, []).append(j.value)
            if j.answer in ("A", "B"):
                first.append((prompt, float(j.answer == "A")))
        orders += [(prompt, float(v[0] == v[1])) for v in by_repeat.values() if len(v) == 2]
        repeats += [
            (prompt, float(a == b)) for v in by_order.values() for a, b in itertools.combinations(v, 2)
        ]  # fmt: skip
    answers = [(prompt, j.answer) for prompt, judgements in pairs for j in judgements]
    return Reliability(
        orders=_share(orders, "no pair was judged in both orders"),
        repeats=_share(repeats, "nothing was asked twice; --repeats 2 does"),
        first=_share(first, "no text was preferred"),
        garbage=_share([(p, float(a == "garbage")) for p, a in answers], "no answers"),
        refusals=_share([(p, float(a == "refusal")) for p, a in answers], "no answers"),
        withheld=sum(value_of(judgements) is None for _, judgements in pairs),
        pairs=len(pairs),
    )


def trust(study: Study, use_case: str) -> tuple[str, Reliability] | None:
    """The judge whose values the metric `judge` has in a use case, and what its answers there say about it.

    Args:
        study: with completions.
        use_case: one of its use cases.

    Returns:
        Its name and its reliability; None where nobody was asked.
    """
    panel = read_panel(study, use_case)
    if panel is None:
        return None
    told: dict[str, list[Judgement]] = {}
    for judgement in read_kept(study).values():
        told.setdefault(judgement.pair, []).append(judgement)
    others = baseline_texts(study, use_case, panel.baseline)
    found: dict[str, Judged] = {}
    for c in study.completions(use_case, with_logprobs=False):
        other = others.get((c.request.prompt_ids, c.request.seed, c.request.draw))
        if other is None or other == c.text:
            continue
        asked = panel.asked(c.request.prompt_ids)
        name = pair_of(asked, c.text, other)
        if name in told:
            found[name] = Judged(asked, told[name])
    return panel.model, reliability(found.values())


def _share(cases: Sequence[tuple[str, float]], absent: str) -> Share:
    by_prompt: dict[str, list[float]] = {}
    for prompt, value in cases:
        by_prompt.setdefault(prompt, []).append(value)
    if not by_prompt:
        return Share(None, None, None, 0, 0, absent)
    share = float(np.mean([value for _, value in cases]))
    means = np.array([np.mean(values) for values in by_prompt.values()])
    if len(means) < MIN_UNITS:
        return Share(share, None, None, len(cases), len(means), f"an interval needs {MIN_UNITS} prompts")
    low, high, note = mean_interval([means], Bounds(0.0, 1.0, len(cases)))
    return Share(float(means.mean()), low, high, len(cases), len(means), note)
