"""GGUF files become what transformers loads: the same weights, the same tokens."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from poise.engines import conversion
from poise.engines.gguf_tokenizer import CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Vocabulary, build
from poise.errors import ModelError
from poise.models import ModelFiles, find

TinyModel = Callable[[str], Path]
TEXT = "Once upon a time, the captain had 12 stars and a secret: <s>"
F32, Q8_0 = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0


def in_pairs(rows: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Query or key rows as GGUF files of llama's architecture order them: row i beside row i + head_dim / 2."""
    heads = rows.reshape(-1, head_dim, rows.shape[-1])
    order = [j for i in range(head_dim // 2) for j in (i, i + head_dim // 2)]
    return heads[:, order].reshape(rows.shape)


def write_gguf(
    path: Path,
    directory: Path,
    *,
    stored: gguf.GGMLQuantizationType = F32,
    without: str = "",
    renamed: Mapping[str, str] | None = None,
    **extra: Any,
) -> Path:
    """Write a tiny model as a GGUF file.

    Args:
        path: the file.
        directory: the model as transformers saved it.
        stored: the type of its matrices.
        without: a tensor or key left out.
        renamed: tensors by another name.
        extra: further keys, with __ for a dot, over what is written otherwise.
    """
    config = json.loads((directory / "config.json").read_text())
    tokenizer = json.loads((directory / "tokenizer.json").read_text())
    kind = config["model_type"]
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    keys: dict[str, Any] = {
        f"{kind}.block_count": config["num_hidden_layers"],
        f"{kind}.context_length": config["max_position_embeddings"],
        f"{kind}.embedding_length": config["hidden_size"],
        f"{kind}.feed_forward_length": config["intermediate_size"],
        f"{kind}.attention.head_count": config["num_attention_heads"],
        f"{kind}.attention.head_count_kv": config["num_key_value_heads"],
        f"{kind}.attention.key_length": head_dim,
        f"{kind}.attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
        f"{kind}.rope.freq_base": float(config["rope_parameters"]["rope_theta"]),
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": vocabulary,
        "tokenizer.ggml.token_type": [CONTROL if token in special else NORMAL for token in vocabulary],
        "tokenizer.ggml.merges": [" ".join(merge) for merge in tokenizer["model"]["merges"]],
        "tokenizer.ggml.eos_token_id": config["eos_token_id"],
    }
    keys.update({name.replace("__", "."): value for name, value in extra.items()})
    writer = gguf.GGUFWriter(path, kind)
    for name, value in keys.items():
        if name != without and name != "general.architecture":
            add(writer, name, value)
    for name, weight in AutoModelForCausalLM.from_pretrained(directory).state_dict().items():
        values = weight.numpy()
        if kind == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = in_pairs(values, head_dim)
        short = gguf_name(name)
        if short == without or (short == "output.weight" and config["tie_word_embeddings"]):
            continue
        packs = stored is not F32 and values.ndim > 1 and values.shape[-1] % 32 == 0
        data = gguf.quantize(values, stored) if packs else np.ascontiguousarray(values)
        writer.add_tensor((renamed or {}).get(short, short), data, raw_dtype=stored if packs else None)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer: gguf.GGUFWriter, name: str, value: Any) -> None:
    adders = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32, str: writer.add_string}
    adders.get(type(value), writer.add_array)(name, value)


def gguf_name(name: str) -> str:
    """The name that GGUF files give a tensor, written out here independently of the converter."""
    short = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    stem, _, ending = name.rpartition(".")
    if stem in short:
        return f"{short[stem]}.{ending}"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{short[part]}.{ending}"


def converted(path: Path) -> Path:
    target = path.with_suffix(".made")
    target.mkdir()
    conversion.convert(path, target)
    return target


