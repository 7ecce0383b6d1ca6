"""Dialects as data: each engine's order, boundary rules, scopes and defaults."""

# ruff: noqa: E501  one fact a line

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from poise.parameters import Number

Scope = Literal["all", "output", "last and output"]
_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """How an engine decides at the boundary; the defaults are those of transformers.

    Args:
        top_k_ties: whether tokens tied with the k-th stay (``keep``), or the lowest ids of them (``exact``).
        top_p_scope: whether masses are of what is left (``left``), or of the row before top-k: always (``joint``), or where
            there is no min-p.
        top_p_passes: whether the nucleus ends at the first mass >= p (False), or > p (True).
        top_p_ties: whether tokens tied with the last of the nucleus stay too (``keep``), or the lowest ids (``exact``).
        top_p_zero: what p = 0 means: the likeliest token (``top``), off, or an error (``refused``).
        typical_ties: whether tokens as typical as the last kept one stay too (``keep`` or ``exact``).
        typical_passes: whether it ends at the first mass >= p (False), or > p (True).
        dynatemp_counts: the tokens that the dynamic temperature counts: those ``left``, or all on the engine's list (``listed``),
            barred ones too that no step took off it.
        xtc_strict: whether XTC's members have p > threshold, and those tied with the least of them stay.
        scopes: which tokens a penalty sees, by parameter: prompt and output (``all``, also where it is not named),
            ``output``, or the prompt's last token and the output.
        window: the last so many tokens of the scope that penalties see unless penalty_last_n says otherwise; None for all.
        dry_window: the same for DRY.
        greedy_last: whether temperature 0 takes the likeliest of what the steps before it left, rather than of all.
        greedy_below: temperatures below this are 0.
        temperature_floor: temperatures between greedy and this one are raised to it.
    """

    top_k_ties: Literal["keep", "exact"] = "keep"
    top_p_scope: Literal["left", "joint", "joint without min_p"] = "left"
    top_p_passes: bool = False
    top_p_ties: Literal["keep", "exact"] = "exact"
    top_p_zero: Literal["top", "off", "refused"] = "top"
    typical_ties: Literal["keep", "exact"] = "keep"
    typical_passes: bool = False
    dynatemp_counts: Literal["left", "listed"] = "left"
    xtc_strict: bool = False
    scopes: Mapping[str, Scope] = field(
        default_factory=lambda: {
            "repetition_penalty": "all", "frequency_penalty": "output", "presence_penalty": "output",
        },
        hash=False,
    )  # fmt: skip
    window: int | None = None
    dry_window: int | None = None
    greedy_last: bool = False
    greedy_below: float = 0.0
    temperature_floor: float = 0.0


@dataclass(frozen=True, slots=True)
class Dialect:
    """An engine's way of reading the parameters.

    Args:
        name: the engine.
        order: names of the steps, first to last; parameters that are no steps shape the step of their leader.
        source: where it was read.
        rules: how it decides at the boundary.
        extensions: steps that the engine lacks and poise adds, so that they can be tried there.
        orderable: whether its users may give the order.
        placed: steps that such an order need not name, each with the step that it follows; "" is the beginning.
        alone: steps beside which no others act than the listed ones, in that order.
        limits: ranges that are narrower than poise's, by parameter: (lowest, highest).
        defaults: what an empty request gets, by parameter, where that is not off.
        version: that `source` was read at, and checked against where `docs/conformance.md` says so.
        known: whether the engine's order and boundary rules are known at all; what stands here is then a guess.
    """

    name: str
    order: tuple[str, ...]
    source: str
    rules: Rules = field(default_factory=Rules)
    extensions: frozenset[str] = frozenset()
    orderable: bool = False
    placed: Mapping[str, str] = field(default_factory=dict, hash=False)
    alone: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict, hash=False)
    defaults: Mapping[str, Number] = field(default_factory=dict, hash=False)
    version: str = ""
    known: bool = True

    def has(self, step: str) -> bool:
        """Whether the dialect has a step, poise's extensions included."""
        return step in self.order


