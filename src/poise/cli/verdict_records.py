"""What `poise decide --json` prints: verdicts, field by field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from poise.cli.fields import HIGH, LOW, METRIC, NOTE, PARAMS, SCOPE, STUDY, UNIT, USE_CASE, ParamsRecord, Record, Scope

_ALL_LOW = Field(description="lower end of the interval that holds for all settings at once, null without one")
_ALL_HIGH = Field(description="upper end of the interval that holds for all settings at once, null without one")


class GainRecord(Record):
    """What a setting gains over the baseline."""

    difference: float | None = Field(description="null without data; near a target, the change of the distance to it")
    low: float | None = LOW
    high: float | None = HIGH
    units: int = Field(description="prompts behind it; with scope `prompt` draws")
    how: Literal["held out", "cross-fitted", "by definition", "not measured"] = Field(
        description="on prompts that did not choose; on each part of the prompts for what the others choose; 0, as the "
        "setting is the baseline"
    )
    note: str = NOTE


class KeptRecord(Record):
    """How a setting stands to a constraint."""

    constraint: str
    mean: float | None = Field(description="of the metric; null without data")
    low: float | None = LOW
    high: float | None = HIGH
    status: Literal["kept", "kept in the mean", "broken in the mean", "broken", "no data"] = Field(
        description="`kept` and `broken` where the interval says so"
    )


class ContenderRecord(Record):
    """One setting in a verdict."""

    params: ParamsRecord = PARAMS
    names: list[str] = Field(description="what else the settings are called")
    mean: float | None = Field(description="of the metric on the units that chose; null without data")
    n_units: int = Field(description="how many of them have a value")
    difference: float | None = Field(description="to the baseline; near a target, the change of the distance to it")
    low: float | None = _ALL_LOW
    high: float | None = _ALL_HIGH
    detected: bool = Field(description="whether the difference to the baseline is there")
    in_set: bool = Field(description="whether it may be the best")
    out: str = Field(description="why it may not, else empty")
    constraints: list[KeptRecord]
    front: float | None = Field(description="probability that none beats it in both metrics; null with one metric")


class NaiveRecord(Record):
    """What printing the best mean would have promised, and what that delivers."""

    params: ParamsRecord = PARAMS
    promised: float | None = Field(description="its gain on the units that chose it")
    delivered: GainRecord


class MoreRecord(Record):
    """What would settle a verdict."""

    difference: float = Field(description="to be seen 4 times in 5: the one that matters, or else the one seen")
    prompts: int = Field(description="prompts to add at as many draws; 0 where there are enough")
    draws: int = Field(description="draws now, per prompt and setting")
    prompts_at_double: int | None = Field(description="prompts to add at twice the draws; null where nobody can tell")


class EffectRecord(Record):
    """How much one of several parameters matters."""

    parameter: str
    share: float = Field(description="of the variation between settings")
    low: float | None = LOW
    high: float | None = HIGH


class SideRecord(Record):
    """What else the recommended setting was shown to change, against the baseline."""

    metric: str = METRIC
    unit: str = UNIT
    difference: float = Field(description="over all prompts")
    low: float = LOW
    high: float = HIGH


class VerdictRecord(Record):
    """What a study allows to conclude about one use case."""

    use_case: str = USE_CASE
    metric: str = METRIC
    unit: str = UNIT
    goal: str = Field(description="what was wanted, in words")
    status: Literal["better", "no difference", "undecided", "constraints", "not enough"] = Field(
        description="the recommended setting was shown to be better; the baseline may be the best; it may not, and no "
        "single setting was shown to be better; no setting keeps the constraints; no interval can be had"
    )
    scope: Scope = SCOPE
    n_prompts: int = Field(description="prompts that chose; 0 with scope `prompt`")
    n_units: int = Field(description="prompts that chose; with scope `prompt` draws")
    held_out: int = Field(description="prompts that did not choose")
    baseline: ParamsRecord = Field(description="the setting to beat")
    recommended: ParamsRecord | None = Field(description="the simplest of the best set, the baseline first; else null")
    best_set: list[ParamsRecord] = Field(description="the settings that may be the best")
    detected: bool = Field(description="whether the recommended setting was shown to be better than the baseline")
    promised: float | None = Field(description="the recommended setting's gain on the units that chose it")
    promised_low: float | None = _ALL_LOW
    promised_high: float | None = _ALL_HIGH
    delivered: GainRecord = Field(description="its gain on units that did not choose it")
    naive: NaiveRecord | None = Field(description="the best mean, taken at its word; null without data")
    smallest_detectable: float | None = Field(
        description="the difference to the baseline that would have been found 4 times in 5"
    )
    more: MoreRecord | None = Field(description="what would settle it; null where nothing can be told")
    effects: list[EffectRecord] = Field(description="of several varied parameters, how much each matters")
    sides: list[SideRecord] = Field(description="what else the recommended setting changes; none of the baseline")
    contenders: list[ContenderRecord] = Field(description="every setting, the best set first")
    stable: list[int] = Field(description="how often the best mean stays so with one unit left out, and of how many")
    looks: list[int] = Field(description="units seen at each look")
    stopped: str = Field(description="why the looks ended early, else empty")
    notes: list[str] = Field(description="what to know before trusting it")


class Decided(Record):
    """`poise decide --json`."""

    study: str = STUDY
    verdicts: list[VerdictRecord] = Field(description="one per use case that has a goal")
    notes: list[str] = Field(description="of the study: texts that are missing, use cases without a goal")
