"""Engines on tiny models of seven architectures: exact, and equal to transformers."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

import poise
import tiny_models
from poise.engines import certificates, hf, llama, local_session
from poise.engines.conformance import EngineConformance
from poise.engines.fake import FakeEngine
from poise.engines.hf_stock import StockStep
from poise.engines.llama import LlamaStep
from poise.engines.local import LocalEngine, baselines
from poise.engines.slots import BLOCK, LayerShape, Slots
from poise.engines.weights import Linear
from poise.errors import EngineError, ModelError, PromptError
from poise.params import SamplingParams
from poise.records import Message, Prompt, Request

KINDS = ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3")
OURS = {"llama", "qwen2", "qwen3"}  # mistral has a window here
Folder = Callable[[str], Path]


class TestFake(EngineConformance):
    """The fake engine holds what every engine must."""

    @pytest.fixture(scope="class")
    def engine(self) -> FakeEngine:
        return FakeEngine()


@pytest.mark.parametrize("engine", [(k, d) for k in KINDS for d in ("float32", "bfloat16")], indirect=True, ids=str)
class TestTiny(EngineConformance):
    """So do tiny models of every architecture, in both dtypes."""

    replays = 10
    max_tokens = 24  # past the windows of 16 and past a block

    @pytest.fixture(scope="class")
    def engine(self, request: pytest.FixtureRequest, tiny_model: Folder) -> LocalEngine:
        kind, dtype = request.param
        return poise.load(f"hf:{tiny_model(kind)}", dtype=dtype)  # type: ignore[return-value]


@pytest.fixture
def pairs(request: pytest.FixtureRequest, tiny_model: Folder) -> tuple[LocalEngine, transformers.PreTrainedModel]:
    folder = tiny_model(request.param)
    engine = poise.load(f"hf:{folder}", dtype="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return engine, model  # type: ignore[return-value]


@pytest.mark.parametrize("pairs", KINDS, indirect=True)
def test_greedy_equals_transformers_generate(pairs: tuple[LocalEngine, transformers.PreTrainedModel]) -> None:
    """80 tokens in float32: past sliding windows of 16 and past the first block of the cache."""
    engine, model = pairs
    prompt = Prompt("Once upon a time, in a distant galaxy, the ship was old")
    ids = engine.encode(prompt)
    asked = Request(prompt, ids, SamplingParams(temperature=0), 0, 0, 80, 80)
    ours = next(iter(engine.generate([asked]))).token_ids
    theirs = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=80, min_new_tokens=80, pad_token_id=0)
    assert list(ours) == theirs[0, len(ids) :].tolist()


@pytest.mark.parametrize("pairs", KINDS, indirect=True)
def test_rows_of_several_lengths_equal_a_plain_forward(
    pairs: tuple[LocalEngine, transformers.PreTrainedModel],
) -> None:
    engine, model = pairs
    texts = ["a", "the ship was old and the crew was small", "to change one block is to change every block " * 3]
    prompts = [engine.encode(Prompt(t)) for t in texts]
    session = engine.session(200, 8)
    rows, first = session.prefill(prompts)
    tokens = [7, 11, 13]
    _, logits = session.advance(rows, tokens)
    for i, (ids, token) in enumerate(zip(prompts, tokens, strict=True)):
        with torch.no_grad():
            plain = model(torch.tensor([[*ids, token]])).logits[0]
        assert torch.allclose(first[i], plain[-2], atol=2e-4)
        assert torch.allclose(logits[i], plain[-1], atol=2e-4)


@pytest.mark.parametrize("pairs", KINDS, indirect=True)
def test_our_decoder_is_used_where_it_fits(pairs: tuple[LocalEngine, transformers.PreTrainedModel]) -> None:
    engine, model = pairs
    kind = model.config.model_type
    path = engine.fingerprint.path
    assert path.startswith("llama-inplace" if kind in OURS else "stock"), (kind, path)
    assert engine.fingerprint.provenance["replay"] == "verified"


def test_a_decoder_that_disagrees_is_not_used(tiny_model: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "read", lambda name: None)
    monkeypatch.setattr(certificates, "write", lambda name, certificate: None)
    monkeypatch.setattr(llama, "_turn", lambda x, cos, sin: x)  # forgets the positions
    engine = poise.load(f"hf:{tiny_model('llama')}", dtype="float32")
    assert engine.fingerprint.path.startswith("stock")


def test_a_device_that_fails_its_self_test_is_marked(tiny_model: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificates, "read", lambda name: None)
    monkeypatch.setattr(certificates, "write", lambda name, certificate: None)
    real = StockStep.__call__

    def wobbly(self: StockStep, tokens: torch.Tensor, places: list, slots: Slots, pad: object) -> torch.Tensor:
        return real(self, tokens, places, slots, pad) + 1e-3 * len(places)

    monkeypatch.setattr(StockStep, "__call__", wobbly)
    engine = poise.load(f"hf:{tiny_model('gpt2')}", dtype="float32")
    assert engine.fingerprint.provenance["replay"] == "unverified"


@pytest.mark.parametrize("load", [{}, {"trust_remote_code": True}], ids=["native", "hf"])
def test_where_packed_weights_change_bits_they_stay_plain(
    load: dict, tiny_model: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kernel for packed weights whose last bits depend on the number of rows."""
    monkeypatch.setattr(certificates, "read", lambda name: None)
    monkeypatch.setattr(certificates, "write", lambda name, certificate: None)
    real = Linear.__call__

    def wobbly(self: Linear, x: torch.Tensor) -> torch.Tensor:
        return real(self, x) + (0 if self.packed is None else 1e-6 * len(x))

    monkeypatch.setattr(Linear, "__call__", wobbly)
    engine = poise.load(f"hf:{tiny_model('llama')}", dtype="float32", **load)
    assert engine.fingerprint.path.startswith(LlamaStep.NAMES[False])
    assert engine.fingerprint.provenance["replay"] == "verified"


