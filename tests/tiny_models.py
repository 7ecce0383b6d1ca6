"""Tiny random-weight models of real architectures, written to disk as transformers does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

TRAINED_ON = """
Once upon a time, in a distant galaxy, there was a spaceship called Voyager. The ship was old and the crew was
small, but the captain had a map of the stars, and the stars had a secret. The cook sang while the engine slept.
Explain how a blockchain works in simple terms. A block holds a list of transactions and the hash of the block
before it; to change one block is to change every block after it. What are the best strategies within a game?
First, take your time; then, take the best card, and count: 1, 2, 3, 4, 5, 6, 7, 8, 9, 10.
"""
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
VOCABULARY = 384


@dataclass(frozen=True)
class Kind:
    """How one tiny model is made.

    Args:
        config: its configuration class.
        sizes: what differs from the shared sizes.
        special: special tokens, in the order of their ids from 0.
        roles: which of them is bos_token, eos_token, pad_token.
        template: chat template, None for a model that has none.
        recommended: sampling settings in its generation_config.json.
    """

    config: Callable[..., Any]
    sizes: Mapping[str, Any]
    special: tuple[str, ...]
    roles: Mapping[str, str]
    template: str | None = None
    recommended: Mapping[str, Any] | None = None


_SHARED: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    # Wide weights: the logits differ by several nats, as a trained model's do.
    "initializer_range": 0.2,
}
_GPT2 = {
    "vocab_size": VOCABULARY,
    "n_embd": 48,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 512,
    "initializer_range": 0.2,
}
_LLAMA_ROLES = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
_QWEN_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>")
_QWEN_ROLES = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
_GEMMA_SPECIAL = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>")
_GEMMA_ROLES = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>"}

KINDS: Mapping[str, Kind] = {
    # No pad token, no template, as published.
    "gpt2": Kind(
        transformers.GPT2Config, _GPT2, ("<|endoftext|>",), {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    ),
    "llama": Kind(
        transformers.LlamaConfig, {"tie_word_embeddings": True}, ("<unk>", "<s>", "</s>"), _LLAMA_ROLES
    ),
    "mistral": Kind(
        transformers.MistralConfig, {"sliding_window": 16}, ("<unk>", "<s>", "</s>"), _LLAMA_ROLES, template=CHATML
    ),
    "qwen2": Kind(
        transformers.Qwen2Config,
        {},
        _QWEN_SPECIAL,
        _QWEN_ROLES,
        template=CHATML,
        recommended={"do_sample": True, "temperature": 0.6, "top_p": 0.95, "top_k": 20},
    ),
    "qwen3": Kind(transformers.Qwen3Config, {"head_dim": 16}, _QWEN_SPECIAL, _QWEN_ROLES, template=CHATML),
    "gemma2": Kind(
        transformers.Gemma2Config,
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16},
        _GEMMA_SPECIAL,
        _GEMMA_ROLES,
        template=GEMMA,
    ),
    "gemma3": Kind(
        transformers.Gemma3TextConfig,
        {"head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 16, "num_hidden_layers": 6},
        _GEMMA_SPECIAL,
        _GEMMA_ROLES,
        template=GEMMA,
    ),
}  # fmt: skip


def build(kind: str, directory: Path, **changes: Any) -> Path:
    """Write a tiny model: safetensors, config.json, generation_config.json, tokenizer, chat template.

    Args:
        kind: a key of `KINDS`.
        directory: where to; it is made.
        changes: to the configuration.

    Returns:
        The directory.
    """
    made = KINDS[kind]
    text = tokenizer(kind)
    ids = {f"{role}_id": text.convert_tokens_to_ids(token) for role, token in made.roles.items()}
    shared = {} if kind == "gpt2" else _SHARED
    config = made.config(**{**shared, **made.sizes, **ids, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        _spread(model)
    for name, value in (made.recommended or {}).items():
        setattr(model.generation_config, name, value)
    model.save_pretrained(directory)
    text.save_pretrained(directory)
    return directory


def _spread(model: torch.nn.Module) -> None:
    """Give zeros and ones (biases, norms, the pad token) random values too: a step that forgets one must show."""
    for name, weight in model.named_parameters():
        if weight.ndim == 1:
            torch.nn.init.normal_(weight, mean=weight[0].item() if "norm" in name or "ln_" in name else 0.0, std=0.1)
    for part in model.modules():
        if isinstance(part, torch.nn.Embedding) and part.padding_idx is not None:
            torch.nn.init.normal_(part.weight[part.padding_idx], std=0.2)


def tokenizer(kind: str) -> transformers.PreTrainedTokenizerFast:
    """The tiny tokenizer of a kind: byte-level, `VOCABULARY` tokens, the special ones first."""
    made = KINDS[kind]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_trained(made.special)), chat_template=made.template, **made.roles
    )


@functools.cache
def _trained(special: tuple[str, ...]) -> str:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TRAINED_ON.splitlines(), trainer)
    assert made.get_vocab_size() == VOCABULARY
    return made.to_str()
