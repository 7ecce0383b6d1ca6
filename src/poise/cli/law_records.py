"""What `law` prints with `--json`, field by field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from poise.cli.fields import PARAMS, ParamsRecord, Record


class StepRecord(Record):
    """The next token after one step."""

    step: str = Field(description="its name")
    setting: str = Field(description="the step with its value and what shapes it")
    kept: int = Field(description="tokens that are left")
    cut_mass: float = Field(description="probability that what it cut had before it, 0 to 1")
    moved: float = Field(description="total-variation distance from the distribution before it, 0 to 1")
    probabilities: list[float] = Field(description="of `token_ids` after it; 0 where a token is cut")


class BesideRecord(Record):
    """The same next token under the other dialect."""

    params: ParamsRecord = PARAMS
    steps: list[StepRecord]
    probabilities: list[float] = Field(description="what the token is drawn from, of `token_ids`")
    kept: int = Field(description="tokens that can be drawn")
    notes: list[str]


class PartingRecord(Record):
    """The first step at which two laws part."""

    kind: Literal["kept", "probabilities"] = Field(description="whether other tokens are left, or the same ones")
    left: int | None = Field(description="place of the step in the first dialect, from 1; null where it has none there")
    right: int | None = Field(description="the same in the other dialect")
    token_ids: list[int] = Field(description="tokens that one of the two keeps there and the other has cut")


class LawRecord(Record):
    """`poise law --json`."""

    model: str | None = Field(description="name of the engine; null for a toy distribution")
    params: ParamsRecord = PARAMS
    token_ids: list[int] = Field(description="the tokens shown, likeliest first; of a toy all, in order")
    tokens: list[str] = Field(description="their texts, or names")
    before: list[float] = Field(description="the model's probabilities of `token_ids`")
    steps: list[StepRecord]
    probabilities: list[float] = Field(description="what the token is drawn from, of `token_ids`")
    kept: int = Field(description="tokens that can be drawn")
    strikes: float | None = Field(
        description="how often XTC strikes; the steps from it on show where it does; else null"
    )
    notes: list[str]
    beside: BesideRecord | None = Field(description="the other dialect, null without --beside")
    parting: PartingRecord | None = Field(description="null without --beside, or where the laws end alike")
    total_variation: float | None = Field(description="between the two laws, 0 to 1; null without --beside")
    picture: str | None = Field(description="path of the picture, null without -o")


class RemarkRecord(Record):
    """One thing worth knowing about a setting."""

    rule: str = Field(description="id of the rule that found it")
    level: Literal["error", "warning", "note"]
    kind: Literal["contradicts", "lost", "changed", "inert", "masked", "doubtful"]
    parameters: list[str] = Field(description="which it is about")
    said: str
    next_step: str = Field(description="what to do, else empty")


class InfluenceRecord(Record):
    """What one parameter does, step by step, with and without it."""

    parameter: str
    steps: int = Field(description="next tokens looked at")
    texts: int
    prompts: int
    law: float = Field(description="share of the steps at which the law is another without it, 0 to 1")
    low: float | None = Field(description="lower end of its 95 % interval over prompts, null without one")
    high: float | None = Field(description="upper end, null without one")
    bound: float | None = Field(description="where no step changed: the largest share at 95 %, 3 / steps; else null")
    kept: float = Field(description="share of the steps at which other tokens are left without it")
    total_variation: float | None = Field(description="mean over the steps at which the law is another, else null")
    token: float = Field(description="share of the steps at which another token is drawn without it")


class LintRecord(Record):
    """`poise lint --json`."""

    params: ParamsRecord = PARAMS
    target: str | None = Field(description="what the settings go to, null where they stay")
    model: str | None = Field(description="name of the engine, null without one")
    clean: bool = Field(description="whether there is nothing but notes")
    remarks: list[RemarkRecord] = Field(description="the weightiest first")
    influences: list[InfluenceRecord] = Field(description="in the order of the steps; empty without a model")
    notes: list[str]
