"""One next token through every step of a law, as numbers, tables and pictures."""

from __future__ import annotations

import io
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import poise
from poise import law
from poise.distances import total_variation
from poise.engines.fake import FakeEngine
from poise.errors import PoiseError
from poise.law import History, State
from poise.params import SamplingParams
from poise.records import Prompt
from poise.reports.lawcharts import law_figure, law_spec
from poise.traces import Beside, trace

ROW = [3.0, 2.0, 1.0]
E = math.e


def params(**said: Any) -> SamplingParams:
    return SamplingParams.model_validate(said)


def test_a_nucleus_behind_a_temperature_of_one_half() -> None:
    """T = 0.5 doubles the gaps: 1 / (1 + e^-2 + e^-4) = 0.867 is past 0.8, so that one token stays."""
    t = trace(ROW, params(temperature=0.5, top_p=0.8))
    first, second = t.steps
    assert (first.name, first.kept, first.cut_mass) == ("temperature", 3, 0)
    assert first.probabilities == pytest.approx(np.array([E**4, E**2, 1]) / (E**4 + E**2 + 1))
    assert (second.said, second.kept, second.cut.tolist()) == ("top_p=0.8", 1, [False, True, True])
    assert [second.cut_mass, second.moved] == pytest.approx([(E**2 + 1) / (E**4 + E**2 + 1)] * 2)
    assert t.model == pytest.approx(np.array([E**2, E, 1]) / (E**2 + E + 1))
    assert t.probabilities.tolist() == [1, 0, 0]
    text = str(t)
    for line in ("2 top_p=0.8 1 13.3 % 0.133", "0 0.665 0.867 1.000", "1 0.245 0.117 cut", "2 0.090 0.016 cut"):
        assert line in " ".join(text.split())
    assert repr(t) == text


def test_two_dialects_part_where_one_cuts_what_the_other_keeps() -> None:
    """llama.cpp's nucleus comes first: e^2 / (e^2 + e + 1) = 0.665 is short of 0.8, so that two tokens stay."""
    said = {"temperature": 0.5, "top_p": 0.8}
    found = trace(ROW, params(**said)).beside(trace(ROW, params(**said, dialect="llama.cpp")))
    assert found.parting == ("kept", 2, 1, (1,))
    assert found.total_variation == pytest.approx(1 / (E**2 + 1))  # what the second token still has: e^-2 of the first
    assert found.sentences == [
        "They part at top_p, step 2 of transformers and 1 of llama.cpp: llama.cpp keeps one more token (1)",
        "Total variation 0.1192: in at least 11.9 % of all draws transformers and llama.cpp give different tokens",
    ]
    assert found.sentences[0] in str(found)


def test_laws_of_one_dialect_are_told_apart_by_their_settings_or_their_places() -> None:
    one, other = params(top_k=1), params(top_k=2)
    assert trace(ROW, one).beside(trace(ROW, one)).sentences == ["Both draw from the same law"]
    assert trace(ROW, other).beside(trace(ROW, params(top_k=2, top_p=1))).sentences[0].startswith("Both draw")
    said = trace(ROW, one).beside(trace(ROW, other)).sentences
    assert "temperature=1,top_k=2 keeps one more token (1)" in said[0]
    penalised = params(repetition_penalty=2)
    said = trace(ROW, penalised).beside(trace(ROW, penalised, history=History(output=(0,)))).sentences
    assert "step 1 of the first and of the second" in said[0]
    assert "of all draws the first and the second give different tokens" in said[1]


def test_one_token_is_one_token() -> None:
    assert trace([1.0]).about == "A toy distribution of 1 token"
    assert trace(np.zeros(1200), top=1).about == "A toy distribution of 1,200 tokens"
    assert "“hello” and 1 token under" in trace(FakeEngine(), None, "hello", history=History(output=(1,))).about


def test_an_order_that_changes_nothing_is_no_parting() -> None:
    said = {"temperature": 0.5, "top_k": 2}
    found = trace(ROW, params(**said)).beside(trace(ROW, params(**said, dialect="llama.cpp")))
    assert [s.name for s in found.left.steps] != [s.name for s in found.right.steps]
    assert found.parting is None
    assert found.total_variation == pytest.approx(0, abs=1e-12)
    assert found.sentences == ["transformers and llama.cpp draw from the same law, though by another order of steps"]


