"""What `probe` prints with `--json`, field by field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from poise.cli.fields import Record


class FindingRecord(Record):
    """What a server does with one parameter."""

    name: str = Field(
        description="a parameter, or greedy, order, logit_bias, stop, max_tokens, seed, n, logprobs or defaults"
    )
    honour: Literal["honoured", "honoured otherwise", "ignored", "rejected", "cannot tell"]
    how: str = Field(description="what happens instead, where it is not honoured; else empty")
    evidence: str = Field(description="what was seen")
    requests: int = Field(description="spent on it")
    tokens: int = Field(description="spent on it")
    false_alarm: float | None = Field(description="how often an honest server is judged so, at most; null: none made")
    power: float | None = Field(description="how often a server that ignores it is found out, at least; null: unknown")
    value: float | None = Field(description="its default there, where one was found")
    missed: Literal["", "budget", "refusal"] = Field(description="why it was not looked at; empty where it was")


class ProbeRecord(Record):
    """`poise probe --json`."""

    url: str
    model: str
    kind: str = Field(description="which software it is")
    version: str = Field(description="of it; empty where it does not say")
    identity: str = Field(description="what identifies the weights, as far as it says")
    dialect: str = Field(description="the dialect that its order of steps belongs to; server: could not be told")
    logprobs: Literal["raw", "processed", "none", "unknown"]
    top_logprobs: int = Field(description="how many likeliest tokens it returns at most")
    takes_ids: bool = Field(description="whether prompts may be token ids")
    findings: list[FindingRecord]
    requests: int
    tokens: int
    seconds: float
    made_at: float = Field(description="seconds since 1970")
    defaults: dict[str, float] | None = Field(description="what an empty request gets; null: not known exactly")
    steps: list[str] = Field(description="the order of its steps, as far as it could be told; else empty")
    repeats: bool = Field(description="whether temperature 0 gave the same text every time")
