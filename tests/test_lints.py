"""Settings looked through: every rule, and what each setting does step by step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise import asks, law
from poise.engines.fake import FakeEngine
from poise.errors import PoiseError
from poise.law import History
from poise.lints import RULES, Lint, influences
from poise.lints.influences import without
from poise.lints.record import KINDS, LEVELS
from poise.params import SamplingParams
from poise.sessions import LogitsEngine

PROMPTS = ["the ship", "a star", "the quiet", "on and on", "sailed", "found a ship", "a quiet star", "and the"]


def params(**said: Any) -> SamplingParams:
    return SamplingParams.model_validate(said)


def found(said: dict[str, Any], **more: Any) -> dict[str, tuple[str, ...]]:
    """Parameters by the rule that speaks of them."""
    return {r.rule: r.parameters for r in poise.lint(params(**said), **more).remarks}


def even(shares: Sequence[float]) -> FakeEngine:
    """A model whose next token has the same known probabilities after every text; token 0, its end, has none."""
    row = np.log([1e-300, *shares])
    return FakeEngine(words=("", *(f" {c}" for c in "abcdefgh"[: len(shares)])), bigram=lambda _: row)


CASES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "biased-and-barred": ({"logit_bias": {4: 2}, "bad_words": [[4]]}, ("logit_bias", "bad_words")),
    "greedy-dynamic": ({"temperature": 0, "dynatemp_range": 0.5}, ("temperature", "dynatemp_range")),
    "never-acts": ({"temperature": 0, "top_p": 0.9, "min_p": 0.1}, ("top_p", "min_p")),
    "taken-otherwise": ({"temperature": 0.005, "dialect": "vllm"}, ("temperature",)),
    "own-window": (
        {"frequency_penalty": 0.5, "penalty_last_n": 10, "dialect": "vllm"}, ("penalty_last_n",),
    ),
    "zero-is-off": ({"top_p": 0, "dialect": "mlx"}, ("top_p",)),
    "one-token": ({"temperature": 0.7, "top_k": 1, "min_p": 0.1}, ("temperature", "min_p")),
    "eta-behind-epsilon": ({"epsilon_cutoff": 0.001, "eta_cutoff": 0.0005}, ("eta_cutoff",)),
    "top-a-behind-min-p": ({"min_p": 0.2, "top_a": 0.1}, ("top_a",)),
    "short-dry-window": ({"dry_multiplier": 1, "dry_last_n": 2}, ("dry_multiplier",)),
    "mirostat-and-cuts": ({"mirostat": 2, "top_k": 40}, ("mirostat", "top_k")),
    "single-words": ({"no_repeat_ngram_size": 1}, ("no_repeat_ngram_size",)),
    "in-other-units": ({"eta_cutoff": 0.3}, ("eta_cutoff",)),
    "double-counting": (
        {"repetition_penalty": 1.2, "frequency_penalty": 0.3}, ("repetition_penalty", "frequency_penalty"),
    ),
    "zero-bias": ({"logit_bias": {3: 0}}, ("logit_bias",)),
    "barred-and-dried": (
        {"no_repeat_ngram_size": 3, "dry_multiplier": 1}, ("no_repeat_ngram_size", "dry_multiplier"),
    ),
    "rewards-repetition": ({"presence_penalty": -1}, ("presence_penalty",)),
    "few-left": ({"top_k": 2, "top_p": 0.9}, ("top_k", "top_p")),
    "typical-and-others": ({"top_p": 0.9, "typical_p": 0.9}, ("typical_p", "top_p")),
    "always-strikes": ({"xtc_probability": 1}, ("xtc_probability",)),
    "hot-tail": ({"temperature": 2}, ("temperature",)),
    "bent-curve": ({"smoothing_factor": 1, "smoothing_curve": 4}, ("smoothing_curve",)),
    "away-from-the-prompt": ({"guidance_scale": 0.5}, ("guidance_scale",)),
    "prompt-counts": ({"repetition_penalty": 1.2}, ("repetition_penalty",)),
    "which-cuts": ({"top_p": 0.9, "min_p": 0.1}, ("top_p", "min_p")),
    "neutral": ({"top_p": 1}, ("top_p",)),
    "usual": ({"xtc_probability": 0.5, "xtc_threshold": 0.1}, ("xtc_threshold",)),
}  # fmt: skip
WITH_MORE: dict[str, dict[str, Any]] = {
    "greedy-draws": {"params": params(temperature=0), "draws": 8},
    "whole-vocabulary": {"params": params(top_k=12), "engine": FakeEngine(), "prompts": "hello", "steps": 2},
    "token-beyond-vocabulary": {"params": params(logit_bias={12: 1}), "engine": FakeEngine(), "prompts": "hello"},
}


@pytest.mark.parametrize("rule", CASES)
def test_every_rule_finds_what_it_is_for(rule: str) -> None:
    said, about = CASES[rule]
    assert found(said)[rule] == about


@pytest.mark.parametrize("rule", WITH_MORE)
def test_rules_that_look_at_more_than_settings(rule: str) -> None:
    assert rule in {r.rule for r in poise.lint(**WITH_MORE[rule]).remarks}


def test_what_is_not_measured_is_said() -> None:
    lint = poise.lint(**WITH_MORE["token-beyond-vocabulary"])
    assert lint.influences == ()
    assert "until then nothing is measured" in " ".join(str(lint).split())


def test_no_rule_is_without_a_case() -> None:
    assert {*CASES, *WITH_MORE} == {*RULES}
    assert {rule.kind for rule in RULES.values()} <= {*KINDS}


@pytest.mark.parametrize(
    "said",
    [
        {}, {"temperature": 0.7}, {"temperature": 0}, {"temperature": 0.7, "top_p": 0.9}, {"min_p": 0.1},
        {"mirostat": 2, "dialect": "llama.cpp"}, {"frequency_penalty": 0.5}, {"top_k": 40, "dialect": "vllm"},
        {"temperature": 1.5, "min_p": 0.1}, {"dry_multiplier": 0.8}, {"logit_bias": {3: -5.0}},
    ],
)  # fmt: skip
def test_plain_settings_are_left_alone(said: dict[str, Any]) -> None:
    assert poise.lint(said).remarks == ()
    assert "nothing to remark" in str(poise.lint(said))


def test_remarks_come_by_weight_and_read_as_sentences() -> None:
    lint = poise.lint(params(temperature=0, top_p=0.9, min_p=0.0), draws=8)
    assert [(r.level, r.rule) for r in lint.remarks] == [
        ("error", "greedy-draws"), ("warning", "never-acts"), ("note", "neutral"),
    ]  # fmt: skip
    assert str(lint.remarks[0]) == (
        "error: temperature=0 draws the same text every time: 8 draws are one. Take one draw, or a temperature above 0."
    )
    assert not lint.clean
    assert max(map(len, str(lint).splitlines())) <= 96
    assert "<td>error</td>" in lint._repr_html_()


@pytest.mark.parametrize(
    ("said", "about"),
    [
        (
            {"temperature": 0, "xtc_probability": 0.5},
            None,
        ),  # the coin decides which tokens are there to be the likeliest
        ({"temperature": 0, "xtc_probability": 1}, "temperature"),
        ({"temperature": 0, "xtc_probability": 0.5, "xtc_threshold": 0.6}, "temperature"),
        ({"temperature": 0, "xtc_probability": 0.5, "top_k": 1}, "top_k"),
        ({"temperature": 0, "xtc_probability": 0.5, "dialect": "mlx"}, "temperature"),
        ({"top_k": 1}, "top_k"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": 1, "dialect": "transformers"}, None),  # tokens that tie stay
        ({"top_k": 1, "xtc_probability": 0.5, "dialect": "mlx"}, None),
        ({"top_p": 0, "dialect": "mlx"}, None),
    ],
)
def test_several_draws_of_one_text(said: dict[str, Any], about: str | None) -> None:
    remarks = {r.rule: r for r in poise.lint({"dialect": "llama.cpp", **said}, draws=4).remarks}
    assert remarks["greedy-draws"].parameters == (about,) if about else "greedy-draws" not in remarks
    assert about != "top_k" or remarks["greedy-draws"].next_step == "Take one draw, or a larger top_k"


def test_several_that_never_act_are_one_remark() -> None:
    [remark] = poise.lint(params(temperature=0, top_p=0.9, min_p=0.1)).remarks
    assert remark.said.startswith("top_p=0.9 and min_p=0.1 change nothing: temperature 0")
    [remark] = poise.lint(params(xtc_probability=0.5, xtc_threshold=0.6)).remarks
    assert remark.parameters == ("xtc_probability",)  # its threshold goes with it


ROWS = st.lists(st.floats(-8, 8), min_size=2, max_size=9)
INERT: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "never-acts": st.one_of(
        st.fixed_dictionaries({"temperature": st.just(0), "top_p": st.floats(0, 1), "typical_p": st.floats(0.1, 1)}),
        st.fixed_dictionaries({
            "temperature": st.just(0), "top_p": st.floats(0.1, 1), "min_p": st.floats(0, 1),
            "dialect": st.just("llama.cpp"),
        }),
        st.fixed_dictionaries({"xtc_probability": st.floats(0.1, 1), "xtc_threshold": st.floats(0.51, 1)}),
        st.fixed_dictionaries({"presence_penalty": st.floats(0.1, 1), "penalty_last_n": st.just(0)}),
    ),
    "eta-behind-epsilon": st.floats(0.001, 0.5).flatmap(
        lambda e: st.fixed_dictionaries({"epsilon_cutoff": st.just(e), "eta_cutoff": st.floats(1e-6, e)})
    ),
    "top-a-behind-min-p": st.floats(0.01, 1).flatmap(
        lambda m: st.fixed_dictionaries(
            {"min_p": st.just(m), "top_a": st.floats(1e-6, m)}, optional={"typical_p": st.floats(0.1, 1)}
        )
    ),
    "short-dry-window": st.integers(1, 4).flatmap(
        lambda n: st.fixed_dictionaries({
            "dry_multiplier": st.just(1.0), "dry_last_n": st.just(n), "dry_allowed_length": st.integers(n, 5),
        })
    ),
}  # fmt: skip


@given(st.data(), st.sampled_from(sorted(INERT)), ROWS)
def test_what_is_said_to_change_nothing_changes_nothing(data: st.DataObject, rule: str, row: list[float]) -> None:
    """The law with it and without it keeps the same tokens with the same probabilities, on any row."""
    said = params(**data.draw(INERT[rule]))
    remarks = [r for r in poise.lint(said).remarks if r.rule == rule]
    history = History((0, 1), (1, 0, 1))
    for name in [n for r in remarks for n in r.parameters]:
        with_it, bare = (law.reshape(np.array(row), p, history) for p in (said, without(said, name)))
        assert np.array_equal(with_it > -np.inf, bare > -np.inf)
        assert law.probabilities(with_it) == pytest.approx(law.probabilities(bare), abs=1e-12)


@given(st.lists(st.integers(-900, 900), min_size=2, max_size=9, unique=True), st.floats(0.1, 3), st.floats(0.05, 1))
def test_one_token_is_one_token(row: list[int], heat: float, cut: float) -> None:
    """Where no logits tie."""
    said = params(temperature=heat, top_k=1, min_p=cut, top_p=cut)
    about = found({"temperature": heat, "top_k": 1, "min_p": cut, "top_p": cut})["one-token"]
    assert {"temperature", "min_p", "top_p"} - {*about} <= {n for n in ("temperature", "top_p", "min_p")
                                                           if n not in said.active()}  # fmt: skip
    kept = np.flatnonzero(law.reshape(np.array(row) / 100, said) > -np.inf)
    assert kept.tolist() == [int(np.argmax(row))]


def test_a_target_says_what_it_loses_changes_and_adds() -> None:
    lint = poise.lint(params(temperature=0.7, top_p=0.9, min_p=0.1, typical_p=0.9), to="vllm")
    by_rule = {r.rule: r for r in lint.remarks}
    assert by_rule["target-lacks"].parameters == ("typical_p",)
    assert by_rule["target-lacks"].level == "error"
    assert {*by_rule["target-changes"].parameters} == {"top_p", "min_p"}  # they change places: said once
    assert [r.rule for r in lint.remarks].count("target-changes") == 1


def test_a_target_with_the_temperature_last_reads_min_p_otherwise() -> None:
    """Before the temperature the same tokens pass min_p ** T: 0.25 ** 0.5."""
    [remark] = [r for r in poise.lint(params(temperature=0.5, min_p=0.25), to="mlx").remarks if r.level != "note"]
    assert (remark.rule, remark.next_step) == ("target-writes", "Write min_p=0.5 there")


def test_defaults_act_where_nothing_is_said() -> None:
    rules = [(r.rule, r.parameters) for r in poise.lint(params(temperature=0.7, top_k=20), to="ollama").remarks]
    assert rules == [("target-default", ("top_p",)), ("target-changes", ("top_k",))]
    assert "temperature is left out, and mlx then takes greedy" in str(poise.lint({}, to="mlx"))
    assert poise.lint(params(temperature=0), to="llama.cpp").remarks == ()  # all of them keep the likeliest token


def test_remarks_do_not_contradict_each_other() -> None:
    idle = found({"repetition_penalty": 1.1, "penalty_last_n": 0, "dialect": "llama.cpp"})
    assert "never-acts" in idle
    assert "prompt-counts" not in idle
    one = found({"top_k": 1, "top_p": 0.9})
    assert one["one-token"] == ("top_p",)
    assert "which-cuts" not in one
    some = found({"top_p": 0.9, "min_p": 0.2, "top_a": 0.1})
    assert (some["top-a-behind-min-p"], some["which-cuts"]) == (("top_a",), ("top_p", "min_p"))
    window = poise.lint(params(repetition_penalty=1.1, penalty_last_n=10), to="transformers")
    assert "poise looks at the last 10 tokens, transformers at all tokens" in " ".join(str(window).split())
    assert "transformers looks at" not in str(window)


def test_how_much_is_promised_only_where_it_can_be_measured() -> None:
    def steps(**more: Any) -> set[str]:
        remarks = poise.lint(**more).remarks
        return {r.next_step for r in remarks if r.rule == "target-changes"}

    assert steps(params=params(frequency_penalty=0.5), to="openai") == {"How much cannot be measured: compare texts"}
    assert steps(params=params(typical_p=0.9, temperature=0.5), to="llama.cpp") == {
        "`poise export` to llama.cpp says by how much"
    }


def test_defaults_that_the_target_drops_do_not_act() -> None:
    """Beside mirostat llama.cpp has biases and the temperature alone."""
    for target in ("llama.cpp", "llama-server", "gguf"):
        for said, about in (({"temperature": 0.7, "top_k": 5}, set()), ({}, {"temperature"})):
            remarks = poise.lint(params(mirostat=2, **said), to=target).remarks
            assert {n for r in remarks if r.rule == "target-default" for n in r.parameters} == about


def test_an_order_that_the_target_has_to_be_told() -> None:
    lint = poise.lint(params(temperature=0.7, top_p=0.9, top_k=40, min_p=0.0), to="llama.cpp")
    [remark] = [r for r in lint.remarks if r.rule == "target-order"]
    assert remark.parameters == ("temperature", "top_p")
    same = poise.lint(params(temperature=0.7, top_p=0.9, dialect="llama.cpp"), to="llama-server")
    assert not [r for r in same.remarks if r.rule == "target-order"]


@pytest.mark.parametrize("dialect", ["vllm", "sglang", "transformers"])
def test_a_window_is_poise_s_own_where_the_engine_has_none(dialect: str) -> None:
    said = {"repetition_penalty": 1.2, "penalty_last_n": 10}
    assert "own-window" in found({**said, "dialect": dialect})
    assert "own-window" not in found({**said, "dialect": dialect}, to="llama.cpp")  # there it is llama.cpp's
    for other in ("llama.cpp", "mlx", "temperature-last"):
        assert "own-window" not in found({**said, "dialect": other})


def test_shares_and_distances_are_those_of_a_known_model() -> None:
    """p = 0.5, 0.3, 0.2. Without the nucleus of 0.75 the last token stays: TV 0.2. top_k=3 cuts none."""
    engine = even([0.5, 0.3, 0.2])
    lint = poise.lint(params(top_k=3, top_p=0.75), engine=engine, prompts=PROMPTS)
    nucleus, count = lint["top_p"], lint["top_k"]
    assert (nucleus.law, nucleus.kept, nucleus.steps, nucleus.texts, nucleus.prompts) == (1, 1, 256, 8, 8)
    assert nucleus.total_variation == pytest.approx(0.2)
    assert 0.1 < nucleus.token < 0.3  # the last token wins 20 % of all draws, and nothing else changes hands
    assert (nucleus.bound, nucleus.high) == (None, 1)
    assert (count.law, count.kept, count.token, count.total_variation) == (0, 0, 0, None)
    assert count.bound == pytest.approx(3 / 256)
    [remark] = [r for r in lint.remarks if r.rule == "no-effect"]
    assert (remark.parameters, remark.said) == (
        ("top_k",), "top_k=3 changed nothing at 256 steps; it does at 1.2 % at most",
    )  # fmt: skip
    assert "top_k=3 0 % at most 1.2 % 0 % 0 %" in " ".join(str(lint).split())


def test_a_parameter_is_measured_with_what_shapes_it() -> None:
    """XTC takes 0.5 away in half of the steps: 0.25 moves; a threshold of 0.1 in place of 0.25 lets the last pass."""
    lint = poise.lint(
        params(xtc_probability=0.5, xtc_threshold=0.25), engine=even([0.5, 0.3, 0.2]), prompts="hello", texts=4
    )
    assert lint["xtc_probability"].total_variation == pytest.approx(0.25)
    assert lint["xtc_threshold"].total_variation == pytest.approx(0.5 * 0.6)  # 0.6 and 0.4 against all on the last
    assert lint["xtc_probability"].kept == 0  # steps where it does not strike keep all


def test_followers_go_with_their_leader() -> None:
    whole = params(dry_multiplier=1, dry_base=2, dry_breakers=["x"], repetition_penalty=1.2, penalty_last_n=8)
    assert without(whole, "dry_multiplier").label == "temperature=1,repetition_penalty=1.2,penalty_last_n=8"
    assert without(whole, "repetition_penalty").label == "temperature=1,dry_multiplier=1,dry_base=2,dry_breakers=x"
    assert without(whole, "dry_base").dry_base is None


@pytest.mark.parametrize(
    "said",
    [
        {"temperature": 0.8}, {"temperature": 0}, {"temperature": 0.9, "xtc_probability": 0.5, "xtc_threshold": 0.1},
        {"mirostat": 2, "mirostat_tau": 2.0, "mirostat_eta": 0.5}, {"repetition_penalty": 1.5, "top_p": 0.9},
        {"dynatemp_range": 0.5, "temperature": 0.8}, {"dry_multiplier": 2.0, "dry_allowed_length": 1},
    ],
)  # fmt: skip
def test_the_texts_are_those_that_poise_draws(said: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Token by token, coin and mirostat's memory included."""
    engine, drawn = FakeEngine(), {}
    real = influences._go_on

    def watched(engine: LogitsEngine, text: Any, *more: Any) -> None:
        real(engine, text, *more)
        drawn[text.prompt_ids, text.key] = text.output

    monkeypatch.setattr(influences, "_go_on", watched)
    poise.lint(params(**said), engine=engine, prompts=PROMPTS[:2], texts=4, steps=12)
    draws = 1 if said.get("temperature") == 0 else 2
    texts = poise.generate(engine, PROMPTS[:2], params(**said), draws=draws, max_tokens=12)
    assert sorted(drawn.values()) == sorted(t.token_ids for t in texts)
    assert len(drawn) == 2 * draws


