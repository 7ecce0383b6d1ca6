"""Targets that take OpenAI's fields: vLLM, SGLang, and OpenAI itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from poise.exports.target import NEARLY_BARRED, Sheet, Target

_PLAIN = {n: n for n in ("temperature", "top_p", "frequency_penalty", "presence_penalty")}
_WIDE = {
    n: n
    for n in (
        "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
    )
}  # fmt: skip
_OFF = {"temperature": 1.0, "top_p": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
_VLLM_OFF_TOO = {"top_k": (-1, 0)}
_WIDE_OFF = {**_OFF, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}

# Fields of a request that do not shape the law of a token.
_REQUEST = frozenset({
    "model", "messages", "prompt", "suffix", "max_tokens", "max_completion_tokens", "n", "best_of", "stop", "seed",
    "stream", "stream_options", "logprobs", "top_logprobs", "echo", "user", "metadata", "store", "tools", "tool_choice",
    "parallel_tool_calls", "response_format", "reasoning_effort", "service_tier", "functions", "function_call",
    "modalities", "audio", "prediction", "safety_identifier", "prompt_cache_key", "verbosity", "web_search_options",
})  # fmt: skip
_VLLM_APART = frozenset({
    "n", "seed", "stop", "stop_token_ids", "ignore_eos", "max_tokens", "min_tokens", "logprobs", "prompt_logprobs",
    "logprob_token_ids", "flat_logprobs", "detokenize", "skip_special_tokens", "spaces_between_special_tokens",
    "include_stop_str_in_output", "output_kind", "stream_interval", "skip_clone", "structured_outputs",
    "truncate_prompt_tokens", "skip_reading_prefix_cache", "prompt_logprob_token_ids", "prompt_logprob_start",
    "routed_experts_prompt_start", "trace_decode_token_ids",
})  # fmt: skip
_VLLM_NEUTRAL: Mapping[str, Any] = {
    "allowed_token_ids": None, "bad_words": [], "extra_args": None, "thinking_token_budget": None,
    "repetition_detection": None, "watermarking": None,
}  # fmt: skip
_VLLM_SERVER_APART = (
    _REQUEST
    | (_VLLM_APART - {"detokenize", "output_kind", "skip_clone", "flat_logprobs", "skip_reading_prefix_cache"})
    | {
        "length_penalty", "add_generation_prompt", "continue_final_message", "add_special_tokens", "documents",
        "chat_template", "chat_template_kwargs", "media_io_kwargs", "mm_processor_kwargs", "priority", "request_id",
        "return_tokens_as_token_ids", "return_token_ids", "cache_salt", "kv_transfer_params", "ec_transfer_params",
        "include_reasoning", "return_token_offsets", "truncation_side", "prompt_embeds",
    }
)  # fmt: skip

VLLM = Target(
    name="vllm",
    dialect="vllm",
    about="Python that makes a SamplingParams",
    sheets={
        "python": Sheet(
            file="sampling_params.py", names=_WIDE, off=_WIDE_OFF, off_too=_VLLM_OFF_TOO,
            bias=("logit_bias", "object"), bars_words=True,
            calls={"SamplingParams": ()}, imports="from vllm import SamplingParams",
            usage="outputs = llm.generate(prompts, sampling_params)", apart=_VLLM_APART, neutral=_VLLM_NEUTRAL,
        )
    },
)  # fmt: skip
VLLM_SERVER = Target(
    name="vllm-server",
    dialect="vllm",
    about="the sampling fields of a request; as flags, the defaults of a server",
    sheets={
        "json": Sheet(
            file="request.json", names=_WIDE, off=_WIDE_OFF, off_too=_VLLM_OFF_TOO,
            bias=("logit_bias", "object"), lowest_bias=-100, tolerates=True, apart=_VLLM_SERVER_APART,
            neutral={
                **_VLLM_NEUTRAL, "use_beam_search": False, "vllm_xargs": None, "logits_processors": None,
            },
        ),
        "flags": Sheet(
            file="vllm-serve.sh", names=_WIDE, off=_WIDE_OFF, off_too=_VLLM_OFF_TOO,
            program=("vllm", "serve"), usage="sh vllm-serve.sh MODEL",
            apart=frozenset({"max_new_tokens"}),
        ),
    },
    notes=(
        "A field that a request leaves out is taken from the model's generation_config.json, unless the server was "
        "started with --generation-config vllm",
    ),
)  # fmt: skip
SGLANG = Target(
    name="sglang",
    dialect="sglang",
    about="the sampling fields of a request, the same for /v1 and for sampling_params of /generate",
    sheets={
        "json": Sheet(
            file="request.json", names=_WIDE, off={**_WIDE_OFF, "top_k": -1},
            off_too={"top_k": (2**30, float("inf"))}, bias=("logit_bias", "object"),
            lowest_bias=NEARLY_BARRED,
            apart=_REQUEST | {
                "max_new_tokens", "min_new_tokens", "min_tokens", "stop_token_ids", "stop_regex", "ignore_eos",
                "skip_special_tokens", "spaces_between_special_tokens", "no_stop_trim", "stream_interval",
                "sampling_seed", "json_schema", "regex", "ebnf", "structural_tag", "continue_final_message",
                "chat_template_kwargs", "separate_reasoning", "stream_reasoning", "return_hidden_states", "lora_path",
                "session_params", "rid", "priority", "extra_key", "cache_salt",
            },
            neutral={"custom_params": None, "custom_logit_processor": None, "watermark": None},
        )
    },
    notes=(
        "While any request of a batch has a min_p, SGLang applies top_k and top_p one after the other to all of them",
        "Penalties and biases of all requests act in one order only without --disable-overlap-schedule",
    ),
)  # fmt: skip
OPENAI = Target(
    name="openai",
    dialect="server",
    about="the sampling fields of a request",
    sheets={
        "json": Sheet(
            file="request.json", names=_PLAIN, off=_OFF, bias=("logit_bias", "object"), lowest_bias=-100,
            apart=_REQUEST,
        )
    },
    limits={"temperature": (0, 2), "logit_bias": (-100, 100)},
    notes=("Reasoning models refuse some of these fields",),
)  # fmt: skip