def test_padding_is_found_where_few_rows_differ(tiny_model: Folder) -> None:
    """A step whose bits are others below ten rows is padded to sixteen."""
    step = StockStep(transformers.AutoModelForCausalLM.from_pretrained(tiny_model("gpt2")).eval(), "eager")

    class Lonely:
        name, dtype, device, vocab_size = step.name, step.dtype, step.device, step.vocab_size
        shapes, read, products = step.shapes, step.read, list

        def __call__(self, tokens: torch.Tensor, places: list, slots: Slots, pad: object) -> torch.Tensor:
            found = [step(tokens[i : i + 1], places[i : i + 1], slots, lambda n: 16) for i in range(len(places))]
            return torch.cat(found) + (1e-3 if pad(len(places)) < 10 else 0)  # type: ignore[operator]

    assert local_session.self_test(Lonely()) == (16, 16, 192, True)


def test_large_batches_are_split_where_their_bits_differ(tiny_model: Folder) -> None:
    """A step that rounds otherwise above 40 rows computes at most 32 at once."""
    step = StockStep(transformers.AutoModelForCausalLM.from_pretrained(tiny_model("gpt2")).eval(), "eager")

    class Two:
        name, dtype, device, vocab_size = step.name, step.dtype, step.device, step.vocab_size
        shapes, read, products = step.shapes, step.read, list

        def __call__(self, tokens: torch.Tensor, places: list, slots: Slots, pad: object) -> torch.Tensor:
            found = [step(tokens[i : i + 1], places[i : i + 1], slots, lambda n: 16) for i in range(len(places))]
            size = pad(len(places))  # type: ignore[operator]
            return torch.cat(found) + (1e-3 * size if size > 40 else 0)

    padding = local_session.self_test(Two())
    assert padding == (8, 1, 32, True)
    session = local_session.LocalSession(Two(), padding, 40, 60)
    rows, _ = session.prefill([[1, 2, 3]] * 50)
    _, whole = session.advance(rows, list(range(50)))
    again, _ = session.prefill([[1, 2, 3]])
    _, alone = session.advance(again, [49])
    assert torch.equal(whole[49], alone[0])


def slots(count: int = 4) -> Slots:
    made = Slots(count, BLOCK, torch.float32, torch.device("cpu"))
    made.allocate([LayerShape(1, 2, 1, 2)])
    return made


def test_a_first_child_takes_its_parents_slot_and_others_copy() -> None:
    store = slots()
    parent = store.open(3)
    store.keys[0][0, 0, 0, :3] = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    one, two = store.extend([parent, parent])
    assert store.places[one] == (0, 4)
    assert store.places[two] == (1, 4)
    assert torch.equal(store.keys[0][0, 1], store.keys[0][0, 0])


def test_a_slot_is_used_again_once_nothing_living_lies_behind_the_parent() -> None:
    store = slots(2)
    parent = store.open(3)
    (child,) = store.extend([parent])
    store.drop([child])
    (again,) = store.extend([parent])
    assert store.places[again] == (0, 4)
    store.drop([parent, again])
    assert store.places[store.open(1)].slot == 0


def test_untouched_storage_holds_no_nan() -> None:
    assert torch.isfinite(slots().values[0]).all()


