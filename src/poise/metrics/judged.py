"""Judged texts: how often a judge prefers them to the baseline's."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, cast

from poise import codec
from poise.metrics.context import Context, Place, utf8
from poise.params import SamplingParams
from poise.records import Completion, params_record
from poise.study import Study

Answer = Literal["A", "B", "TIE", "garbage", "refusal"]
ATTEMPTS = 2  # garbage and refusals are asked for once more
ORDERS = (0, 1)  # 0: the completion is shown first, as A; 1: the baseline's text is
SAME = 0.5  # what two equal texts are worth, without asking


@dataclass(frozen=True, slots=True)
class Panel:
    """Who judges a use case, by what, and against which trial; the one noted last is what the metric reads.

    Args:
        model: the judge's name.
        question: by what it judges.
        baseline: settings of the trial whose texts the others are compared with.
    """

    model: str
    question: str
    baseline: SamplingParams

    def asked(self, prompt_ids: tuple[int, ...]) -> str:
        """What all judgements of a prompt have in common, hashed."""
        return _sha256([self.model, self.question, list(prompt_ids)])

    def note(self, study: Study, use_case: str) -> None:
        """Keep it as the one that counts."""
        said = {"judge": self.model, "question": self.question, "baseline": params_record(self.baseline)}
        study.note("judgement", _panel_key(use_case), said)


class Judgement(NamedTuple):
    """One kept answer.

    Args:
        pair: hash of judge, question, prompt and both texts.
        order: one of `ORDERS`.
        repeat: its number, from 0.
        answer: what the judge said.
        attempts: how often it was asked.
    """

    pair: str
    order: int
    repeat: int
    answer: Answer
    attempts: int

    @property
    def key(self) -> str:
        """What it is kept under."""
        return _sha256([self.pair, self.order, self.repeat])

    @property
    def valid(self) -> bool:
        """Whether it names a text, or a tie."""
        return self.answer in ("A", "B", "TIE")

    @property
    def final(self) -> bool:
        """Whether it is not asked for again."""
        return self.valid or self.attempts >= ATTEMPTS

    @property
    def value(self) -> float | None:
        """1 for the completion, 0 for the baseline's text, 0.5 for a tie; None where it is not valid."""
        if self.answer == "TIE":
            return 0.5
        return float((self.answer == "A") == (self.order == 0)) if self.valid else None

    def note(self, study: Study, said: str) -> None:
        """Keep it, with the beginning of what was said."""
        study.note("judgement", self.key, {**self._asdict(), "said": said[:200]})


class _Text(NamedTuple):
    """A completion, its value, and what was said of it; None where it is the baseline's text, and nobody asks."""

    place: Place
    value: float | None
    judgements: Sequence[Judgement] | None = None

    @property
    def finished(self) -> bool:
        return self.judgements is None or {j.order for j in self.judgements if j.final} == {*ORDERS}


def judge(completion: Completion, context: Context) -> float | None:
    """Mean over orders and repeats of 1 (preferred to the baseline's text), 0.5 (a tie), 0; None where not judged."""
    return context.judgements.get(place(completion))


def place(completion: Completion) -> Place:
    """What a completion's judgement is found by in a context."""
    asked = completion.request
    return asked.params, asked.prompt_ids, asked.seed, asked.draw, hashlib.sha256(utf8(completion.text)).digest()


def pair_of(asked: str, text: str, other: str) -> str:
    """The name of a pair of texts.

    Args:
        asked: from `Panel.asked`.
        text: the completion's.
        other: the baseline's.
    """
    return _sha256([asked, text, other])


def read_panel(study: Study, use_case: str) -> Panel | None:
    """Who judged a use case last; None where nobody did."""
    said = study.noted("judgement", _panel_key(use_case))
    if said is None:
        return None
    return Panel(said["judge"], said["question"], SamplingParams.model_validate(said["baseline"]))


def read_kept(study: Study) -> dict[str, Judgement]:
    """Every answer that a study keeps, of all judges, by its key."""
    found = [_judgement(r) for r in study.all_noted("judgement").values() if "pair" in r]
    return {judgement.key: judgement for judgement in found}


def read_judgements(study: Study, use_case: str) -> Mapping[Place, float]:
    """The values of a use case's completions, by the judge that was asked last.

    The draws of a trial count once all of its prompts were judged: what an interruption left is no fair sample.
    Nor is what is left of a trial where every answer was invalid: texts equal to the baseline's.

    Args:
        study: with completions.
        use_case: one of its use cases.

    Returns:
        A value per judged completion, see `judge`; empty where nobody was asked.

    Raises:
        StudyError: no such use case.
    """
    panel = read_panel(study, use_case)
    if panel is None:
        return {}
    told: dict[str, list[Judgement]] = defaultdict(list)
    for judgement in read_kept(study).values():
        told[judgement.pair].append(judgement)
    others = baseline_texts(study, use_case, panel.baseline)
    drawn: dict[SamplingParams, dict[tuple[int, int], list[_Text]]] = defaultdict(lambda: defaultdict(list))
    for c in study.completions(use_case, with_logprobs=False):
        asked = c.request
        other = others.get((asked.prompt_ids, asked.seed, asked.draw))
        if other is not None:
            said = told.get(pair_of(panel.asked(asked.prompt_ids), c.text, other), [])
            text = _Text(place(c), SAME) if c.text == other else _Text(place(c), value_of(said), said)
            drawn[asked.params][asked.seed, asked.draw].append(text)
    values: dict[Place, float] = {}
    for draws in drawn.values():
        judged = [text for texts in draws.values() for text in texts if text.judgements is not None]
        if judged and all(text.value is None for text in judged):
            continue
        for texts in draws.values():
            if all(text.finished for text in texts):
                values.update((text.place, text.value) for text in texts if text.value is not None)
    return values


def value_of(judgements: Iterable[Judgement]) -> float | None:
    """The value of a pair: the mean of its two orders' means, so that a liking for the first text cancels out.

    Args:
        judgements: of one pair.

    Returns:
        0 to 1; None where an order has no valid answer.
    """
    by_order: dict[int, list[float]] = {order: [] for order in ORDERS}
    for judgement in judgements:
        if judgement.value is not None:
            by_order[judgement.order].append(judgement.value)
    if not all(by_order.values()):
        return None
    return sum(sum(values) / len(values) for values in by_order.values()) / len(ORDERS)


def baseline_texts(
    study: Study, use_case: str, baseline: SamplingParams
) -> dict[tuple[tuple[int, ...], int, int], str]:
    """The baseline's texts by prompt ids, seed and draw."""
    texts = study.completions(use_case, baseline, with_logprobs=False)
    return {(c.request.prompt_ids, c.request.seed, c.request.draw): c.text for c in texts}


def _judgement(record: Mapping[str, Any]) -> Judgement:
    answer = cast("Answer", record["answer"])
    return Judgement(record["pair"], record["order"], record["repeat"], answer, record["attempts"])


def _panel_key(use_case: str) -> str:
    return f"judge of {use_case}"


def _sha256(said: object) -> str:
    return hashlib.sha256(codec.canonical(said).encode()).hexdigest()
