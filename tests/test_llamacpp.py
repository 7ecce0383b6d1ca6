"""llama.cpp in process: exact replay, the same tokens as elsewhere, errors by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("llama_cpp", reason="the extra `llamacpp` is not here: pip install -e '.[llamacpp]' compiles it")
pytest.importorskip("gguf", reason="writes GGUF files with the extra `local`")

import gguf
import llama_cpp.llama_cpp as lib

import poise
import tiny_models
from poise.engines import llamacpp_library, llamacpp_session
from poise.engines.conformance import EngineConformance, same
from poise.engines.llamacpp import LlamaCppEngine, baselines
from poise.errors import EngineError, ModelError, PromptError
from poise.models import ModelFiles
from poise.params import SamplingParams
from poise.records import Completion, Message, Prompt, Request
from test_conversion import write_gguf

Write = Callable[..., Path]
STORED = gguf.GGMLQuantizationType
TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7}
PROMPT = "Once upon a time, in a distant galaxy, there was a spaceship called Voyager."


@pytest.fixture(scope="module")
def write(tiny_model: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Write:
    """Writes a tiny model's GGUF file: kind, type of its matrices, what `write_gguf` takes."""
    folder = tmp_path_factory.mktemp("gguf")

    def writer(kind: str, stored: str = "F32", **more: Any) -> Path:
        number = len(list(folder.iterdir()))
        widths = {"qwen3__attention__value_length": 16} if kind == "qwen3" else {}
        said = {"general__file_type": TYPES[stored], **widths, **more}
        return write_gguf(folder / f"{kind}-{number}.gguf", tiny_model(kind), stored=STORED[stored], **said)

    return writer


@pytest.fixture(scope="module")
def tiny(write: Write) -> LlamaCppEngine:
    return loaded(write("qwen2", tokenizer__chat_template=tiny_models.CHATML))


@pytest.fixture(scope="module")
def small(embedded_files: ModelFiles) -> LlamaCppEngine:
    """The embedded model as llama.cpp computes it. For tests marked `model`."""
    return loaded("smollm2")


def loaded(path: Path | str, **options: Any) -> LlamaCppEngine:
    engine = poise.load(f"llamacpp:{path}", **options)
    assert isinstance(engine, LlamaCppEngine)
    return engine


def drawn(engine: LlamaCppEngine, prompt: str = "the ship", tokens: int = 12, **params: Any) -> Completion:
    given = Prompt(prompt)
    return next(iter(engine.generate([Request(given, engine.encode(given), SamplingParams(**params), 0, 0, tokens)])))


@pytest.mark.parametrize(
    "engine", [("llama", "F32"), ("qwen2", "F16"), ("qwen3", "Q8_0"), ("llama", "Q4_0"), ("qwen2", "Q4_1")],
    indirect=True, ids=str,
)  # fmt: skip
class TestTiny(EngineConformance):
    """Tiny models of several architectures and types hold what every engine must."""

    replays = 12

    @pytest.fixture(scope="class")
    def engine(self, request: pytest.FixtureRequest, write: Write) -> LlamaCppEngine:
        return loaded(write(*request.param))

    def test_its_bits_were_verified(self, engine: LlamaCppEngine) -> None:
        assert engine.fingerprint.provenance["replay"] == "verified"


class TestWide(EngineConformance):
    """So does a model in 4-bit K-quants, whose kernels change at eight rows."""

    replays = 12

    @pytest.fixture(scope="class")
    def engine(self, tmp_path_factory: pytest.TempPathFactory) -> LlamaCppEngine:
        folder = tmp_path_factory.mktemp("wide")
        made = tiny_models.build("llama", folder / "model", hidden_size=256, intermediate_size=512)
        plain, packed = write_gguf(folder / "plain.gguf", made), folder / "packed.gguf"
        wanted = lib.llama_model_quantize_default_params()
        wanted.ftype, wanted.pure = lib.LLAMA_FTYPE_MOSTLY_Q4_K_M, True
        assert lib.llama_model_quantize(bytes(plain), bytes(packed), wanted) == 0
        return loaded(packed)

    def test_its_bits_were_verified(self, engine: LlamaCppEngine) -> None:
        print = engine.fingerprint
        assert (print.dtype, print.provenance["replay"]) == ("Q4_K_M", "verified")