def test_a_text_too_long_for_memory_is_refused(tiny_model: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = poise.load(f"hf:{tiny_model('gpt2')}", dtype="float32")
    monkeypatch.setattr(local_session, "free_bytes", lambda device: 1000)
    with pytest.raises(EngineError, match="free memory"):
        engine.session(1024, 4)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        ("gpt5", {}, "hf:gpt5"),
        ("fake:none", {}, "fake:none"),
        ("fake", {"dtype": "float32"}, "Leave --dtype out"),
        ("smollm2:x", {}, "written smollm2"),
    ],
)
def test_unknown_models(spec: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        poise.load(spec, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("option", [{"dtype": "int8"}, {"device": "abacus"}, {"device": "cuda:99"}])
def test_unknown_dtypes_and_devices(option: dict[str, str], tiny_model: Folder) -> None:
    with pytest.raises(ModelError, match=next(iter(option))):
        poise.load(f"hf:{tiny_model('gpt2')}", **option)  # type: ignore[arg-type]


def test_messages_go_through_the_template_and_need_one(tiny_model: Folder) -> None:
    turns = Prompt(messages=(Message("user", "the ship"),))
    engine = poise.load(f"hf:{tiny_model('qwen2')}")
    assert isinstance(engine, LocalEngine)
    rendered = engine.parts.codec.decode(engine.encode(turns), special=True)
    assert rendered == "<|im_start|>user\nthe ship<|im_end|>\n<|im_start|>assistant\n"
    with pytest.raises(PromptError, match="--text"):
        poise.load(f"hf:{tiny_model('gpt2')}").encode(turns)


def test_baselines_come_from_the_generation_config(tiny_model: Folder) -> None:
    vendor = SamplingParams(temperature=0.6, top_p=0.95, top_k=20)
    found = poise.load(f"hf:{tiny_model('qwen2')}").baselines
    assert found == {"greedy": SamplingParams(temperature=0), "engine-default": vendor, "vendor": vendor}
    assert set(poise.load(f"hf:{tiny_model('gpt2')}").baselines) == {"greedy", "engine-default"}
    sampled = baselines({"do_sample": True, "temperature": 1.0})
    assert sampled["engine-default"] == SamplingParams(top_k=50), "transformers samples with top_k 50"
    assert "vendor" not in sampled


@pytest.fixture
def stock(embedded_files: object) -> LocalEngine:
    return hf.make(embedded_files, dtype="float32", fast=False)  # type: ignore[arg-type]


@pytest.mark.model
def test_the_embedded_model_through_both_decoders(stock: LocalEngine) -> None:
    """In float32 our decoder and transformers' code write the same 40 greedy tokens."""
    ours = poise.load("smollm2", dtype="float32")
    prompt = Prompt("The capital of France is")
    ids = ours.encode(prompt)
    assert ids == stock.encode(prompt)
    asked = Request(prompt, ids, SamplingParams(temperature=0), 0, 0, 40)
    one, two = (next(iter(e.generate([asked]))) for e in (ours, stock))
    assert ours.fingerprint.path != stock.fingerprint.path
    assert one.token_ids == two.token_ids
    assert one.text.startswith(" Paris")


@pytest.mark.model
def test_the_embedded_model_loads_without_transformers(embedded_files: object) -> None:
    """A second load imports nothing of transformers: that alone would take longer than the model."""
    import subprocess
    import sys

    poise.load("smollm2")
    code = "import sys, poise; poise.load('smollm2'); sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def copied(tiny_model: Folder, kind: str, to: Path) -> Path:
    """A tiny model's folder, to be spoiled."""
    return Path(shutil.copytree(tiny_model(kind), to))


def test_weights_that_are_not_there_are_refused_not_made_up(tiny_model: Folder, tmp_path: Path) -> None:
    folder = copied(tiny_model, "qwen2", tmp_path / "broken")
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    safetensors.torch.save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="up_proj"):
        poise.load(f"hf:{folder}", dtype="float32")


def test_a_model_that_masks_by_itself_is_refused(tmp_path: Path) -> None:
    """GPT-Neo takes a row's place from the length of the cache: its rows in slots would be wrong without a word."""
    config = transformers.GPTNeoConfig(
        vocab_size=384, hidden_size=32, num_layers=2, num_heads=2, window_size=16,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=256, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tiny_models.tokenizer("gpt2").save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="gpt_neo"):
        poise.load(f"hf:{tmp_path}", dtype="float32")


def test_a_text_longer_than_the_context_is_not_scored(tiny_model: Folder) -> None:
    engine = poise.load(f"hf:{tiny_model('gpt2')}", dtype="float32")
    assert isinstance(engine, LocalEngine)
    assert engine.context_length is not None
    with pytest.raises(PromptError, match="must fit"):
        engine.score(Prompt("the ship"), "star " * engine.context_length)


def test_a_makers_recommendation_out_of_range_is_named_as_theirs() -> None:
    assert baselines({"do_sample": True, "top_k": -1, "temperature": 0.6})["vendor"] == SamplingParams(temperature=0.6)
    with pytest.raises(ModelError, match="generation_config"):
        baselines({"do_sample": True, "top_p": 1.5})