def logits(directory: Path, ids: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_the_converted_model_is_the_model(tiny_model: TinyModel, tmp_path: Path, kind: str) -> None:
    made = converted(write_gguf(tmp_path / "m.gguf", tiny_model(kind)))
    before, after = AutoTokenizer.from_pretrained(tiny_model(kind)), AutoTokenizer.from_pretrained(made)
    ids = before(TEXT)["input_ids"]
    assert after(TEXT)["input_ids"] == ids
    assert after.decode(ids) == TEXT
    assert after.eos_token == before.eos_token
    assert torch.equal(logits(made, ids), logits(tiny_model(kind), ids)), "float32 weights are kept to the bit"


def test_quantised_weights_become_bfloat16(tiny_model: TinyModel, tmp_path: Path) -> None:
    import tiny_models

    wide = tiny_models.build("llama", tmp_path / "wide", hidden_size=64, intermediate_size=128)
    made = converted(write_gguf(tmp_path / "m.gguf", wide, stored=Q8_0))
    assert json.loads((made / "config.json").read_text())["dtype"] == "bfloat16"
    assert (made / "model.safetensors").stat().st_size < 0.6 * (wide / "model.safetensors").stat().st_size
    ids = [5, 6, 7, 8]
    difference = (logits(made, ids) - logits(wide, ids)).abs().mean().item()
    assert 0 < difference < 0.05, "logits spread over some nats; eight bits move them by hundredths"


def test_what_the_file_recommends_is_kept(tiny_model: TinyModel, tmp_path: Path) -> None:
    extra: dict[str, Any] = {
        "general__sampling__temp": 0.7,
        "general__sampling__top_k": 20,
        "tokenizer__chat_template": "{{ 1 }}",
    }
    made = converted(write_gguf(tmp_path / "m.gguf", tiny_model("qwen2"), **extra))
    said = json.loads((made / "generation_config.json").read_text())
    assert said == {"do_sample": True, "temperature": 0.7, "top_k": 20}
    assert (made / "chat_template.jinja").read_text() == "{{ 1 }}"
    silent = converted(write_gguf(tmp_path / "n.gguf", tiny_model("qwen2")))
    assert not (silent / "generation_config.json").exists()
    assert not (silent / "chat_template.jinja").exists()


def test_every_token_that_ends_a_text_is_named(tiny_model: TinyModel, tmp_path: Path) -> None:
    made = converted(write_gguf(tmp_path / "m.gguf", tiny_model("qwen2")))
    # The file names <|im_end|>, id 2; <|endoftext|>, id 0, ends a document. <think>, id 3, ends nothing.
    assert json.loads((made / "config.json").read_text())["eos_token_id"] == [2, 0]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a hyperparameter of unknown effect": (
        {"llama__attention__sliding_window": 64}, "hyperparameters that this converter understands.*sliding_window"
    ),
    "scaled positions": ({"llama__rope__scaling__type": "yarn"}, r"rope\.scaling\.type=yarn"),
    "an unknown tensor": (
        {"renamed": {"blk.0.ffn_up.weight": "blk.0.ffn_up_exps.weight"}}, r"'blk\.0\.ffn_up_exps\.weight'"
    ),
    "a missing tensor": ({"without": "blk.1.attn_k.weight"}, r"model\.layers\.1\.self_attn\.k_proj\.weight"),
    "a missing key": ({"without": "llama.block_count"}, "A GGUF file must be whole.*block_count"),
    "an unknown split": ({"tokenizer__ggml__pre": "viking"}, "cuts text in one of these ways: smollm.* 'viking'"),
    "an unknown tokenizer": ({"tokenizer__ggml__model": "rwkv"}, "of kind gpt2 or llama, but got 'rwkv'"),
    "too few scores": ({"tokenizer__ggml__model": "llama"}, "one score per token"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused(tiny_model: TinyModel, tmp_path: Path, name: str) -> None:
    options, message = REFUSED[name]
    path = write_gguf(tmp_path / "m.gguf", tiny_model("llama"), **options)
    with pytest.raises(ModelError, match=message) as caught:
        converted(path)
    assert caught.value.next_step


def test_an_architecture_that_is_not_read_is_named(tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "m.gguf", "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match="architectures llama, qwen2, qwen3, but got 'mamba'"):
        converted(tmp_path / "m.gguf")


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.6, 0.99])
def test_a_cut_off_file_is_refused(tiny_model: TinyModel, tmp_path: Path, share: float) -> None:
    path = write_gguf(tmp_path / "m.gguf", tiny_model("llama"))
    content = path.read_bytes()
    path.write_bytes(b"GGUF" + content[4 : max(4, int(share * len(content)))])
    with pytest.raises(ModelError, match="A GGUF file must be whole"):
        converted(path)


