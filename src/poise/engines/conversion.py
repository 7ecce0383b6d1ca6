"""Turns a GGUF file into a directory of safetensors, configuration and tokenizer."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import save_file

from poise.engines import gguf_tokenizer
from poise.errors import ModelError

_INSTEAD = "Use the model's safetensors instead: hf:NAME_OR_DIR"


@dataclass(frozen=True, slots=True)
class Architecture:
    """How a GGUF architecture is called and stored in transformers.

    Args:
        model_type: the name in config.json.
        class_name: the class in config.json.
        permuted: whether GGUF stores query and key rows in pairs (even, odd), not in halves.
        qkv_bias: whether query, key and value have biases.
    """

    model_type: str
    class_name: str
    permuted: bool
    qkv_bias: bool


ARCHITECTURES: Mapping[str, Architecture] = {
    "llama": Architecture("llama", "LlamaForCausalLM", permuted=True, qkv_bias=False),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", permuted=False, qkv_bias=True),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", permuted=False, qkv_bias=False),
}

# GGUF tensor names and their names in transformers, one layer's without "blk.N." and "model.layers.N.".
_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

# Hyperparameters understood here, without the architecture's prefix. Any other one might change
# what the model computes, so a file that has one is refused.
_UNDERSTOOD = {
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size",
    "attention.head_count", "attention.head_count_kv", "attention.key_length", "attention.value_length",
    "attention.layer_norm_rms_epsilon", "rope.freq_base", "rope.dimension_count", "rope.scaling.type",
}  # fmt: skip

# Tokens that end a text under any of their owners' templates; a file names only one of them.
_ENDINGS = {
    "<|endoftext|>", "<|im_end|>", "<|end_of_text|>", "<|eot_id|>", "<|eom_id|>", "<|end|>",
}  # fmt: skip

# What a GGUF file may recommend, and the same in generation_config.json.
_RECOMMENDED = {
    "temp": "temperature",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "penalty_repeat": "repetition_penalty",
}


def convert(gguf_path: Path, target: Path) -> None:
    """Write what transformers loads: config.json, model.safetensors, tokenizer, chat template.

    Quantised weights are stored as bfloat16, others in the type that the file has them in.

    Args:
        gguf_path: a GGUF file of one of `ARCHITECTURES`.
        target: an existing, empty directory.

    Raises:
        ModelError: the file is damaged, or says something that is not understood here.
        OSError: the target cannot be written.
    """
    try:
        reader = gguf.GGUFReader(gguf_path)
        said = {name: field.contents() for name, field in reader.fields.items()}
    except (ValueError, IndexError, KeyError, OverflowError, UnicodeDecodeError) as error:
        raise _damaged(gguf_path, str(error)) from error
    name = str(said.get("general.architecture"))
    if name not in ARCHITECTURES:
        raise ModelError(f"A GGUF file is read for the architectures {', '.join(ARCHITECTURES)}", repr(name), _INSTEAD)
    try:
        dtype = _stored_type(reader)
        config = _config(said, name, dtype, tied=all(t.name != "output.weight" for t in reader.tensors))
        tensors = dict(_tensors(reader, config, ARCHITECTURES[name], dtype))
        _check_complete(set(tensors), config, ARCHITECTURES[name])
        tokenizer = gguf_tokenizer.build(_vocabulary(said))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise _damaged(gguf_path, f"{type(error).__name__}: {error}") from error
    try:
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    except SafetensorError as error:
        raise OSError(str(error)) from error  # a full disk, by the name that callers know
    _write(target / "config.json", config)
    tokenizer.save(str(target / "tokenizer.json"))
    _write(target / "tokenizer_config.json", _tokenizer_config(said, config))
    if template := said.get("tokenizer.chat_template"):
        (target / "chat_template.jinja").write_text(template, encoding="utf-8")
    if recommended := _recommended(said):
        _write(target / "generation_config.json", recommended)


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError("A GGUF file must be whole", f"{path.name}: {why}", "Download it again")


def _stored_type(reader: gguf.GGUFReader) -> torch.dtype:
    """The widest of the types that the matrices have; a quantised one counts as bfloat16."""
    kinds = {tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) > 1}
    if kinds & {"F32", "F64"}:
        return torch.float32
    return torch.float16 if "F16" in kinds else torch.bfloat16


def _config(said: Mapping[str, Any], name: str, dtype: torch.dtype, *, tied: bool) -> dict[str, Any]:
    architecture = ARCHITECTURES[name]
    own = {key.removeprefix(f"{name}."): value for key, value in said.items() if key.startswith(f"{name}.")}
    strange = sorted(set(own) - _UNDERSTOOD)
    if strange or own.get("rope.scaling.type", "none") != "none":
        raise ModelError(
            "A GGUF file may only state hyperparameters that this converter understands",
            ", ".join(strange) or f"rope.scaling.type={own['rope.scaling.type']}",
            _INSTEAD,
        )
    heads = own["attention.head_count"]
    width = own["embedding_length"]
    return {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        "dtype": str(dtype).removeprefix("torch."),
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": own["feed_forward_length"],
        "num_hidden_layers": own["block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": own.get("attention.head_count_kv", heads),
        "head_dim": own.get("attention.key_length", width // heads),
        "max_position_embeddings": own["context_length"],
        "rms_norm_eps": _shortest(own["attention.layer_norm_rms_epsilon"]),
        "rope_parameters": {"rope_type": "default", "rope_theta": _shortest(own.get("rope.freq_base", 10000.0))},
        "vocab_size": len(said["tokenizer.ggml.tokens"]),
        "tie_word_embeddings": tied,
        "bos_token_id": said.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": _ending_ids(said),
        "pad_token_id": said.get("tokenizer.ggml.padding_token_id"),
    }


def _shortest(value: float) -> float:
    """The shortest decimal that is this float32: 1e-05, not 9.999999747378752e-06."""
    return float(str(np.float32(value)))


def _ending_ids(said: Mapping[str, Any]) -> list[int]:
    """The end token that the file names, then its other tokens that end a turn or a document.

    llama.cpp does the same. Without it a continuation runs on into the next document.
    """
    named = [said.get(f"tokenizer.ggml.{kind}_token_id") for kind in ("eos", "eot", "eom")]
    pairs = enumerate(zip(said["tokenizer.ggml.tokens"], _types(said), strict=True))
    known = [i for i, (token, kind) in pairs if kind == gguf_tokenizer.CONTROL and token in _ENDINGS]
    return list(dict.fromkeys([i for i in named if i is not None] + known))


def _types(said: Mapping[str, Any]) -> list[int]:
    tokens = said["tokenizer.ggml.tokens"]
    return list(said.get("tokenizer.ggml.token_type", [gguf_tokenizer.NORMAL] * len(tokens)))


def _tensors(
    reader: gguf.GGUFReader, config: Mapping[str, Any], architecture: Architecture, dtype: torch.dtype
) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor under its new name, dequantised."""
    for tensor in reader.tensors:
        name = _renamed(tensor.name)
        values: NDArray[np.float32] = gguf.dequantize(tensor.data, tensor.tensor_type)
        if architecture.permuted and name.endswith(("q_proj.weight", "k_proj.weight")):
            values = _halves(values, config["head_dim"])
        yield name, torch.from_numpy(np.array(values, dtype=np.float32)).to(dtype)


