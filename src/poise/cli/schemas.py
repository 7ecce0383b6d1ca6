"""What `--json` prints, field by field: docs/json.md is made from here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from poise.cli.export_records import Exported, Imported
from poise.cli.fields import HIGH, LOW, METRIC, N_PROMPTS, NOTE, PARAMS, PROMPT, SCOPE, STUDY, UNIT, USE_CASE
from poise.cli.fields import ParamsRecord as ParamsRecord
from poise.cli.fields import Record as Record
from poise.cli.fields import Scope as Scope
from poise.cli.judge_records import JudgedRecord, JudgePlanRecord, Scored
from poise.cli.law_records import LawRecord as LawRecord
from poise.cli.law_records import LintRecord as LintRecord
from poise.cli.probe_records import FindingRecord as FindingRecord
from poise.cli.probe_records import ProbeRecord as ProbeRecord
from poise.cli.verdict_records import Decided as Decided
from poise.cli.verdict_records import VerdictRecord as VerdictRecord


class CompletionRecord(Record):
    """One text."""

    prompt: str = PROMPT
    use_case: str = USE_CASE
    draw: int = Field(description="number of the draw, from 0")
    seed: int
    params: ParamsRecord = PARAMS
    text: str = Field(description="without the prompt, special tokens, stop string and thinking")
    thinking: str = Field(description="what a reasoning model thought before its text, else empty")
    token_ids: list[int] = Field(description="every token drawn, a closing end-of-text token included")
    logprobs: list[float] = Field(description="ln p of each token under the model itself, nats")
    finish_reason: Literal["eos", "stop", "length"]


class Generated(Record):
    """`poise generate --json`."""

    study: str | None = Field(description="path of the study; null with --why, which keeps nothing")
    completions: list[CompletionRecord] = Field(description="by setting, prompt and draw")
    whys: list[list[ReachRecord]] | None = Field(
        default=None, description="with --why: for each completion, how far each parameter can move"
    )


class PieceRecord(Record):
    """A stretch of a dial's range on which one text is drawn."""

    low: float
    high: float
    low_closed: bool = Field(description="whether `low` belongs to it")
    high_closed: bool = Field(description="whether `high` belongs to it")
    text: str | None = Field(description="null where the dial stopped early")
    token_ids: list[int] = Field(description="of the whole text; where the dial stopped early, what is known of it")
    finish_reason: Literal["eos", "stop", "length"] | None
    parent: int | None = Field(description="index of the piece that it departs from; null for the first")
    departs: int = Field(description="tokens in common with that piece")
    doubtful: list[int] = Field(description="positions that another machine may decide otherwise")


class DialRecord(Record):
    """Every text of one prompt and draw, for every value of a parameter."""

    prompt: str = PROMPT
    use_case: str = USE_CASE
    draw: int = Field(description="number of the draw, from 0")
    seed: int
    params: ParamsRecord = Field(description="the parameters that stay, and their dialect")
    parameter: str = Field(description="the one that moves")
    low: float
    high: float
    exact_share: float = Field(description="share of the range that is known exactly, 0 to 1")
    pieces: list[PieceRecord] = Field(description="they tile the range, from low to high")


class Dialled(Record):
    """`poise dial --json`."""

    study: str = STUDY
    exact: bool = Field(description="whether every piece is exact; else only stretches that are proved are known")
    why: str = Field(description="why it is exact, or not")
    report: str | None = Field(description="path of the page, null without --report")
    dials: list[DialRecord] = Field(description="by prompt and draw")
    rows: int = Field(description="forward passes of one row, prompts not counted")
    expected_rows: float | None = Field(description="from the closed form, without sharing; null without one")
    expected_pieces: float | None
    seconds: float
    notes: list[str]


class DialPlanRecord(Record):
    """`poise dial --dry-run --json`."""

    study: str = STUDY
    model: str = Field(description="name of the engine")
    parameter: str
    low: float
    high: float
    params: ParamsRecord = Field(description="the parameters that stay, and their dialect")
    exact: bool
    why: str = Field(description="why it is exact, or not")
    prompts: int
    draws: int
    held: float = Field(description="share of the range that the study knows already")
    expected_pieces: float | None
    expected_rows: float | None
    notes: list[str]


