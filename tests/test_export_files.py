"""Settings on disk: read as engines read them, refused with a reason, copied into GGUF files, measured."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import poise
from poise import law
from poise.dialects import DIALECTS
from poise.errors import PoiseError, StudyError, UsageError
from poise.exports import ggufs
from poise.exports.catalogue import TARGETS
from poise.exports.measuring import TOKENS
from poise.exports.reading import read_found
from poise.goals import read_goal
from poise.law import History, State
from poise.params import SamplingParams
from small_studies import COLD, WARM, study_of

WHERE = Path(__file__).parent
RICH = SamplingParams(temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, repetition_penalty=1.1)


def gguf_file(path: Path, **said: float) -> Path:
    """A file of one tensor and one list, with some sampling keys."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "b"])
    for key, value in said.items():
        writer.add_float32(f"general.sampling.{key}", value)
    writer.add_tensor("output.weight", np.arange(64, dtype=np.float32).reshape(2, 32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize("name", TARGETS)
def test_a_file_says_whose_it_is(name: str, tmp_path: Path) -> None:
    for form in TARGETS[name].sheets:
        found = poise.export(RICH, name, form=form)
        path = tmp_path / found.file
        path.write_text(found.text, encoding="utf-8")
        if name in ("sglang", "openai"):
            with pytest.raises(UsageError, match=r"could be for .*Name its --format"):
                poise.read(path)
        elif form != "keys":  # of a GGUF file, which text is none
            assert read_found(path).format in (name, {"llama-server": "llama.cpp"}.get(name))
        assert poise.read(found.text, name) == found.params


def test_transformers_loads_the_file_without_a_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    transformers = pytest.importorskip("transformers")
    for params in (RICH, SamplingParams(temperature=0, repetition_penalty=1.2), SamplingParams(
        top_h=0.5, logit_bias={5: 1.5, 7: -math.inf}, bad_words=[[1, 2]], no_repeat_ngram_size=3)):  # fmt: skip
        poise.export(params, "transformers").write(tmp_path / "generation_config.json")
        with caplog.at_level(logging.DEBUG):
            config = transformers.GenerationConfig.from_pretrained(tmp_path)
            config.validate(strict=True)
        assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []
        assert config.do_sample is not params.greedy
        assert config.repetition_penalty == (params.repetition_penalty or 1.0)
        assert config._poise["target"] == "transformers"
        config.save_pretrained(tmp_path)
        assert poise.read(tmp_path / "generation_config.json") == poise.export(params, "transformers").params


def test_every_field_of_transformers_is_known() -> None:
    transformers = pytest.importorskip("transformers")
    sheet = TARGETS["transformers"].sheets["json"]
    law = {*sheet.names.values(), sheet.switch, sheet.bars, sheet.words, "sequence_bias"}
    assert {*vars(transformers.GenerationConfig())} <= law | sheet.apart | {*sheet.neutral}


def test_settings_go_into_a_copy_of_a_gguf_file(tmp_path: Path) -> None:
    source = gguf_file(tmp_path / "model.gguf", temp=0.3, top_p=0.5)
    found = poise.export(RICH, "gguf")
    copy = found.write(tmp_path / "copy.gguf", source)
    assert poise.read(copy) == found.params
    assert found.params.penalty_last_n == 1_048_576
    before, after = gguf.GGUFReader(source), gguf.GGUFReader(copy)
    assert np.array_equal(before.tensors[0].data, after.tensors[0].data)
    assert after.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    assert after.fields["general.sampling.temp"].contents() == pytest.approx(0.7)
    assert json.loads(after.fields[ggufs.ORIGIN].contents())["settings"] == RICH.label
    assert sorted(p.name for p in tmp_path.iterdir()) == ["copy.gguf", "model.gguf"]
    assert poise.read(source).label == "temperature=0.3,top_k=40,top_p=0.5,min_p=0.05,dialect=llama.cpp"
    again = poise.export(SamplingParams(temperature=0), "gguf").write(tmp_path / "again.gguf", copy)
    assert poise.read(again).label == "temperature=0,dialect=llama.cpp", "no old key stays"


def test_llama_cpp_reads_six_decimals(tmp_path: Path) -> None:
    path = gguf_file(tmp_path / "m.gguf", min_p=0.0000004, top_p=0.1234567)
    assert poise.read(path).min_p is None
    assert poise.read(path).top_p == 0.123457


@pytest.mark.parametrize("spoil", ["text", "head", "itself", "other", "none"])
def test_a_gguf_file_that_is_none_leaves_nothing(spoil: str, tmp_path: Path) -> None:
    source = gguf_file(tmp_path / "model.gguf")
    whole = source.read_bytes()
    target, name = tmp_path / "copy.gguf", "gguf"
    if spoil == "text":
        source.write_text("hello")
    elif spoil == "head":
        source.write_bytes(whole[:60])
    elif spoil == "itself":
        target = source
    elif spoil == "other":
        name = "vllm"
    else:
        source = tmp_path / "missing.gguf"
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(UsageError) as error:
        poise.export(RICH, name).write(target, source)
    assert error.value.next_step
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    with pytest.raises(UsageError, match="GGUF"):
        poise.export(RICH, "gguf").write(tmp_path / "keys.gguf")


def test_an_artefact_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = poise.export(RICH, "vllm")
    path = found.write(tmp_path / "a.py")
    assert path.read_text("utf-8") == found.text
    with pytest.raises(UsageError, match="the folder"):
        found.write(tmp_path)

    def full(self: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(PoiseError, match="No space left"):
        poise.export(SamplingParams(), "vllm").write(path)
    monkeypatch.undo()
    assert path.read_text("utf-8") == found.text
    assert [p.name for p in tmp_path.iterdir()] == ["a.py"]


def test_how_much_is_the_distance_between_two_laws_on_the_models_own_tokens() -> None:
    engine = poise.load("fake")
    params = SamplingParams(temperature=0.7, xtc_probability=0.25, xtc_threshold=0.1)
    found = poise.export(params, "vllm", engine=engine, prompts="the ship")
    [completion] = poise.generate(engine, "the ship", params, max_tokens=TOKENS)
    prompt, tokens = completion.request.prompt_ids, completion.token_ids
    logits = engine.session(99, 1).score(prompt, tokens)  # type: ignore[attr-defined]
    apart = []
    for i, row in enumerate(logits):
        history = History(prompt, tokens[:i])
        struck, spared = (law.probabilities(law.reshape(row, params, history, State(s))) for s in (True, False))
        there = law.probabilities(law.reshape(row, found.params, history))
        apart.append(abs(0.25 * struck + 0.75 * spared - there).sum() / 2)
    assert found.total_variation is not None
    assert found.total_variation.mean == pytest.approx(np.mean(apart), abs=1e-12)
    assert found.total_variation.highest == pytest.approx(max(apart), abs=1e-12)
    assert found.total_variation.tokens == len(tokens)
    [lost] = found.losses
    assert lost.total_variation == found.total_variation
    assert "of 32 next tokens on fake" in found.text


def test_each_loss_is_measured_by_itself() -> None:
    engine = poise.load("fake")
    params = SamplingParams(temperature=0.7, top_p=0.8, xtc_probability=0.5, mirostat=2, guidance_scale=1.5)
    found = poise.export(params, "ollama", engine=engine, prompts=["the ship", "the quiet"])
    alone = {o.parameter: o.total_variation for o in found.losses}
    assert {*alone} == {"top_p", "xtc_probability", "mirostat", "guidance_scale"}
    without = poise.export(SamplingParams(temperature=0.7, top_p=0.8), "ollama", engine=engine, prompts="the ship")
    assert all(share is not None and 0 <= share.mean <= share.highest <= 1 for share in alone.values())
    exact = poise.export(SamplingParams(temperature=0.7, min_p=0.2), "ollama", engine=engine, prompts="the ship")
    assert exact.total_variation is not None
    assert exact.total_variation.highest < 1e-12
    assert without.total_variation is not None
    assert without.total_variation.mean > 0.01


def test_what_cannot_be_measured_is_said() -> None:
    engine = poise.load("fake")
    found = poise.export(RICH, "openai", engine=engine, prompts="the ship")
    assert found.total_variation is None
    assert any("cannot be measured" in note for note in found.notes)
    with pytest.raises(UsageError, match="a model without prompts"):
        poise.export(RICH, "vllm", engine=engine)
    with pytest.raises(UsageError, match="prompts without one"):
        poise.export(RICH, "vllm", prompts="hi")
    with pytest.raises(UsageError, match="Settings or a study"):
        poise.export("temperature=0.7", "vllm")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="are a study's"):
        poise.export(RICH, "vllm", setting="greedy")
    with pytest.raises(UsageError, match="written as json or flags, but got 'python'"):
        poise.export(RICH, "vllm-server", form="python")


def study(folder: Path, goal: dict[str, Any] | None = None) -> poise.Study:
    """Texts under 0.3, and 3 or 5 tokens longer ones under 0.7."""
    added = {COLD: (0, 0), WARM: (3, 5)}
    texts = {params: {f"p{i}": ["x" * (20 + i + add[i % 2])] for i in range(16)} for params, add in added.items()}
    found = study_of(folder, texts)
    if goal is not None:
        found.keep_goal("prompt", read_goal(goal))
    return found


def test_a_study_is_exported_at_what_its_verdict_recommends(tmp_path: Path) -> None:
    with study(tmp_path, {"raise": "length", "baseline": "temperature=0.3"}) as opened:
        found = poise.export(opened, "ollama")
        other = poise.export(opened, "ollama", setting="temperature=0.3")
    assert found.source == WARM
    assert found.origin.evidence.startswith("prompt: Use temperature=0.7: it was shown to raise length")
    assert "# evidence: prompt: Use temperature=0.7" in found.text
    assert "# study: small.db" in found.text
    assert "# model: toy" in found.text
    assert (other.source, other.origin.evidence) == (COLD, "")


def test_a_study_without_a_verdict_asks_for_a_setting(tmp_path: Path) -> None:
    with study(tmp_path) as opened:
        with pytest.raises(UsageError, match=r"no verdict.*--setting"):
            poise.export(opened, "vllm")
        with pytest.raises(StudyError, match="A trial here is one of"):
            poise.export(opened, "vllm", setting="temperature=2")
        with pytest.raises(StudyError, match="belongs to one model"):
            poise.export(opened, "vllm", setting="temperature=0.3", engine=poise.load("fake"))


def test_a_studys_own_texts_are_measured_along(tmp_path: Path) -> None:
    engine = poise.load("fake")
    drawn = poise.sweep(engine, ["the ship", "the quiet"], poise.grid(temperature=[0.9], top_p=0.8), draws=2,
                        max_tokens=8, study=tmp_path / "s.db", baselines=False)  # fmt: skip
    found = poise.export(drawn, "ollama", engine=engine)
    drawn.close()
    assert found.total_variation is not None
    assert found.total_variation.prompts == 2
    assert 8 < found.total_variation.tokens <= 16


def test_every_dialect_can_be_left() -> None:
    """Wherever settings come from, each target takes what it can and says the rest."""
    load: Callable[[str], str] = lambda name: poise.export(SamplingParams(temperature=0.5, dialect=name), "vllm").text  # noqa: E731
    assert all("temperature=0.5" in load(name) for name in DIALECTS)