def test_gguf_is_found_by_file_and_converted_once(
    tiny_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POISE_CACHE", str(tmp_path / "cache"))
    path = write_gguf(tmp_path / "m.gguf", tiny_model("qwen3"))
    calls: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        calls.append(source)
        conversion.convert(source, target)

    first = find(f"gguf:{path}", convert=convert)
    again = find(f"gguf:{path.rename(tmp_path / 'moved.gguf')}", convert=convert)
    assert len(calls) == 1, "the same content by another name is the same model"
    assert (again.directory, again.weights_sha256) == (first.directory, first.weights_sha256)


def vocabulary(split: str, tokens: list[str], merges: list[str], **changes: Any) -> Vocabulary:
    known: dict[str, Any] = {
        "kind": "gpt2", "split": split, "tokens": tokens, "types": [NORMAL] * len(tokens), "merges": merges,
        "scores": [], "bos_id": None, "add_bos": False, "add_space": False,
    }  # fmt: skip
    return Vocabulary(**{**known, **changes})


def test_smollm_takes_every_digit_alone() -> None:
    tokens, merges = ["1", "2", "12", "Ġ", "Ġ1", "Ġ12"], ["1 2", "Ġ 1", "Ġ 12"]
    assert build(vocabulary("smollm", tokens, merges)).encode("12 12").tokens == ["1", "2", "Ġ", "1", "2"]
    assert build(vocabulary("gpt-2", tokens, merges)).encode("12 12").tokens == ["12", "Ġ12"]


def test_llama3_takes_three_digits_and_whole_words_first() -> None:
    tokens, merges = ["1", "2", "3", "4", "12", "123", "34", "a", "b", "ab"], ["1 2", "12 3", "3 4"]
    made = build(vocabulary("llama-bpe", tokens, merges))
    assert made.encode("1234").tokens == ["123", "4"]
    assert made.encode("ab").tokens == ["ab"], "a word that is a token needs no merges to be one"


def test_special_tokens_stay_whole_and_begin_a_text() -> None:
    tokens = ["a", "b", "<s>", "<think>"]
    types = [NORMAL, NORMAL, CONTROL, USER_DEFINED]
    made = build(vocabulary("gpt-2", tokens, [], types=types, bos_id=2, add_bos=True))
    assert made.encode("a<think>b").ids == [2, 0, 3, 1]
    assert made.decode([2, 0, 3, 1], skip_special_tokens=True) == "a<think>b"


def test_sentencepiece_merges_by_score_and_falls_back_to_bytes() -> None:
    # "ab" and "bc" compete for "abc": the better score wins, not the place in the list.
    tokens = ["<unk>", "<0xC3>", "<0xA9>", "▁", "a", "b", "c", "ab", "bc", "▁a"]
    types = [UNKNOWN, 6, 6, *[NORMAL] * 7]
    scores = [0.0, 0.0, 0.0, -9.0, -9.0, -9.0, -9.0, -2.0, -1.0, -3.0]
    made = build(vocabulary("", tokens, [], kind="llama", types=types, scores=scores, add_space=True))
    assert made.encode("abc").tokens == ["▁a", "bc"]
    assert made.encode("é").tokens == ["▁", "<0xC3>", "<0xA9>"]
    assert made.decode(made.encode("abc é").ids) == "abc é"


# Ids from llama.cpp's own tokenizer, reading the same file.
PUBLISHED = {
    "The capital of France is": [504, 3575, 282, 4649, 314],
    "Numbers 12345 and 3.14159 and 1,000,000": [
        39006, 216, 33, 34, 35, 36, 37, 284, 216, 35, 30, 33, 36, 33, 37, 41, 284, 216, 33, 28, 32, 32, 32, 28,
        32, 32, 32,
    ],
    " leading  and trailing   ": [2899, 216, 284, 35079, 333],
    "I'm sure they'll say it's fine, don't you?": [
        57, 5248, 2090, 502, 3060, 1643, 357, 506, 4979, 28, 1326, 982, 346, 47
    ],
    "tabs\tand\nnewlines\r\n\n\nmixed": [100, 7366, 197, 397, 198, 2241, 5110, 201, 1116, 198, 35781],
    "def foo(x):\n    return x ** 2  # comment\n\n\n": [
        1604, 29856, 24, 104, 727, 472, 1003, 1792, 1903, 216, 34, 216, 907, 5189, 16506
    ],
    "ABC123def456 ½ ² Ⅷ ٣٤": [
        35542, 33, 34, 35, 1604, 36, 37, 38, 216, 16738, 216, 19133, 216, 173, 223, 117, 216, 164, 113, 164, 114
    ],
    "<|im_start|>user\nHi<|im_end|>\n<|endoftext|>x<repo_name>": [1, 4093, 198, 26843, 2, 198, 0, 104, 3],
    'a\xa0b\u2003c\u200bd': [81, 15442, 82, 321, 221, 83, 321, 229, 84],
    "Once upon a time, in a distant galaxy, there was a spaceship called Voyager.": [
        6403, 1980, 253, 655, 28, 281, 253, 9931, 13247, 28, 665, 436, 253, 39248, 1217, 36649, 30
    ],
    "Emoji 😀👍🏽🇺🇸 ❤️": [
        10809, 33777, 40303, 218, 10813, 235, 231, 10813, 233, 138, 10813, 225, 135, 10813, 225, 133, 4636,
        247, 114, 31752,
    ],
}  # fmt: skip


@pytest.mark.model
def test_the_embedded_tokenizer_agrees_with_llama_cpp(embedded_files: ModelFiles) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_files.directory)
    for text, ids in PUBLISHED.items():
        assert tokenizer(text)["input_ids"] == ids
        assert tokenizer.decode(ids) == text