class ChangeRecord(Record):
    """What changes first beyond one end."""

    value: float
    position: int = Field(description="index of the new token that changes, from 0")
    was: str
    becomes: str


class ReachRecord(Record):
    """The values of one parameter on which a seed draws this very text."""

    parameter: str
    value: float | None = Field(description="what it was drawn at; null where it was off")
    low: float | None = Field(description="null where it cannot be told exactly")
    high: float | None
    low_closed: bool | None
    high_closed: bool | None
    below: ChangeRecord | None = Field(description="null where nothing changes below, inside what was looked at")
    above: ChangeRecord | None = Field(description="null where nothing changes above, inside what was looked at")
    lowest: float | None = Field(description="how far down it was followed, where it has no end there; else null")
    widest: float | None = Field(description="how far up it was followed, where it has no end there; else null")
    why: str = Field(description="the mechanism, or why it cannot be told")


class TrialRecord(Record):
    """The completions of one use case under one setting."""

    use_case: str = USE_CASE
    params: ParamsRecord = PARAMS
    names: list[str] = Field(description="what else the settings are called: greedy, engine-default, vendor")
    n: int = Field(description="completions in the study")


class Swept(Record):
    """`poise sweep --json`."""

    study: str = STUDY
    trials: list[TrialRecord]
    drawn: int = Field(description="completions drawn now")
    reused: int = Field(description="completions that the study held already")
    rows: int = Field(description="forward passes of one row, prompts not counted")
    requests: int = Field(default=0, description="asked of a server now; 0 where there is none")
    retries: int = Field(default=0, description="of these, second and later tries")
    prompt_tokens: int = Field(default=0, description="of prompts, as a server counted them")
    tokens: int = Field(default=0, description="of the completions drawn now")
    price: float | None = Field(default=None, description="money, by the prices given; null without")


class MeasurementRecord(Record):
    """One metric of one trial."""

    use_case: str = USE_CASE
    params: ParamsRecord = PARAMS
    names: list[str] = Field(description="what else the settings are called")
    trial: str = Field(description="the settings as users write them")
    metric: str = METRIC
    unit: str = UNIT
    n: int = Field(description="completions with data")
    n_prompts: int = N_PROMPTS
    scope: Scope = SCOPE
    mean: float | None = Field(description="null without data")
    low: float | None = LOW
    high: float | None = HIGH
    basis: str = Field(description="what texts were cut to, where the metric depends on their length")
    note: str = NOTE


class Measured(Record):
    """`poise measure --json`."""

    study: str = STUDY
    rows: list[MeasurementRecord]


class ComparisonRecord(Record):
    """One metric, two trials, prompt by prompt and draw by draw."""

    use_case: str = USE_CASE
    metric: str = METRIC
    unit: str = UNIT
    a: ParamsRecord = Field(description="settings of the first trial")
    b: ParamsRecord = Field(description="settings of the second trial")
    difference: float | None = Field(description="mean of b minus a; null without data")
    low: float | None = LOW
    high: float | None = HIGH
    n_prompts: int = N_PROMPTS
    n_pairs: int = Field(description="pairs of texts compared")
    scope: Scope = SCOPE
    p_value: float | None = Field(description="of a sign-flip test; null where there are too few units")
    p_adjusted: float | None = Field(description="p_value, adjusted for all metrics compared at once")
    comparisons: int = Field(description="how many metrics of this use case were tested at once")
    detected: bool = Field(description="whether p_adjusted is at most 0.05 and the interval excludes 0")
    smallest_detectable: float | None = Field(description="the smallest difference these data could have shown")
    matters: float | None = Field(description="the smallest difference that matters; null where none was said")
    power: float | None = Field(
        description="probability that one test of this size finds a difference of `matters`; null without one"
    )
    variance_ratio: float | None = Field(description="what shared noise did to the variance; below 1 it helped")
    basis: str = Field(description="what texts were cut to, where the metric depends on their length")
    note: str = NOTE


class Compared(Record):
    """`poise compare --json`."""

    study: str = STUDY
    rows: list[ComparisonRecord]