def test_a_greedy_prompt_is_drawn_once_and_many_prompts_are_spread() -> None:
    lint = poise.lint(params(temperature=0), engine=FakeEngine(), prompts=["the ship", "a star"], steps=4)
    assert (lint["temperature"].texts, lint["temperature"].prompts) == (2, 2)
    case = poise.load_use_case("creative-story")
    lint = poise.lint(params(temperature=0.7), engine=FakeEngine(), prompts=case, texts=3, steps=4)
    assert (lint["temperature"].texts, lint["temperature"].prompts) == (3, 3)
    assert "3 prompts of creative-story" in lint.about
    assert lint["temperature"].low is None
    assert any("no interval" in note for note in lint.notes)


def test_progress_is_told() -> None:
    seen: list[tuple[int, int]] = []
    ask = asks.ask_all(FakeEngine(), PROMPTS[:2], asks.Options(max_tokens=5))
    influences.measure_influences(FakeEngine(), params(top_k=3), ask, 1, lambda done, total: seen.append((done, total)))
    assert seen[:2] == [(1, 10), (2, 10)]
    assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("more", "rule"),
    [
        ({"to": "nowhere"}, "A target is one of"),
        ({"draws": 0}, "draws is a whole number of at least 1"),
        ({"texts": 0}, "texts is a whole number"),
        ({"steps": True}, "steps is a whole number"),
        ({"engine": FakeEngine()}, "Texts are drawn of prompts"),
        ({"engine": poise.load("fake:nan"), "prompts": "hello"}, "A model's logits must be numbers"),
        ({"params": {"nonsense": 1}}, "A parameter is one of"),
        ({"params": params(guidance_scale=2), "engine": FakeEngine(), "prompts": "hello"}, "second pass"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_through_says_so(more: dict[str, Any], rule: str) -> None:
    with pytest.raises(PoiseError, match=rule):
        poise.lint(**{"params": params(temperature=0.7), **more})


def test_a_lint_is_public_and_its_levels_are_ordered() -> None:
    assert isinstance(poise.lint({"temperature": 1}), Lint)
    assert poise.Lint is Lint
    assert LEVELS == ("error", "warning", "note")