DEFAULT_DIALECT = "transformers"
_TRANSFORMERS = Dialect(
    name="transformers",
    order=(
        "guidance_scale", "logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty",
        "dry_multiplier", "no_repeat_ngram_size", "bad_words", "temperature", "dynatemp_range", "smoothing_factor",
        "top_n_sigma", "top_h", "top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "tfs", "top_a",
        "mirostat", "xtc_probability",
    ),
    source="transformers 5.x, generation/utils.py::_get_logits_processor",
    extensions=frozenset({
        "frequency_penalty", "presence_penalty", "dry_multiplier", "dynatemp_range", "smoothing_factor", "top_n_sigma",
        "tfs", "top_a", "mirostat", "xtc_probability",
    }),
    defaults={"temperature": 0},  # greedy unless generation_config.json says do_sample
    version="5.24.0",
)  # fmt: skip
_LLAMA_CPP_ORDER = (
    "logit_bias", *_PENALTIES, "dry_multiplier", "top_n_sigma", "top_k", "typical_p", "top_p", "min_p",
    "xtc_probability", "temperature", "dynatemp_range", "mirostat",
)  # fmt: skip
_LLAMA_CPP_RULES = Rules(
    top_k_ties="exact", typical_ties="exact", typical_passes=True, dynatemp_counts="listed",
    scopes=dict.fromkeys(_PENALTIES, "all"), window=64, dry_window=64, greedy_last=True,
)  # fmt: skip
_MIROSTAT_ALONE = {"mirostat": ("logit_bias", "temperature", "mirostat")}

DIALECTS: Mapping[str, Dialect] = {
    d.name: d
    for d in (
        _TRANSFORMERS,
        Dialect(
            name="vllm",
            order=(
                "bad_words", "logit_bias", *_PENALTIES, "temperature", "min_p", "top_k", "top_p",
            ),
            source="vLLM 0.32, vllm/v1/sample/sampler.py, vllm/sampling_params.py",
            rules=Rules(
                top_p_zero="refused", temperature_floor=0.01,
                scopes={**Rules().scopes, "bad_words": "output"},
            ),
            limits={"temperature": (0, 2), "logit_bias": (-100, 100)},
            version="0.32.0",
        ),
        Dialect(
            name="llama.cpp",
            order=_LLAMA_CPP_ORDER,
            source="llama.cpp 0c1e57098, common/common.h, src/llama-sampler.cpp",
            rules=_LLAMA_CPP_RULES,
            orderable=True,
            placed={"logit_bias": "", "dynatemp_range": "temperature"},  # no names in its `samplers`
            alone=_MIROSTAT_ALONE,
            defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
            version="0c1e57098",
        ),
        Dialect(
            name="sglang",
            order=(
                "frequency_penalty", "presence_penalty", "repetition_penalty", "logit_bias", "temperature", "top_k",
                "top_p", "min_p",
            ),
            source="SGLang 0.5.23, srt/layers/sampler.py, srt/sampling/penaltylib",
            rules=Rules(
                top_p_scope="joint without min_p", top_p_zero="refused",
                scopes=dict.fromkeys(_PENALTIES, "output"),
                greedy_below=1e-6,
            ),
            limits={"repetition_penalty": (0, 2)},
            version="0.5.23",
        ),
        Dialect(
            name="mlx",
            order=(
                "logit_bias", "repetition_penalty", "presence_penalty", "frequency_penalty", "top_p", "min_p",
                "xtc_probability", "top_k", "temperature",
            ),
            source="mlx-lm 0.32.2, mlx_lm/sample_utils.py, mlx_lm/generate.py",
            rules=Rules(
                top_k_ties="exact", top_p_ties="keep", top_p_zero="off", xtc_strict=True,
                scopes=dict.fromkeys(_PENALTIES, "all"), window=20,
            ),
            limits={"xtc_threshold": (0, 0.5)},
            defaults={"temperature": 0},
            version="0.32.2",
        ),
        Dialect(
            name="ollama",
            order=(*_PENALTIES, "top_k", "typical_p", "top_p", "min_p", "temperature"),
            source="Ollama fb3076099, api/types.go; GGUF models run in llama-server",
            rules=_LLAMA_CPP_RULES,
            defaults={"temperature": 0.8, "top_k": 40, "top_p": 0.9},
            version="fb3076099",
        ),
        Dialect(
            name="temperature-last",
            order=(*_PENALTIES, "top_k", "typical_p", "top_p", "min_p", "temperature"),
            source="the steps of transformers in the order of llama.cpp's default chain, common/common.h",
        ),
        Dialect(
            name="server",
            order=("logit_bias", *_PENALTIES, "temperature", "top_k", "top_p", "min_p", "typical_p"),
            source="whatever a server does: the order is its own and could not be told; `poise probe` says what could",
            known=False,
        ),
    )
}  # fmt: skip