@pytest.mark.model
class TestEmbedded(EngineConformance):
    """So does the embedded model."""

    settings = EngineConformance.settings[:5]
    replays = 8
    max_tokens = 6

    @pytest.fixture(scope="class")
    def engine(self, small: LlamaCppEngine) -> LlamaCppEngine:
        return small


def test_logits_are_those_of_transformers(write: Write, tiny_model: Callable[[str], Path]) -> None:
    """Float32 weights; llama.cpp keeps keys and values in half precision."""
    for kind in ("llama", "qwen2", "qwen3"):
        ours, theirs = loaded(write(kind)), poise.load(f"hf:{tiny_model(kind)}", dtype="float32")
        prompt = Prompt("the ship was old and the crew was small")
        ids = ours.encode(prompt)
        assert ids == theirs.encode(prompt)
        found = []
        for engine in (ours, theirs):
            session = engine.session(len(ids) + 2, 4)  # type: ignore[attr-defined]
            rows, first = session.prefill([ids])
            _, second = session.advance(rows * 2, [7, 11])
            found.append(np.concatenate([first.numpy(), second.numpy()]))
        assert np.abs(found[0] - found[1]).max() < 0.02, kind


@pytest.mark.model
def test_tokens_are_those_of_the_converted_model(small: LlamaCppEngine) -> None:
    other = poise.load("smollm2")
    texts = [PROMPT, "12 stars\n\n\tand é 世界 😀", " <|im_end|> ", "x", "a  b   c", "It's 3.14159, don't you think?"]
    for text in texts:
        assert small.encode(Prompt(text)) == other.encode(Prompt(text)), text
        ids = small.encode(Prompt(text))
        assert small.decode(ids) == other.decode(ids)  # type: ignore[attr-defined]
    for turns in ([Message("user", "Hi")], [Message("system", "Be brief."), Message("user", "Hi <|im_end|>")]):
        chat = Prompt(messages=tuple(turns))
        assert small.encode(chat) == other.encode(chat)
    assert small.eos_ids >= other.eos_ids  # type: ignore[attr-defined]
    assert small.context_length == other.context_length


@pytest.mark.model
def test_a_dial_replays(small: LlamaCppEngine, tmp_path: Path) -> None:
    [dial] = poise.dial(small, PROMPT, "temperature", 0, 1.5, max_tokens=10, study=tmp_path / "d.db")
    assert len(dial.pieces) > 3
    rng = np.random.default_rng(0)
    for value in rng.uniform(0.01, 1.5, 6).tolist():
        assert drawn(small, PROMPT, 10, temperature=value).token_ids == tuple(dial.at(value).token_ids)


def test_a_tiny_dial_replays(tiny: LlamaCppEngine, tmp_path: Path) -> None:
    for parameter, high in (("temperature", 2.0), ("top_p", 1.0)):
        [dial] = poise.dial(tiny, "the ship", parameter, 0, high, max_tokens=16, study=tmp_path / f"{parameter}.db")
        for value in np.random.default_rng(1).uniform(0.01, high, 12).tolist():
            assert drawn(tiny, tokens=16, **{parameter: value}).token_ids == tuple(dial.at(value).token_ids)


def test_a_sweep_is_resumed_with_the_same_texts(tiny: LlamaCppEngine, tmp_path: Path) -> None:
    settings = poise.grid(temperature=[0.5, 1.0, 1.5])
    once = poise.sweep(tiny, ["the ship", "the crew"], settings, draws=4, max_tokens=10, study=tmp_path / "a.db")
    poise.sweep(tiny, ["the crew"], settings[:1], draws=2, max_tokens=10, study=tmp_path / "b.db")
    twice = poise.sweep(tiny, ["the ship", "the crew"], settings, draws=4, max_tokens=10, study=tmp_path / "b.db")
    first, second = ({c.request: c for c in study.completions()} for study in (once, twice))
    assert first.keys() == second.keys()
    assert all(same(first[r], second[r]) for r in first)


