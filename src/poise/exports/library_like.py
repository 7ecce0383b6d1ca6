"""Targets that are Python libraries' own settings: transformers and mlx-lm."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from poise.exports.target import NEARLY_BARRED, Sheet, Target

_NAMES = {
    n: n
    for n in (
        "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff",
        "repetition_penalty", "no_repeat_ngram_size", "guidance_scale",
    )
}  # fmt: skip
_OFF = {
    "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0, "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0, "repetition_penalty": 1.0, "no_repeat_ngram_size": 0, "guidance_scale": 1.0,
}  # fmt: skip
_APART = frozenset({
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "early_stopping", "max_time", "stop_strings",
    "use_mtp", "use_cache", "cache_implementation", "cache_config", "max_cache_len", "length_penalty",
    "renormalize_logits", "remove_invalid_values", "num_return_sequences", "output_attentions", "output_hidden_states",
    "output_scores", "output_logits", "return_dict_in_generate", "pad_token_id", "bos_token_id", "eos_token_id",
    "decoder_start_token_id", "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
    "assistant_confidence_threshold", "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit",
    "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight", "speculation_type", "compile_config",
    "disable_compile", "continuous_batching_config", "low_memory", "prefill_chunk_size", "_from_model_config",
    "transformers_version", "forced_eos_token_id",
})  # fmt: skip
_NEUTRAL = {
    "num_beams": 1, "num_beam_groups": 1, "encoder_repetition_penalty": 1.0, "encoder_no_repeat_ngram_size": 0,
    "diversity_penalty": 0.0, "penalty_alpha": 0.0, "dola_layers": None, "exponential_decay_length_penalty": None,
    "begin_suppress_tokens": None, "forced_bos_token_id": None, "constraints": None, "force_words_ids": None,
    "watermarking_config": None, "token_healing": False,
}  # fmt: skip
_SHEET = Sheet(
    file="generation_config.json", names=_NAMES, off=_OFF, off_too={"epsilon_cutoff": (1, 1), "eta_cutoff": (1, 1)},
    beside={"num_beams": 1}, bias=("sequence_bias", "sequences"), bars="suppress_tokens", words="bad_words_ids",
    switch="do_sample", tolerates=True, apart=_APART, neutral=_NEUTRAL,
)  # fmt: skip
_BELOW_ONE = 0.999999999  # 1 is off

TRANSFORMERS = Target(
    name="transformers",
    dialect="transformers",
    about="a model's generation_config.json; as Python, a GenerationConfig",
    sheets={
        "json": _SHEET,
        "python": replace(
            _SHEET, file="generation_config.py", calls={"GenerationConfig": ()},
            imports="from transformers import GenerationConfig",
            usage="outputs = model.generate(**inputs, generation_config=generation_config)",
        ),
    },
    limits={"epsilon_cutoff": (0, _BELOW_ONE), "eta_cutoff": (0, _BELOW_ONE)},
    defaults={"top_k": 50},
    notes=(
        "A model's own generation_config.json fills every field that is left out of a GenerationConfig: top_h, "
        "sequence_bias, suppress_tokens and bad_words_ids are, where they are off",
    ),
)  # fmt: skip

_CONTEXTS = ("repetition_context_size", "presence_context_size", "frequency_context_size")
_MLX: Mapping[str, str | tuple[str, ...]] = {
    "temperature": "temp", "top_p": "top_p", "min_p": "min_p", "top_k": "top_k", "xtc_probability": "xtc_probability",
    "xtc_threshold": "xtc_threshold", "repetition_penalty": "repetition_penalty",
    "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty", "penalty_last_n": _CONTEXTS,
}  # fmt: skip
_MLX_OFF = {
    "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "top_k": 0, "xtc_probability": 0.0, "xtc_threshold": 0.1,
    "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "penalty_last_n": 20,
}  # fmt: skip
_MLX_OFF_TOO = {"top_k": (float("-inf"), 0), "top_p": (0, 0), "repetition_penalty": (0, 0)}
_PENALISED = (
    "logit_bias", "repetition_penalty", "repetition_context_size", "presence_penalty", "presence_context_size",
    "frequency_penalty", "frequency_context_size",
)  # fmt: skip
MLX = Target(
    name="mlx",
    dialect="mlx",
    about="Python that makes a sampler and logits processors; as JSON, the sampling fields of a request",
    sheets={
        "python": Sheet(
            file="sampler.py", names=_MLX, off=_MLX_OFF, off_too=_MLX_OFF_TOO, bias=("logit_bias", "object"),
            calls={
                "make_sampler": (
                    "temp", "top_p", "min_p", "min_tokens_to_keep", "top_k", "xtc_probability", "xtc_threshold",
                    "xtc_special_tokens",
                ),
                "make_logits_processors": _PENALISED,
            },
            imports="from mlx_lm.sample_utils import make_logits_processors, make_sampler",
            usage="text = generate(model, tokenizer, prompt, sampler=sampler, logits_processors=logits_processors)",
            beside={"min_tokens_to_keep": 1, "xtc_special_tokens": []},
            neutral={"min_tokens_to_keep": 1, "xtc_special_tokens": []},
        ),
        "json": Sheet(
            file="request.json", names={**_MLX, "temperature": "temperature"}, off=_MLX_OFF, off_too=_MLX_OFF_TOO,
            bias=("logit_bias", "object"), lowest_bias=NEARLY_BARRED,
            apart=frozenset({
                "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "stop", "seed", "stream",
                "stream_options", "logprobs", "top_logprobs", "tools", "role_mapping", "adapters", "draft_model",
                "num_draft_tokens", "chat_template_kwargs", "n", "user",
            }),
        ),
    },
    notes=(
        "mlx-lm refuses a top_k as large as the vocabulary",
        "mlx_lm.server never lets XTC remove a line end or the end of the text",
    ),
)  # fmt: skip
