"""What many records of `--json` have in common: their base, and fields."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from poise.records import ParamsRecord as ParamsRecord

Scope = Literal["prompt", "use_case"]

PROMPT = Field(description="the prompt's text, or its last user message")
USE_CASE = Field(description='name of the use case; "prompt" for a lone prompt')
PARAMS = Field(description="the settings that are on, and their dialect")
STUDY = Field(description="path of the study")
METRIC = Field(description="name of the metric")
UNIT = Field(description="unit of the metric")
LOW = Field(description="lower end of the 95 % interval, null without one")
HIGH = Field(description="upper end of the 95 % interval, null without one")
N_PROMPTS = Field(description="prompts with data")
SCOPE = Field(description="what the interval speaks of: these prompts, or the use case")
NOTE = Field(description="why there is no value or no interval, else empty")


class Record(BaseModel):
    """A JSON object with exactly these fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)