def test_scores_are_those_of_drawing(tiny: LlamaCppEngine) -> None:
    text = drawn(tiny, temperature=0.8)
    ids, found = tiny.score(Prompt("the ship"), text.text)
    if ids == text.content_ids:
        assert np.abs(found - text.logprobs[: len(ids)]).mean() < 0.05
    assert (found <= 0).all()
    with pytest.raises(PromptError, match="at least one token"):
        tiny.score(Prompt("the ship"), "")
    with pytest.raises(PromptError, match="must fit"):
        tiny.score(Prompt("the ship"), "star " * 600)


def test_a_session_scores_beside_living_rows(tiny: LlamaCppEngine) -> None:
    ids = tiny.encode(Prompt("the ship"))
    session = tiny.session(24, 2)
    rows, _ = session.prefill([ids])
    (child,), before = session.advance(rows, [9])
    scored = session.score(ids, [9, 10, 11])
    session.drop([child])
    _, after = session.advance(rows, [9])
    assert np.array_equal(before, after)
    assert np.abs(scored[1] - before[0]).max() < 0.05


def test_long_prompts_and_many_rows_replay(tiny: LlamaCppEngine) -> None:
    """Past a block of 256 cells, beside short ones, with more rows than one batch holds."""
    prompts = [Prompt("the ship " * n) for n in (1, 40, 90)]
    asked = [Request(p, tiny.encode(p), SamplingParams(temperature=1.4), 1, d, 20) for p in prompts for d in range(50)]
    whole = {c.request: c for c in tiny.generate(asked)}
    for request in (asked[0], asked[49], asked[50], asked[99], asked[120]):
        assert same(next(iter(tiny.generate([request]))), whole[request])


def test_the_fingerprint_says_what_decides(tiny: LlamaCppEngine, write: Write) -> None:
    same_file = loaded(write("qwen2", tokenizer__chat_template=tiny_models.CHATML)).fingerprint
    assert same_file.deciding() == tiny.fingerprint.deciding()
    found = loaded(write("qwen2", "Q8_0", tokenizer__chat_template="{{ messages[0].content }}")).fingerprint
    assert (tiny.fingerprint.dtype, found.dtype) == ("F32", "Q8_0")
    assert found.weights != tiny.fingerprint.weights
    assert found.template != tiny.fingerprint.template
    assert found.path.startswith("llama.cpp/")
    assert {"llama.cpp", "threads", "device", "replay", "law"} <= found.provenance.keys()


def test_templates(tiny: LlamaCppEngine, write: Write) -> None:
    chat = Prompt(messages=(Message("user", "the ship"),))
    said = b"".join(tiny.model.piece(i, special=True) for i in tiny.encode(chat)).decode()
    assert said == "<|im_start|>user\nthe ship<|im_end|>\n<|im_start|>assistant\n"
    bare = loaded(write("qwen2"))
    assert not bare.has_template
    with pytest.raises(PromptError, match="--text"):
        bare.encode(chat)
    with pytest.raises(ModelError, match="enable_thinking"):
        tiny.think(True)
    thinks = "{{ messages[0].content }}{% if enable_thinking %}<think>{% endif %}{{ eos_token }}"
    model = loaded(write("qwen2", tokenizer__chat_template=thinks), thinking=True)
    assert model.decode(model.encode(chat)) == "the ship"
    assert model.thinking_tags is not None
    assert not model.opens_thinking(model.encode(chat)), "the end of text comes after it"
    model._template = thinks.replace("{{ eos_token }}", "")
    assert model.opens_thinking(model.encode(chat))
    refusing = loaded(write("qwen2", tokenizer__chat_template="{{ raise_exception('no system') }}"))
    with pytest.raises(PromptError, match="no system"):
        refusing.encode(chat)
    wrong = loaded(write("qwen2", tokenizer__chat_template="{{ messages[0].content + 1 }}"))
    with pytest.raises(PromptError, match="must accept the messages"):
        wrong.encode(chat)


