"""What `score` and `judge` print with `--json`, field by field."""

from __future__ import annotations

from pydantic import Field

from poise.cli.fields import HIGH, LOW, NOTE, PROMPT, STUDY, USE_CASE, ParamsRecord, Record

_QUESTION = Field(description="by what the judge judges")
_BASELINES = Field(description="settings of the trial that the others are compared with, by use case")
_PAIRS = Field(description="different pairs of texts")
_SAME = Field(description="completions whose text is the baseline's: 0.5 each, without asking")
_ALONE = Field(description="completions without a text of the baseline to compare with")
_ANSWERS = Field(description="answers wanted: each pair in both orders, as often as --repeats says")
_KEPT = Field(description="of these, in the study before")


class ScoreRecord(Record):
    """A text under a model, given its prompt."""

    prompt: str = PROMPT
    use_case: str = USE_CASE
    text: str = Field(description="what was scored, as it stands after the prompt")
    nll: float | None = Field(description="mean of -ln p per token, nats/token; null where it is infinite")
    perplexity: float | None = Field(description="exp of nll; null where it is infinite")
    tokens: int = Field(description="tokens of the text")
    token_ids: list[int]
    logprobs: list[float | None] = Field(description="ln p of each token, nats; null for a token with no chance")


class Scored(Record):
    """`poise score --json`."""

    model: str = Field(description="name of the engine")
    rows: list[ScoreRecord] = Field(description="one, or one per prompt with a reference text")
    mean: float | None = Field(description="mean of the rows' nll; null where it is infinite")
    low: float | None = LOW
    high: float | None = HIGH
    without: int = Field(description="prompts without a reference text, which are left out")
    note: str = NOTE


class ShareRecord(Record):
    """How often something holds; the prompt is the unit."""

    share: float | None = Field(description="0 to 1; null where there is nothing to count")
    low: float | None = LOW
    high: float | None = HIGH
    n: int = Field(description="cases counted")
    n_prompts: int = Field(description="prompts that they are of")
    note: str = NOTE


class JudgedRecord(Record):
    """`poise judge --json`."""

    study: str = STUDY
    judge: str = Field(description="name of the judge model")
    question: str = _QUESTION
    baselines: dict[str, ParamsRecord] = _BASELINES
    pairs: int = _PAIRS
    same: int = _SAME
    alone: int = _ALONE
    answers: int = _ANSWERS
    kept: int = _KEPT
    asked: int = Field(description="calls made now, second attempts included")
    withheld: int = Field(description="pairs without a value, for want of a valid answer in both orders")
    orders: ShareRecord = Field(description="both orders of a pair got the same judgement")
    repeats: ShareRecord = Field(description="the same question got the same judgement again")
    first: ShareRecord = Field(description="where one text was preferred, it was the one shown first")
    garbage: ShareRecord = Field(description="answers that are none of A, B and TIE, even asked again")
    refusals: ShareRecord = Field(description="answers that were declined, even asked again")
    notes: list[str] = Field(description="what to know before using the values")


class JudgePlanRecord(Record):
    """`poise judge --dry-run --json`."""

    study: str = STUDY
    url: str
    judge: str = Field(description="name of the judge model")
    question: str = _QUESTION
    baselines: dict[str, ParamsRecord] = _BASELINES
    pairs: int = _PAIRS
    same: int = _SAME
    alone: int = _ALONE
    answers: int = _ANSWERS
    kept: int = _KEPT
    missing: int = Field(description="calls to make; an answer that is no answer costs a second one")
    characters: int = Field(description="of everything that the judge would read")