def test_a_penalty_that_sees_other_tokens_parts_the_probabilities() -> None:
    """vLLM's repetition penalty counts the prompt, SGLang's does not."""
    history = History(prompt=(0,))
    sides = [trace(ROW, params(repetition_penalty=2, dialect=d), history=history) for d in ("vllm", "sglang")]
    assert sides[0].probabilities == pytest.approx(law.probabilities(np.array([1.5, 2, 1])))
    found = sides[0].beside(sides[1])
    assert found.parting == ("probabilities", 1, 1, ())
    assert "step 1 of vllm and of sglang: the same tokens with other probabilities" in found.sentences[0]


def test_steps_in_another_order_may_part_the_probabilities_alone() -> None:
    """SGLang adds before it scales, vLLM after: 3 / 2 - 1 against (3 - 1) / 2."""
    said = {"repetition_penalty": 2, "presence_penalty": 1}
    sides = [trace(ROW, params(**said, dialect=d), history=History(output=(0,))) for d in ("vllm", "sglang")]
    assert [s.probabilities == pytest.approx(law.probabilities(np.array([x, 2, 1]))) for s, x in
            zip(sides, (0.5, 1.0), strict=True)] == [True, True]  # fmt: skip
    assert sides[0].beside(sides[1]).parting == ("probabilities", 1, 1, ())


def test_xtc_is_what_it_removes_and_how_often() -> None:
    """All of 0.5, 0.3, 0.2 pass the threshold; where it strikes the last of them is left alone."""
    t = trace(np.log([0.5, 0.3, 0.2]), params(xtc_probability=0.5), words=["a", "b", "c"])
    assert t.strikes == 0.5
    assert t.steps[0].probabilities.tolist() == pytest.approx([0, 0, 1])
    assert t.steps[0].cut_mass == pytest.approx(0.8)
    assert t.probabilities == pytest.approx(np.array([0.25, 0.15, 0.6]))
    assert "XTC strikes at 50 % of the steps" in str(t)
    assert "a 0.500 cut 0.250" in " ".join(str(t).split())


def test_mirostat_stands_at_its_start() -> None:
    """Twice 0.5 bits: what has less than half the mass is cut."""
    t = trace(np.log([0.5, 0.3, 0.2]), params(mirostat=2, mirostat_tau=0.5))
    assert t.steps[0].kept == 1
    assert t.steps[0].said == "mirostat=2 (mirostat_tau=0.5)"
    assert any("1 bits" in note for note in t.notes)


def test_notes_say_what_is_taken_otherwise_or_never_looked_at() -> None:
    assert trace(ROW, params(temperature=0, top_p=0.5)).notes == (
        "never looked at, since temperature 0 takes the likeliest token: top_p",
    )
    assert trace(ROW, params(temperature=0.005, dialect="vllm")).notes == ("vllm takes temperature 0.005 as 0.01",)
    assert trace(ROW).notes == ()


def test_what_an_engine_lacks_is_not_called_its_law() -> None:
    """A window in vLLM, an additive penalty in transformers: poise has them there, the engines do not."""
    said = {"repetition_penalty": 1.3, "penalty_last_n": 2}
    sides = [trace(ROW, params(**said, dialect=d), history=History(output=(0, 1, 0))) for d in ("llama.cpp", "vllm")]
    assert sides[0].notes == ()
    assert sides[1].notes == (
        "vllm itself has no penalty_last_n and looks at all tokens: the window is poise's own there",
    )
    both = sides[0].beside(sides[1])
    assert both.sentences == ["llama.cpp and vllm draw from the same law; vllm itself has no penalty_last_n"]
    assert "the window is poise's own there." in str(law_spec(both)["title"]["subtitle"])
    sides = [trace(ROW, params(frequency_penalty=1, dialect=d), history=History(output=(0,)))
             for d in ("transformers", "vllm")]  # fmt: skip
    assert sides[0].notes == ("transformers itself has no frequency_penalty: this step is poise's own there",)
    assert sides[0].beside(sides[1]).sentences[0].endswith("; transformers itself has no frequency_penalty")


def test_the_largest_logits_go_through_the_sharpest_steps() -> None:
    said = {"repetition_penalty": 1e-30, "temperature": 1e-30, "smoothing_factor": 1e30, "top_h": 0.5, "tfs": 0.5}
    t = trace([3.4e38, -3.4e38, -math.inf], params(**said), history=History(output=(0, 1)))
    assert all(s.probabilities.tolist() == [1, 0, 0] for s in t.steps)


