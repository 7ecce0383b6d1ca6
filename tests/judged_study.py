"""A study of three settings that a judge is asked about, and the values that it gets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fake_judge import FakeJudge
from poise.judging import Judging, judge
from poise.metrics import METRICS
from poise.metrics.readings import read_values
from poise.params import SamplingParams
from poise.study import Study
from small_studies import COLD, HOT, WARM

# Of the prompt "why", two draws: COLD is longer, then the same; HOT is shorter, then as long as WARM.
TEXTS = {WARM: {"why": ["xx", "yyy"]}, COLD: {"why": ["xxx", "yyy"]}, HOT: {"why": ["x", "zzz"]}}


def asked(study: Study, server: FakeJudge, **how: Any) -> Judging:
    return judge(study, server.url, "wise", **{"baseline": WARM, **how})


def values(study: Study, use_case: str = "prompt") -> dict[tuple[SamplingParams, int, int], float]:
    """By settings, number of the prompt, draw."""
    readings = read_values(study, use_case, [METRICS["judge"]])
    rows = zip(readings.trial, readings.prompt, readings.draw, readings.columns["judge"], strict=True)
    return {(readings.trials[t].params, int(p), int(d)): float(v) for t, p, d, v in rows if not math.isnan(v)}


def of_why(study: Study) -> Mapping[SamplingParams, list[float | None]]:
    found = values(study)
    return {params: [found.get((params, 0, draw)) for draw in (0, 1)] for params in TEXTS}
