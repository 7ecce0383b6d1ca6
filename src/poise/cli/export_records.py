"""What `export` and `import` print with `--json`, field by field."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from poise.cli.fields import PARAMS, ParamsRecord, Record

Kind = Literal["exact", "approximate", "impossible"]
_NAME = Field(description="a parameter, or order")
_WHY = Field(description="what changes; of what is exact, how it was kept where it is written otherwise; else empty")
_SHARE = "total-variation distance over next tokens, 0 to 1; null where it was not measured"


class OutcomeRecord(Record):
    """What became of one parameter."""

    parameter: str = _NAME
    value: Any = Field(description="in the settings that were carried")
    there: Any = Field(description="in those that came out; null where it is not among them")
    kind: Kind
    why: str = _WHY
    ties: bool = Field(description="whether the laws differ only where logits tie, or a sum meets the bound exactly")


class LossRecord(Record):
    """What is not exact."""

    parameter: str = _NAME
    kind: Literal["approximate", "impossible"]
    why: str = Field(description="what changes")
    beside: list[str] = Field(description="parameters without which nothing of it would be lost")
    total_variation: float | None = Field(description=f"how far it moves the law by itself: mean {_SHARE}")
    highest: float | None = Field(description=f"the same: largest {_SHARE}")


class Exported(Record):
    """`poise export --json`."""

    target: str
    form: Literal["json", "python", "flags", "modelfile", "keys"]
    file: str | None = Field(description="path of the artefact, null without -o")
    artefact: str = Field(description="its text; of a GGUF file its keys")
    source: ParamsRecord = Field(description="the settings that were carried, and their dialect")
    params: ParamsRecord = Field(description="what they are there, in the dialect of the engine")
    outcomes: list[OutcomeRecord] = Field(description="of every parameter that is on")
    losses: list[LossRecord] = Field(description="of these, what is not exact")
    total_variation: float | None = Field(description=f"all losses together: mean {_SHARE}")
    highest: float | None = Field(description=f"the same: largest {_SHARE}")
    model: str | None = Field(description="on which that was measured")
    next_tokens: int = Field(description="how many next-token distributions were looked at; 0 without a model")
    prompts: int = Field(description="of how many prompts")
    evidence: str = Field(description="what the verdict says of the settings, empty without one")
    notes: list[str] = Field(description="what to know before using the artefact")


class Imported(Record):
    """`poise import --json`."""

    file: str = Field(description="path of what was read; - for standard input")
    format: str = Field(description="the target whose engine reads it")
    params: ParamsRecord = PARAMS
    left_out: list[str] = Field(description="fields that shape no law, or that nothing looks at")
    unsaid: dict[str, float] = Field(description="what the engine takes where the file says nothing, part of `params`")