def test_without_steps_there_is_the_model_alone() -> None:
    t = trace([0.0, -math.inf, 0.0])
    assert (t.steps, t.probabilities.tolist()) == ((), [0.5, 0, 0.5])
    assert "2" in str(t)


LAWS = st.fixed_dictionaries(
    {},
    optional={
        "temperature": st.floats(0.2, 3), "top_k": st.integers(1, 8), "top_p": st.floats(0.1, 1),
        "min_p": st.floats(0, 1), "typical_p": st.floats(0.1, 1), "repetition_penalty": st.floats(0.5, 2),
        "presence_penalty": st.floats(-2, 2), "eta_cutoff": st.floats(0, 0.3), "top_n_sigma": st.floats(0.2, 3),
        "smoothing_factor": st.just(0) | st.floats(1e-30, 2), "xtc_probability": st.floats(0, 1),
    },
)  # fmt: skip


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=9), LAWS)
def test_a_trace_is_the_law_step_by_step(row: list[float], said: dict[str, float]) -> None:
    history = History((0,), (0,))
    settings_ = params(**said)
    t = trace(row, settings_, history=history)
    want = law.steps(np.array(row), settings_, history)
    assert [s.name for s in t.steps] == [s.name for s in want]
    before = t.model
    for got, step in zip(t.steps, want, strict=True):
        assert np.array_equal(got.probabilities, law.probabilities(step.logits))
        assert got.kept == np.count_nonzero(step.logits > -np.inf)
        assert got.moved == total_variation(before, got.probabilities)
        assert 0 <= got.cut_mass <= got.moved + 1e-12
        before = got.probabilities
    sides = [law.probabilities(law.reshape(np.array(row), settings_, history, State(struck=s))) for s in (True, False)]
    odds = settings_.xtc_probability or 0
    assert t.probabilities == pytest.approx(odds * sides[0] + (1 - odds) * sides[1])
    assert t.beside(t).parting is None


def test_a_model_is_read_after_prompt_and_output() -> None:
    engine = FakeEngine()
    settings_ = params(temperature=0.7, repetition_penalty=1.3)
    prompt_ids = engine.encode(Prompt("the quiet ship"))
    t = trace(engine, settings_, "the quiet ship", history=History(output=(5, 7)))
    toy = trace(engine.bigram(7), settings_, history=History(prompt_ids, (5, 7)), words=engine.words)
    assert np.array_equal(t.probabilities, toy.probabilities)
    assert t.about == "The next token after “the quiet ship” and 2 tokens under fake"
    assert t.word(0) == "end of text"
    assert t.word(2) == "“ ship”"
    assert [t.words[i] for i in t.shown] == [engine.words[i] for i in t.shown]


def test_a_long_vocabulary_is_summed_up() -> None:
    t = trace(FakeEngine(), params(top_k=3), "hello", top=4)
    assert len(t.shown) == 4
    rest = 1 - sum(t.model[i] for i in t.shown)
    assert f"8 others {rest:.3f} cut" in " ".join(str(t).split())


def test_the_others_are_cut_at_the_step_that_cuts_the_last_of_them() -> None:
    """Of 0.4, 0.3, 0.2, 0.1 the nucleus leaves three, min-p two; XTC, where it strikes, one."""
    said = {"top_p": 0.8, "min_p": 0.72, "xtc_probability": 0.5, "dialect": "llama.cpp"}
    t = trace(np.log([0.4, 0.3, 0.2, 0.1]), params(**said), top=1)
    assert t.shown == (1,)  # which XTC lifts to 0.714; at the other half of the steps token 0 is there
    assert "3 others 0.700 0.667 0.571 cut 0.286" in " ".join(str(t).split())
    t = trace(np.log([0.4, 0.3, 0.2, 0.1]), params(top_k=3, top_p=0.3, temperature=0.5, dialect="llama.cpp"), top=1)
    assert "3 others 0.600 0.556 cut ·" in " ".join(str(t).split())
    panels = law_spec(t)["vconcat"][0]["hconcat"]
    assert [(p["data"]["values"][1]["kind"], p["data"]["values"][1]["said"]) for p in panels] == [
        ("others", "0.600"), ("others", "0.556"), ("cut", "0.556 cut"), ("others", "·"),
    ]  # fmt: skip


