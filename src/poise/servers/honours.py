"""What a server does with each parameter, as a probe found it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Honour = Literal["honoured", "honoured otherwise", "ignored", "rejected", "cannot tell"]


class Finding(NamedTuple):
    """One parameter, or one behaviour, of a server.

    Args:
        name: a parameter of poise, or one of ``greedy``, ``order``, ``logit_bias``, ``stop``, ``max_tokens``, ``seed``,
            ``n``, ``logprobs``, ``defaults``.
        honour: what the server does with it.
        how: where it is honoured otherwise, ignored or rejected: what happens instead, one sentence; else empty.
        evidence: what was seen, one sentence with its numbers.
        requests, tokens: what finding out cost.
        false_alarm: how often an honest server would have been judged so, at most; 0 where it cannot happen; None where
            nothing was judged.
        power: how often a server that ignores it would have been found out, at least, as planned; None where unknown.
        value: where the parameter has a value there without being asked for (its default), that; else None.
        missed: why it was not looked at: the budget was spent before, or the server refused a request; else empty.
    """

    name: str
    honour: Honour
    how: str = ""
    evidence: str = ""
    requests: int = 0
    tokens: int = 0
    false_alarm: float | None = None
    power: float | None = None
    value: float | None = None
    missed: Literal["", "budget", "refusal"] = ""


class Probe(NamedTuple):
    """What a server honours, found at a time.

    Args:
        url, model, kind, version: of the server.
        identity: of its weights, as in `calls.About`.
        dialect: the name of the dialect that its order of steps belongs to; ``server`` where it cannot be told.
        logprobs: ``raw`` (of the model itself), ``processed`` (after the steps), ``none``, or ``unknown``.
        top_logprobs: how many likeliest tokens it returns at most.
        takes_ids: whether prompts may be token ids.
        findings: one per parameter and behaviour.
        requests, tokens: spent in all.
        seconds: it took.
        made_at: seconds since 1970.
        defaults: what an empty request gets, by poise's names, what is off left out; None where that is not known
            exactly.
        steps: the order of the steps, as far as it could be told; empty where it could not.
        repeats: whether temperature 0 gave the same text every time.
    """

    url: str
    model: str
    kind: str
    version: str
    identity: str
    dialect: str
    logprobs: Literal["raw", "processed", "none", "unknown"]
    top_logprobs: int
    takes_ids: bool
    findings: tuple[Finding, ...]
    requests: int
    tokens: int
    seconds: float
    made_at: float
    defaults: dict[str, float] | None = None
    steps: tuple[str, ...] = ()
    repeats: bool = False

    def of(self, name: str) -> Finding | None:
        """What was found of one parameter or behaviour; None where it was not looked at."""
        return next((f for f in self.findings if f.name == name), None)

    @property
    def honoured(self) -> frozenset[str]:
        """Parameters that are honoured as poise defines them."""
        return frozenset(f.name for f in self.findings if f.honour == "honoured")

    @property
    def whole(self) -> bool:
        """Whether everything was looked at that was to be."""
        return not any(f.missed for f in self.findings)

    def record(self) -> dict[str, Any]:
        """As plain data, for the study and for JSON."""
        return {**self._asdict(), "findings": [f._asdict() for f in self.findings]}

    @classmethod
    def read(cls, record: dict[str, Any]) -> Probe:
        """From what `record` gave."""
        lists = {"findings": tuple(Finding(**f) for f in record["findings"]), "steps": tuple(record["steps"])}
        return cls(**{**record, **lists})