@pytest.mark.model
def test_the_embedded_model_is_what_its_file_says(embedded_files: ModelFiles) -> None:
    config = json.loads((embedded_files.directory / "config.json").read_text())
    expected = {
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
        "num_key_value_heads": 3, "head_dim": 64, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5,
        "vocab_size": 49152, "tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": [2, 0],
        "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}, "dtype": "bfloat16",
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected


@pytest.mark.model
def test_the_embedded_model_knows_a_capital(embedded_files: ModelFiles) -> None:
    tokenizer = AutoTokenizer.from_pretrained(embedded_files.directory)
    model = AutoModelForCausalLM.from_pretrained(embedded_files.directory, dtype=torch.float32)
    ids = torch.tensor([tokenizer("The capital of France is")["input_ids"]])
    with torch.no_grad():
        told = model(ids).logits[0, -1].log_softmax(-1)
    [best] = told.topk(1).indices.tolist()
    assert tokenizer.decode([best]) == " Paris"
    # llama.cpp, which multiplies in eight bits, says -0.259 nats.
    assert told[best].item() == pytest.approx(-0.26, abs=0.02)

    turns = [{"role": "user", "content": "What is the capital of France?"}]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert asked == (
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
    )
    prompt = torch.tensor([tokenizer(asked)["input_ids"]])
    answer = model.generate(prompt, do_sample=False, max_new_tokens=12, attention_mask=torch.ones_like(prompt))
    assert tokenizer.decode(answer[0, prompt.shape[1] :]) == "The capital of France is Paris.<|im_end|>"