def test_dry_breakers_of_a_toy_are_its_names() -> None:
    """After a b a the next b would lengthen the repeated a; unless a itself is a breaker."""
    said = {"dry_multiplier": 1.0, "dry_allowed_length": 1}
    history = History(output=(0, 1, 0))
    moved = trace([0.0, 0.0], params(**said), history=history, words=["a", "b"])
    assert moved.probabilities == pytest.approx(law.probabilities(np.array([0.0, -1.0])))
    broken = trace([0.0, 0.0], params(**said, dry_breakers=["a"]), history=history, words=["a", "b"])
    assert broken.probabilities == pytest.approx(np.array([0.5, 0.5]))


def test_guidance_of_a_toy_and_of_a_model() -> None:
    t = trace([1.0, 0.0], params(guidance_scale=2), unconditional=[0.0, 0.0])
    assert t.probabilities == pytest.approx(law.probabilities(np.array([2.0, 0.0])))
    same = trace(FakeEngine(), params(guidance_scale=2), "hello")  # its next token depends on the last one alone
    assert same.probabilities == pytest.approx(same.model)


@pytest.mark.parametrize("count", range(1, 12))
def test_tables_fit_a_hundred_columns(count: int) -> None:
    said = {
        "repetition_penalty": 1.3, "frequency_penalty": 0.25, "presence_penalty": 0.125, "temperature": 0.75,
        "top_n_sigma": 3.0, "top_k": 11, "top_p": 0.95, "min_p": 0.01, "typical_p": 0.95, "epsilon_cutoff": 0.0003,
        "xtc_probability": 0.125,
    }  # fmt: skip
    t = trace(poise.load("fake:hostile"), params(**dict(list(said.items())[:count])), "hello")
    assert max(map(len, str(t).splitlines())) <= 100


