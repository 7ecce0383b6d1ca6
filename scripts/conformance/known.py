"""Where poise and an engine are known to part, and what could not be run."""

# ruff: noqa: E501  a table of facts, one a line

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A difference that is known.

    Args:
        dialect: whose.
        parameter: the one it is about.
        engine: what the engine does.
        poise: what poise does.
        shown: how it is known: ``run`` by a test here, or ``read``.
    """

    dialect: str
    parameter: str
    engine: str
    poise: str
    shown: str


KNOWN = (
    Known("transformers", "top_p, top_h", "of tokens that tie at the boundary, which ones stay is left to an unstable sort", "the lowest ids stay", "run: counted as ties"),
    Known("transformers", "bad_words", "a word that is the end-of-text token alone is passed over", "it is barred as any other", "read"),
    Known("transformers", "every bar", "a row with every token barred goes on, to an error of torch or to NaN", "an error that says so, before the token", "run"),
    Known("transformers", "penalty_last_n", "has no windows", "an extension: leave it out to have what the engine does", "read"),
    Known("vllm", "top_k", "on GPUs the Triton kernel keeps exactly k, lower ids first; PyTorch and FlashInfer keep ties", "keeps ties", "PyTorch run, kernels read"),
    Known("vllm", "logit_bias", "one beyond ±100 is clamped in a request, and taken as it is by `SamplingParams` in Python", "refuses it", "run"),
    Known("vllm", "penalty_last_n", "has no windows", "an extension: leave it out to have what the engine does", "read"),
    Known("llama.cpp", "top_k, top_p, typical_p, xtc_probability, temperature 0", "of tokens that tie at the boundary, which ones stay is left to an unstable sort", "the lowest ids stay", "run: counted as ties"),
    Known("llama.cpp", "typical_p", "where a token is barred, or so unlikely that float32 has 0 for it (about 100 logits below the top), the entropy is NaN (0 · ln 0) and what stays has nothing to do with it", "0 · ln 0 is 0", "run: such rows end there and are counted as undefined"),
    Known("llama.cpp", "mirostat 1", "where the head is flat (k beyond 32 bits) or falls as 1/rank (0 / 0), one token stays on this platform; C++ leaves it open", "keeps what the formula's limit says, all tokens of a flat head", "run: such rows are counted as undefined"),
    Known("llama.cpp", "all", "samplers that run on a GPU (min_p there is said to cut p = m p_max), grammars, min_keep, adaptive_p", "none of them", "read"),
    Known("sglang", "top_k, top_p, min_p", "its PyTorch backend, run here, keeps exactly k, weighs the whole row always and ends the nucleus at mass > p; FlashInfer, the default on GPUs, keeps ties, and weighs the whole row only without min_p", "as FlashInfer", "PyTorch run, with these three rules switched; FlashInfer read"),
    Known("sglang", "top_p off", "its PyTorch backend cuts tail tokens where the mass before them is 1 in float32", "cuts nothing", "run: counted as boundary hits"),
    Known("sglang", "min_p", "one request with min_p makes the whole batch weigh what top_k left", "looks at its own text alone", "read"),
    Known("sglang", "penalties", "outside its overlapped schedule they come in the order of a Python set", "additive ones first", "overlapped schedule run"),
    Known("sglang", "penalty_last_n", "has no windows", "an extension: leave it out to have what the engine does", "read"),
    Known("mlx", "penalty_last_n 0", "a context of 0 tokens means all of them", "none", "run"),
    Known("mlx", "top_k", "one as large as the vocabulary or larger is an error", "cuts nothing", "read"),
    Known("mlx", "penalties", "before 0.32.0 only the prompt's last token counted, and ties of top_p were cut", "as 0.32.2", "run with 0.32.2"),
    Known("ollama", "all", "models that run in MLX: repetition, presence, frequency, then top_k, temperature, top_p, min_p; its `/v1` sets temperature and top_p to 1 where they are left out", "models in GGUF, through llama-server", "read"),
)  # fmt: skip
CANNOT = (
    "**Ollama** is a server with models: only its own test vectors are run. Its chain for GGUF models is llama.cpp's.",
    "**GPU kernels** (FlashInfer in SGLang and vLLM, Triton in vLLM, llama.cpp's samplers on a GPU) need one; what is run is the same engine's code for a CPU.",
    "**`top_a`, `tfs`, `smoothing_factor`** are of text-generation-webui, which is no package; poise holds them against numbers worked out by hand (`tests/test_law.py`).",
    "**Extensions** in the dialect `transformers` (see the table) have no processor there; those that llama.cpp has are run against it.",
    "**Coins**: XTC is run with probability 1. At which steps it strikes is the engine's own luck.",
    "**Servers** put defaults of their own on top; what a running one does is what [`poise probe`](probe.md) is for.",
)