def test_baselines() -> None:
    found = baselines("llamacpp:x.gguf", {})
    assert found["engine-default"].label == "temperature=0.8,top_k=40,top_p=0.95,min_p=0.05,dialect=temperature-last"
    assert "vendor" not in found
    said = {"general.sampling.temp": "0.600000", "general.sampling.top_k": "0", "general.sampling.top_p": "0.950000"}
    found = baselines("llamacpp:x.gguf", said)
    assert found["vendor"] == SamplingParams(temperature=0.6, top_p=0.95, dialect="temperature-last")
    assert found["engine-default"] == SamplingParams(
        temperature=0.6, top_p=0.95, min_p=0.05, dialect="temperature-last"
    )
    assert set(baselines("x", {"general.sampling.mirostat": "2"})) == {"greedy"}
    assert baselines("llamacpp:Qwen3-8B-Q4_K_M.gguf", {})["vendor"].top_k == 20
    with pytest.raises(ModelError, match=r"general\.sampling"):
        baselines("x", {"general.sampling.top_p": "1.5"})


def test_the_file_recommends(write: Write) -> None:
    engine = loaded(write("llama", general__sampling__temp=0.5, general__sampling__min_p=0.25))
    assert engine.baselines["vendor"] == SamplingParams(temperature=0.5, min_p=0.25, dialect="temperature-last")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtype": "float32"}, "Leave --dtype out"),
        ({"device": "cuda"}, "Leave --device out"),
        ({"trust_remote_code": True}, "no code"),
    ],
)
def test_options_without_meaning(write: Write, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        loaded(write("llama"), **options)


def test_files_that_are_no_model(tmp_path: Path, write: Write) -> None:
    whole = write("llama", "Q8_0").read_bytes()
    cases = {
        "nothing here": (None, "takes a GGUF file"),
        "other": (b"PK\x03\x04 and more", "letters GGUF"),
        "cut": (whole[: len(whole) * 2 // 3], "whole.*not within the file bounds"),
        "head": (whole[:600], "whole"),
        "strange": (whole.replace(b"llama", b"lxama", 1), "know the model's architecture.*lxama"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / f"{name}.gguf"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            loaded(path)
    for name in ("", str(tmp_path)):
        with pytest.raises(ModelError, match="takes a GGUF file"):
            loaded(name)


def test_a_vocabulary_alone_is_no_model(tmp_path: Path, write: Write) -> None:
    with pytest.raises(ModelError, match=r"hold a model.*output_norm\.weight"):
        loaded(write("llama", without="output_norm.weight"))
    bare = gguf.GGUFReader(write("llama"))
    writer = gguf.GGUFWriter(tmp_path / "v.gguf", "llama")
    for name, field in bare.fields.items():
        if name.startswith(("llama.", "tokenizer.")):
            kind, value = field.types[0], field.contents()
            writer.add_array(name, value) if kind is gguf.GGUFValueType.ARRAY else writer.add_key_value(
                name, value, kind
            )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"hold a model.*token_embd\.weight"):
        loaded(tmp_path / "v.gguf")


def test_models_that_continue_no_text(tiny: LlamaCppEngine, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_library.lib, "llama_model_is_recurrent", lambda model: True)
    with pytest.raises(ModelError, match="recurrent"):
        loaded(write("llama"))
    monkeypatch.undo()
    with pytest.raises(ModelError, match="encoder"):
        loaded(write("llama", llama__attention__causal=False))


def test_a_prompt_that_is_too_long(tiny: LlamaCppEngine) -> None:
    with pytest.raises(PromptError, match="512"):
        poise.sweep(tiny, "star " * 600, poise.grid(temperature=0.5), max_tokens=4)


def test_memory_that_is_short(tiny: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_session, "free_memory", lambda: 1000)
    with pytest.raises(EngineError, match="free memory"):
        tiny.session(100, 4)
    monkeypatch.undo()
    monkeypatch.setattr(llamacpp_library.lib, "llama_init_from_model", lambda model, params: None)
    with pytest.raises(EngineError, match="memory"):
        tiny.session(100, 4)


def test_a_step_that_fails(tiny: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp_library.lib, "llama_decode", lambda context, batch: -3)
    with pytest.raises(EngineError, match="code -3"):
        drawn(tiny)