def test_hostile_words_are_words() -> None:
    t = trace(poise.load("fake:hostile"), params(top_p=0.9), "hello", top=12)
    for text in (str(t), t._repr_html_()):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "<script>" not in t._repr_html_()
    svg = law_figure(t, "svg").decode()
    assert "<script" not in svg
    assert "<img" not in svg
    shown = {e.text for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")}
    assert {t.word(i) for i in t.shown} <= shown


def test_a_picture_has_a_panel_a_step() -> None:
    t = trace(ROW, params(temperature=0.5, top_p=0.8), words=["a", "b", "c"])
    spec = law_spec(t)
    [row] = spec["vconcat"]
    assert [" ".join(p["title"]["text"]) for p in row["hconcat"]] == [
        "the model", "1\xa0\xa0temperature=0.5", "2\xa0\xa0top_p=0.8",
    ]  # fmt: skip
    assert [p["title"]["subtitle"] for p in row["hconcat"]][1:] == ["moves 20.2 %, 3 left", "cuts 13.3 %, 1 left"]
    last = {v["token"]: (v["kind"], v["said"]) for v in row["hconcat"][2]["data"]["values"]}
    assert last == {"a": ("kept", "1.000"), "b": ("cut", "0.117 cut"), "c": ("cut", "0.016 cut")}
    assert law_figure(t, "png").startswith(b"\x89PNG")
    assert law_figure(t, "pdf").startswith(b"%PDF")
    assert "vconcat" in poise.law_chart(t).to_dict()


def test_a_chart_saves_itself(tmp_path: Path) -> None:
    chart = poise.law_chart(trace(ROW, {"temperature": 0.5, "top_p": 0.8}))  # settings as a dictionary, as lint takes
    chart.save(tmp_path / "law.svg")
    assert "top_p=0.8" in (tmp_path / "law.svg").read_text(encoding="utf-8")
    shown = io.StringIO()
    chart.save(shown, format="html")
    assert "<html" in shown.getvalue()


def test_a_picture_of_two_laws_has_both_and_tells_apart_what_reads_alike() -> None:
    sides = [trace(ROW, params(top_p=0.8, dialect=d), words=["a", "a", "b"]) for d in ("transformers", "mlx")]
    spec = law_spec(sides[0].beside(sides[1]))
    assert [row["title"]["text"] for row in spec["vconcat"]] == ["transformers", "mlx"]
    assert spec["vconcat"][0]["hconcat"][0]["encoding"]["y"]["sort"] == ["a (0)", "a (1)", "b"]


def test_many_steps_take_several_rows() -> None:
    said = {"temperature": 0.7, "top_k": 8, "top_p": 0.9, "min_p": 0.1, "typical_p": 0.9, "eta_cutoff": 0.001}
    spec = law_spec(trace(FakeEngine(), params(**said), "hello"))
    assert [len(row["hconcat"]) for row in spec["vconcat"]] == [5, 2]
    assert all(row["hconcat"][0]["encoding"]["y"]["axis"] for row in spec["vconcat"])


def test_a_picture_of_many_tokens_sums_up_all_but_a_hundred() -> None:
    """The likeliest before or after: a bias lifts the last one, which stands where it stood."""
    row = -np.arange(1500) / 100
    t = trace(row, params(logit_bias={1499: 20.0}, temperature=0.8, top_k=40, top_p=0.9), top=1500)
    [panels] = [row["hconcat"] for row in law_spec(t)["vconcat"]]
    order = panels[0]["encoding"]["y"]["sort"]
    assert order == [*map(str, range(99)), "1499", "1,400 others"]
    sizes = [v["size"] for v in panels[0]["data"]["values"]]
    assert sum(sizes) == pytest.approx(1)
    assert law_figure(t, "svg").startswith(b"<svg")
    both = t.beside(trace(row, params(temperature=0.8, dialect="llama.cpp"), top=1500))
    assert [len(r["hconcat"][0]["data"]["values"]) for r in law_spec(both)["vconcat"]] == [101, 101]


@pytest.mark.parametrize(
    ("ask", "rule"),
    [
        (lambda: trace([]), "logits are numbers"),
        (lambda: trace([1, math.nan]), "logits are numbers"),
        (lambda: trace([-math.inf, -math.inf]), "logits are numbers"),
        (lambda: trace([[1, 2]]), "logits are numbers"),  # type: ignore[list-item]
        (lambda: trace("x"), "logits are numbers"),  # type: ignore[arg-type]
        (lambda: trace([1e308, -1e308, 0], params(temperature=0.001)), "logits lie between -3.4e[+]38 and 3.4e[+]38"),
        (lambda: trace(ROW, params(guidance_scale=2), unconditional=[1e39, 0, 0]), "unconditional lie between"),
        (lambda: trace(ROW, "top_p=0.9"), "Settings are names with values"),  # type: ignore[arg-type]
        (lambda: trace(ROW, {"nonsense": 1}), "A parameter is one of"),
        (lambda: poise.law_chart(trace(ROW)).save("x.txt"), "A chart is saved as svg, png, pdf, html, json"),
        (lambda: poise.law_chart(trace(ROW)).save(io.StringIO()), "A chart is saved as"),
        (lambda: trace(ROW, words=["a"]), "Every token has one name"),
        (lambda: trace(ROW, top=0), "at least one token"),
        (lambda: trace(ROW, None, "hello"), "A prompt needs a model"),
        (lambda: trace(ROW, history=History((7,))), "Token ids here go from 0 to 2"),
        (lambda: trace(ROW, params(guidance_scale=2)), "Guidance looks at logits without the prompt too"),
        (lambda: trace(ROW, params(guidance_scale=2), unconditional=[1]), "one vocabulary"),
        (lambda: trace(ROW, params(logit_bias={9: 1})), "logit_bias takes ids"),
        (lambda: trace(FakeEngine()), "follows a prompt"),
        (lambda: trace(FakeEngine(), None, "hello", history=History(output=(99,))), "of fake go from 0 to 11"),
        (lambda: trace(FakeEngine(), None, "hello", words=["a"]), "An engine has its own words"),
        (lambda: trace(poise.load("fake:nan"), None, "hello"), "A model's logits must be numbers"),
        (lambda: trace(ROW).beside(trace([1, 2, 3])), "on one next token"),
    ],
)  # fmt: skip
def test_what_is_no_trace_says_so(ask: Any, rule: str) -> None:
    with pytest.raises(PoiseError, match=rule):
        ask()


def test_a_record_of_two_laws_is_public() -> None:
    assert isinstance(poise.trace(ROW).beside(poise.trace(ROW)), Beside)
    assert poise.Trace is type(poise.trace(ROW))