def _renamed(name: str) -> str:
    stem, _, ending = name.rpartition(".")
    parts = stem.split(".")
    if stem in _OUTSIDE:
        return f"{_OUTSIDE[stem]}.{ending}"
    if len(parts) == 3 and parts[0] == "blk" and parts[1].isdigit() and parts[2] in _LAYER:
        return f"model.layers.{parts[1]}.{_LAYER[parts[2]]}.{ending}"
    raise ModelError("A GGUF file may only hold tensors that this converter understands", repr(name), _INSTEAD)


def _halves(rows: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Query or key rows (heads * head_dim, width), from rotated pairs (0, 1), (2, 3), … to halves.

    transformers rotates row i of a head with row i + head_dim / 2; a GGUF file stores the two side by side.
    """
    pairs = rows.reshape(-1, head_dim // 2, 2, rows.shape[-1])
    return np.asarray(pairs.swapaxes(1, 2).reshape(rows.shape))


def _check_complete(names: set[str], config: Mapping[str, Any], architecture: Architecture) -> None:
    """Every tensor that the architecture has must be there, and no other: transformers would make one up."""
    inside = [f"{part}.weight" for key, part in _LAYER.items() if not key.endswith(("q_norm", "k_norm"))]
    if architecture.model_type == "qwen3":
        inside += ["self_attn.q_norm.weight", "self_attn.k_norm.weight"]
    if architecture.qkv_bias:
        inside += [f"self_attn.{part}_proj.bias" for part in "qkv"]
    wanted = {f"model.layers.{i}.{part}" for i in range(config["num_hidden_layers"]) for part in inside}
    wanted |= {"model.embed_tokens.weight", "model.norm.weight"}
    wanted |= set() if config["tie_word_embeddings"] else {"lm_head.weight"}
    if names != wanted:
        wrong = sorted(names ^ wanted)
        shown = ", ".join(wrong[:3]) + (" …" if len(wrong) > 3 else "")
        raise ModelError("A GGUF file must hold exactly the tensors of its architecture", shown, _INSTEAD)


def _vocabulary(said: Mapping[str, Any]) -> gguf_tokenizer.Vocabulary:
    kind = str(said["tokenizer.ggml.model"])
    split = str(said.get("tokenizer.ggml.pre", ""))
    # Files that leave these out mean what llama.cpp does then.
    sentencepiece = kind == "llama"
    begins = sentencepiece or gguf_tokenizer.SPLITS.get(split) == gguf_tokenizer.SPLITS["llama-bpe"]
    return gguf_tokenizer.Vocabulary(
        kind=kind,
        split=split,
        tokens=said["tokenizer.ggml.tokens"],
        types=_types(said),
        merges=said.get("tokenizer.ggml.merges", []),
        scores=said.get("tokenizer.ggml.scores", []),
        bos_id=said.get("tokenizer.ggml.bos_token_id"),
        add_bos=bool(said.get("tokenizer.ggml.add_bos_token", begins)),
        add_space=bool(said.get("tokenizer.ggml.add_space_prefix", sentencepiece)),
    )


def _tokenizer_config(said: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    tokens = said["tokenizer.ggml.tokens"]
    # This class takes tokenizer.json as it is; a model's own class would rebuild the splitting.
    written: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": config["max_position_embeddings"],
    }
    for role, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        if (index := said.get(f"tokenizer.ggml.{key}_token_id")) is not None:
            written[f"{role}_token"] = tokens[index]
    return written


def _recommended(said: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling settings that the file recommends, as generation_config.json writes them."""
    pairs = ((new, said.get(f"general.sampling.{old}")) for old, new in _RECOMMENDED.items())
    found = {name: _shortest(v) if isinstance(v, float) else v for name, v in pairs if v is not None}
    return {"do_sample": True, **found} if found else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
