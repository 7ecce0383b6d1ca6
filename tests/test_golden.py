"""Every golden and differential case, under the dialect that determines it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scripts.conformance import golden
from scripts.conformance.golden import Case

from poise import law
from poise.engines.fake import FakeEngine
from poise.errors import ParameterError
from poise.params import SamplingParams
from poise.records import Prompt, Request
from poise.texts import ends_with_stop


@pytest.mark.parametrize("case", golden.RUN, ids=lambda c: c.id)
def test_golden(case: Case) -> None:
    done = law.steps(case.logits, case.params, case.history, unconditional=case.unconditional)
    golden.check(case, done[-1].logits if done else case.logits)


@pytest.mark.parametrize("case", [c for c in golden.GOLDEN if c.form == "stages_size_minid"], ids=lambda c: c.id)
def test_every_stage_of_a_queue(case: Case) -> None:
    """After each step the size and the smallest id are those of the engine's test; ids below it are cut."""
    done = {s.name: s.logits for s in law.steps(case.logits, case.params, case.history)}
    row = case.logits
    for letter, size, first in case.value:
        row = done.get(golden.LETTERS[letter], row)  # top_p 1 and top_k of everything are off
        assert golden.kept(row) == list(range(first, first + size))


@pytest.mark.parametrize("case", [c for c in golden.CASES if c.form == "refused"], ids=lambda c: c.id)
def test_refused(case: Case) -> None:
    with pytest.raises(ParameterError, match="takes a top_p above 0"):
        SamplingParams(top_p=case.params.top_p, dialect=case.params.dialect)


@pytest.mark.parametrize("case", golden.STOPS, ids=lambda c: c["id"])
def test_stop_strings(case: dict) -> None:
    """poise ends a text where a stop string occurs; TGI only where a token ends with it, and then runs on."""
    [text], stop = case["input"].values(), case["params"]["stop"]
    stops = ends_with_stop(lambda ids: text[: len(ids)], range(len(text)), [stop])
    runs_past = not case["expect"]["stops"] and stop in text
    assert stops == (case["expect"]["stops"] or runs_past)
    assert runs_past == (case["id"] in ("tgi-stop-3", "tgi-stop-5"))


@pytest.mark.parametrize("case", golden.LENGTHS, ids=lambda c: c["id"])
def test_min_new_tokens(case: dict) -> None:
    """A model that would end at once ends as soon as transformers lets the end of text through, and no sooner."""
    engine = FakeEngine(bigram=lambda token: np.where(np.arange(12) == 0, 50.0, 0.0))
    request = Request(
        Prompt("hi"),
        engine.encode(Prompt("hi")),
        SamplingParams(),
        0,
        0,
        9,
        min_tokens=case["params"]["min_new_tokens"],
    )
    ids = next(engine.generate([request])).content_ids
    masked = dict(zip(case["input"]["total_len"], case["expect"]["eos_is_masked"], strict=True))
    first = min(total for total, shut in masked.items() if total >= 5 and not shut)
    assert len(ids) == first - case["params"]["prompt_len"] == 3


def ids_of(cases: Sequence[dict]) -> set[str]:
    return {c["id"] for c in cases}


def test_the_lists_are_complete() -> None:
    """Each case is run, is one of texts and lengths, or stands in `ELSEWHERE` with a reason; none is two of them."""
    parts = [{c.id for c in golden.GOLDEN}, ids_of(golden.STOPS), ids_of(golden.LENGTHS), {*golden.ELSEWHERE}]
    assert set.union(*parts) == ids_of(golden.DATA["golden"])
    assert sum(map(len, parts)) == len(golden.DATA["golden"]) == 106
    assert {*golden.GROUPS} == ids_of(golden.DATA["differential"])
    assert all(len(reason) > 20 for reason in golden.ELSEWHERE.values())


def test_every_group_of_a_differential_case_is_run_or_of_no_dialect() -> None:
    for case in golden.DATA["differential"]:
        [groups] = [v for k, v in case.items() if isinstance(v, dict) and k not in ("input", "spec")]
        run = [name for name, *_ in golden.GROUPS[case["id"]]]
        for said in groups:
            mine = [n for n in (*run, *golden.NO_DIALECT.get(case["id"], ())) if said.startswith(n)]
            assert mine, f"{case['id']}: {said}"
    assert {*golden.NO_DIALECT} <= {*golden.GROUPS}


def test_every_dialect_is_there() -> None:
    dialects = {c.params.dialect for c in golden.CASES}
    assert dialects == {"transformers", "vllm", "llama.cpp", "sglang", "mlx", "ollama"}