class Reported(Record):
    """`poise report --json`."""

    study: str = STUDY
    report: str = Field(description="path of the page")


class Dumped(Record):
    """`poise dump --json`."""

    study: str = STUDY
    format: Literal["jsonl", "csv", "parquet", "svg", "png", "pdf"]
    path: str = Field(description="path of the file written")
    n: int = Field(description="completions, pieces, steps of curves, or curves of a figure written")


class Item(Record):
    """One thing that can be named."""

    name: str
    meaning: str
    details: dict[str, str] = Field(description="for example range, unit, source")


class Listed(Record):
    """`poise list --json` and `poise usecase list --json`."""

    kind: str = Field(description="params, metrics, engines, models, dialects or usecases")
    items: list[Item]


class UseCaseRecord(Record):
    """`poise usecase show --json` and `poise usecase new --json`."""

    name: str
    path: str | None = Field(description="the file, null for a built-in one")
    description: str
    goal: str | None = Field(description="what its settings should do, null where it says nothing")
    prompts: list[str] = Field(description="texts, or last user messages")
    checks: list[list[str]] = Field(description="for each prompt, what its texts have to be")


class PlanRecord(Record):
    """`--dry-run --json` of a command that draws."""

    study: str | None = Field(description="path of the study; null with --why, which keeps nothing")
    model: str = Field(description="name of the engine")
    use_cases: list[str]
    prompts: int = Field(description="how many")
    settings: list[ParamsRecord] = Field(description="baselines included")
    draws: int = Field(description="texts per prompt and setting")
    seed: int
    total: int = Field(description="completions asked for")
    reused: int = Field(description="of these, in the study already")
    missing: int = Field(description="of these, still to be drawn")
    max_new_tokens: int = Field(description="new tokens at most")
    seconds: float | None = Field(description="time at most; null before the rate is known")
    notes: list[str] = Field(description="what the reader should know")


class RoundsRecord(Record):
    """`poise sweep --until-decided --dry-run --json`: lists are by use case."""

    study: str = STUDY
    use_cases: list[str]
    looks: list[list[int]] = Field(description="prompts seen at each planned look")
    held_out: list[int] = Field(description="prompts that do not choose")
    settings: list[ParamsRecord] = Field(description="baselines included")
    draws: int = Field(description="texts per prompt and setting")
    seed: int
    most: list[int] = Field(description="completions at most")
    fixed: list[int] = Field(description="completions of all prompts under all settings")


class ClaimRecord(Record):
    """A claim of the article and what was measured."""

    use_case: str = USE_CASE
    claim: str
    status: Literal["supported", "contradicted", "not detectable", "not measured", "cannot be judged"]
    evidence: list[str] = Field(description="the comparisons behind the status, one sentence each")


class Demonstrated(Record):
    """`poise demo --json`."""

    study: str = STUDY
    report: str = Field(description="path of the page")
    dial: str = Field(description="path of the page with the slider")
    drawn: int = Field(description="completions drawn now")
    reused: int = Field(description="completions that the study held already")
    rows: list[MeasurementRecord]
    claims: list[ClaimRecord]
    verdicts: list[VerdictRecord] = Field(description="one per use case that has a goal")


# What each command prints with --json, in the order of the documentation.
DOCUMENTS: dict[str, type[Record]] = {
    "demo": Demonstrated,
    "generate": Generated,
    "sweep": Swept,
    "dial": Dialled,
    "probe": ProbeRecord,
    "score": Scored,
    "judge": JudgedRecord,
    "measure": Measured,
    "compare": Compared,
    "decide": Decided,
    "report": Reported,
    "dump": Dumped,
    "law": LawRecord,
    "lint": LintRecord,
    "export": Exported,
    "import": Imported,
    "list": Listed,
    "usecase list": Listed,
    "usecase show": UseCaseRecord,
    "usecase new": UseCaseRecord,
    "generate --dry-run": PlanRecord,
    "sweep --dry-run": PlanRecord,
    "sweep --until-decided --dry-run": RoundsRecord,
    "dial --dry-run": DialPlanRecord,
    "judge --dry-run": JudgePlanRecord,
}
