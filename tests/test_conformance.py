"""The judge of conformance sees what differs, excuses a boundary and no more; the page says what was run."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scripts.conformance import golden, page
from scripts.conformance.judge import Finding, Said, Score, Stage, judged
from scripts.conformance.known import KNOWN
from scripts.conformance.rows import VALUES, Wanted, groups, rows_of

from poise import law
from poise.dialects import DIALECTS
from poise.params import PARAMETERS, SamplingParams

SAID = Said(law.History((5, 2, 7, 1, 2, 3), (1, 2)))
# Each step with a value, and how much of it another engine would have to read otherwise to be found out.
STEPS = {
    "top_k": (5, 1), "top_p": (0.8, 0.01), "min_p": (0.1, 0.01), "typical_p": (0.6, 0.01),
    "epsilon_cutoff": (0.02, 0.002), "eta_cutoff": (0.03, 0.003), "top_h": (0.55, 0.01),
    "temperature": (0.7, 0.001), "repetition_penalty": (1.3, 0.001),
    "frequency_penalty": (0.5, 0.001), "presence_penalty": (0.5, 0.001), "no_repeat_ngram_size": (2, 1),
    "top_n_sigma": (1.0, 0.02), "dry_multiplier": (0.8, 0.001), "xtc_probability": (1.0, 0.0),
}  # fmt: skip


def rows(seed: int = 1) -> np.ndarray:
    return rows_of(200, 60, np.random.default_rng(seed)).astype(np.float64)


def against(settings: dict, theirs: dict) -> list[Finding]:
    """The law under some settings, judged against an engine that is the law under others."""
    found: list[Finding] = []
    for row in rows():
        after = law.reshape(row, SamplingParams.model_validate(theirs), SAID.history)
        steps = SamplingParams.model_validate(settings).steps
        found += judged(row, settings, SAID, [Stage(steps, after)])
    return found


@pytest.mark.parametrize("name", [n for n in STEPS if STEPS[n][1]])
def test_a_value_read_otherwise_is_seen(name: str) -> None:
    value, by = STEPS[name]
    settings = {name: value, "dialect": "transformers"}
    assert {f.outcome for f in against(settings, settings)} == {"equal"}
    assert "different" in {f.outcome for f in against(settings, {**settings, name: value + by})}


@pytest.mark.parametrize("name", ["top_p", "min_p", "typical_p", "epsilon_cutoff", "top_h", "top_n_sigma"])
def test_a_boundary_within_a_millionth_is_excused(name: str) -> None:
    """Powers of two put masses on the boundary: what is read 5e-7 otherwise is a hit there, and no difference."""
    value = {"top_p": 0.75, "min_p": 0.25, "typical_p": 0.75, "epsilon_cutoff": 0.125}.get(name, STEPS[name][0])
    row = np.log(np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]))
    settings = {name: value, "dialect": "transformers"}
    for factor in (1 - 5e-7, 1 + 5e-7):
        after = law.reshape(row, SamplingParams.model_validate({name: value * factor}))
        [found] = judged(row, settings, SAID, [Stage((name,), after)])
        assert found.outcome in ("equal", "boundary")
    after = law.reshape(row, SamplingParams.model_validate({name: value * (0.3 if name != "min_p" else 3)}))
    [found] = judged(row, settings, SAID, [Stage((name,), after)])
    assert found.outcome == "different"


def test_other_tokens_of_equal_logits_are_a_tie() -> None:
    row = np.array([1.0, 0.0, 0.0, -1.0])
    theirs = np.array([1.0, -np.inf, 0.0, -np.inf])
    [found] = judged(row, {"top_k": 2, "dialect": "llama.cpp"}, SAID, [Stage(("top_k",), theirs)])
    assert found.outcome == "tie"


def test_the_same_tokens_with_other_numbers_differ() -> None:
    row = np.array([1.0, 0.0])
    [found] = judged(row, {"temperature": 0.5}, SAID, [Stage(("temperature",), row * 2.001)])
    assert (found.outcome, found.apart > 1e-5) == ("different", True)


def test_a_step_is_judged_from_the_engines_own_row() -> None:
    """An engine that is wrong in its first step and right in the second is wrong once."""
    row, settings = np.array([3.0, 2.0, 1.0]), {"temperature": 0.5, "top_p": 0.8, "dialect": "transformers"}
    cold = row / 0.9
    after = law.reshape(cold, SamplingParams(top_p=0.8))
    found = list(judged(row, settings, SAID, [Stage(("temperature",), cold), Stage(("top_p",), after)]))
    assert [f.outcome for f in found] == ["different", "equal"]


def test_wrong_dialects_are_seen() -> None:
    """The rows of one engine's rules judged by another's: ties, masses that pass, a strict threshold, scopes."""
    tied = np.array([2.0, 1.0, 1.0, 0.0])
    for settings, mine, theirs in (
        ({"top_k": 2}, "transformers", "llama.cpp"),
        ({"top_p": 0.8, "temperature": 0.5}, "transformers", "llama.cpp"),
        ({"presence_penalty": 1.0}, "transformers", "llama.cpp"),
    ):
        after = law.reshape(tied, SamplingParams(**settings, dialect=theirs), law.History((3,), (1,)))
        steps = SamplingParams(**settings, dialect=mine).steps
        said = Said(law.History((3,), (1,)))
        [found] = judged(tied, {**settings, "dialect": mine}, said, [Stage(steps, after)])
        assert found.outcome == "different", settings


def test_rows_have_ties_infinities_and_edges() -> None:
    wanted = Wanted("transformers", ("temperature", "top_k", "top_p"))
    drawn = list(groups(wanted, 1000, 1))
    assert sum(len(g.logits) for g in drawn) == 1000
    logits = [row for g in drawn for row in g.logits]
    assert sum(np.isneginf(row).any() for row in logits) > 100
    assert sum(len(set(row.tolist())) < row.size / 2 for row in logits) > 100
    assert all(np.isfinite(row[-1]) for row in logits), "one token is never cut"
    assert {len(g.settings) - 1 for g in drawn} == {0, 1, 2, 3}
    again = next(iter(groups(wanted, 1000, 1)))
    assert again.settings == drawn[0].settings


def test_every_parameter_can_be_drawn() -> None:
    assert {n for n in PARAMETERS if n not in VALUES} == {"smoothing_factor", "smoothing_curve", "tfs", "top_a"}


def test_the_page_is_that_of_its_figures() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.page(), "python -m scripts.conformance --rows 0 writes it"


def test_the_figures_are_whole_and_without_a_difference() -> None:
    figures = json.loads(page.FIGURES.read_text(encoding="utf-8"))
    assert {*figures} == {"transformers", "vllm", "llama.cpp", "sglang", "mlx"}
    for dialect, found in figures.items():
        least = 100_000 if dialect in ("transformers", "llama.cpp") else 20_000
        assert found["rows"] + found["undefined"] >= least * 0.98, dialect
        assert found["apart"] <= 1e-5, dialect
        assert not [s for s, counts in found["steps"].items() if counts["different"]], dialect
        seen = {s for steps in found["steps"] for s in steps.split("+")}
        assert seen == {*DIALECTS[dialect].order} - DIALECTS[dialect].extensions, dialect


def test_the_page_names_every_engine_and_known_difference() -> None:
    text = page.PAGE.read_text(encoding="utf-8")
    assert {k.dialect for k in KNOWN} <= {*page.ENGINES}
    assert all(k.engine in text for k in KNOWN)
    assert all(f"`{case}`" in text for case in golden.ELSEWHERE)
    assert "conformance.md" in (page.ROOT / "README.md").read_text(encoding="utf-8")


def test_a_score_keeps_examples() -> None:
    score = Score("x")
    score.add([Finding(("top_k",), "different", 0.0), Finding(("top_k",), "equal", 1e-7)], "row 1")
    assert (score.rows, score.total("different"), score.total("equal"), score.apart) == (1, 1, 1, {("top_k",): 1e-7})
    assert score.examples == {("top_k",): ["0 apart: row 1"]}
