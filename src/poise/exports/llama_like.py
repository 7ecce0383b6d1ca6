"""Targets whose models run in llama.cpp: its programs, its files, Ollama."""

from __future__ import annotations

from dataclasses import replace

from poise.exports.llama_flags import ALONE, WITH_VALUE
from poise.exports.target import Sheet, Target

_PENALTIES = ("repetition_penalty", "frequency_penalty", "presence_penalty")
# What `samplers` calls the steps, and which steps one of them holds, in order.
SAMPLERS = {
    "penalties": _PENALTIES,
    "dry": ("dry_multiplier",),
    "top_n_sigma": ("top_n_sigma",),
    "top_k": ("top_k",),
    "typ_p": ("typical_p",),
    "top_p": ("top_p",),
    "min_p": ("min_p",),
    "xtc": ("xtc_probability",),
    "temperature": ("temperature", "dynatemp_range"),
}
DECIMALS = 6  # that llama.cpp reads of a number in a GGUF file: it prints it first, src/llama-impl.cpp
FIRST, LAST = ("logit_bias",), ("mirostat",)  # whatever the order of the others
# The letters of `--sampler-seq`, common/sampling.cpp; f was tail-free sampling, which is gone and was off.
LETTERS = {
    "e": "penalties", "d": "dry", "s": "top_n_sigma", "k": "top_k", "y": "typ_p", "p": "top_p", "m": "min_p",
    "x": "xtc", "t": "temperature", "f": "",
}  # fmt: skip
_OTHER_SAMPLERS = {
    "top-n-sigma": "top_n_sigma", "topnsigma": "top_n_sigma", "top-k": "top_k", "topk": "top_k", "typ-p": "typ_p",
    "typp": "typ_p", "typ": "typ_p", "typical": "typ_p", "typical-p": "typ_p", "typical_p": "typ_p", "top-p": "top_p",
    "topp": "top_p", "nucleus": "top_p",
    "min-p": "min_p", "minp": "min_p", "temp": "temperature",
}  # fmt: skip

_OFF = {
    "temperature": 1.0, "dynatemp_range": 0.0, "dynatemp_exponent": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
    "typical_p": 1.0, "top_n_sigma": -1.0, "xtc_probability": 0.0, "xtc_threshold": 0.1, "repetition_penalty": 1.0,
    "frequency_penalty": 0.0, "presence_penalty": 0.0, "penalty_last_n": 64, "dry_multiplier": 0.0, "dry_base": 1.75,
    "dry_allowed_length": 2, "dry_last_n": 64, "mirostat": 0, "mirostat_tau": 5.0, "mirostat_eta": 0.1,
}  # fmt: skip
_INF = float("inf")
_OFF_TOO = {
    "top_k": (-_INF, 0), "top_p": (1, _INF), "min_p": (-_INF, 0), "typical_p": (1, _INF), "top_n_sigma": (-_INF, 0),
    "xtc_probability": (-_INF, 0), "dynatemp_range": (-_INF, 0), "dry_multiplier": (0, 0),
}  # fmt: skip
_WHOLE = -1  # of a window: the whole context
_OTHER_NAMES = {
    "repetition_penalty": "repeat_penalty", "penalty_last_n": "repeat_last_n", "dry_last_n": "dry_penalty_last_n",
}  # fmt: skip
_FIELDS = {name: _OTHER_NAMES.get(name, name) for name in _OFF}
_FLAGS = {
    **{name: "--" + field.replace("_", "-") for name, field in _FIELDS.items()},
    "temperature": "--temp", "dynatemp_exponent": "--dynatemp-exp", "typical_p": "--typical",
    "top_n_sigma": "--top-nsigma", "mirostat_tau": "--mirostat-ent", "mirostat_eta": "--mirostat-lr",
}  # fmt: skip
_FLAG_SHEET = Sheet(
    file="llama-cli.sh", program=("llama-cli",), usage="sh llama-cli.sh -m MODEL.gguf -p PROMPT", names=_FLAGS,
    off=_OFF, off_too=_OFF_TOO, whole=_WHOLE, bias=("--logit-bias", "flags"), breakers="--dry-sequence-breaker",
    sequence="--samplers", apart=frozenset({*WITH_VALUE, *ALONE}),
    aliases={
        "--temperature": "--temp", "--typical-p": "--typical", "--top-n-sigma": "--top-nsigma", "-l": "--logit-bias",
        "--sampling-seq": "--sampler-seq",
    },
    letters="--sampler-seq", neutral={"--adaptive-target": -1.0, "--ignore-eos": False},
)  # fmt: skip
LLAMA_CPP = Target(
    name="llama.cpp",
    dialect="llama.cpp",
    about="a shell script that runs llama-cli with every sampling flag",
    sheets={"flags": _FLAG_SHEET},
)  # fmt: skip
LLAMA_SERVER = Target(
    name="llama-server",
    dialect="llama.cpp",
    about="the sampling fields of a request; as flags, the defaults of a server",
    sheets={
        "json": Sheet(
            file="request.json", names=_FIELDS, off=_OFF, off_too=_OFF_TOO, whole=_WHOLE, beside={"min_keep": 0},
            bias=("logit_bias", "pairs"), breakers="dry_sequence_breakers", no_breakers=False, sequence="samplers",
            letters="samplers", tolerates=True, neutral={"adaptive_target": -1.0, "min_keep": 0, "ignore_eos": False},
            apart=frozenset({
                "prompt", "messages", "model", "n_predict", "max_tokens", "max_completion_tokens", "n_keep",
                "n_discard", "n_indent", "n_cmpl", "n", "n_cache_reuse", "n_probs", "logprobs", "top_logprobs", "seed",
                "stop", "stream", "stream_options", "cache_prompt", "return_tokens", "return_progress",
                "timings_per_token", "t_max_predict_ms", "response_fields", "lora", "id_slot", "grammar",
                "grammar_lazy", "grammar_type",
                "json_schema", "response_format", "tools", "tool_choice", "parse_tool_calls", "post_sampling_probs",
                "backend_sampling", "adaptive_decay", "chat_template_kwargs", "reasoning_format", "verbose",
                "sse_ping_interval",
            }),
        ),
        "flags": replace(
            _FLAG_SHEET, file="llama-server.sh", program=("llama-server",), usage="sh llama-server.sh -m MODEL.gguf"
        ),
    },
)  # fmt: skip
GGUF = Target(
    name="gguf",
    dialect="llama.cpp",
    about="the keys of a GGUF file that llama.cpp's programs start from, or a copy of a file with them",
    sheets={
        "keys": Sheet(
            file="model.gguf",
            names={
                name: f"general.sampling.{key}"
                for name, key in {
                    "temperature": "temp", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
                    "xtc_probability": "xtc_probability", "xtc_threshold": "xtc_threshold",
                    "penalty_last_n": "penalty_last_n", "repetition_penalty": "penalty_repeat", "mirostat": "mirostat",
                    "mirostat_tau": "mirostat_tau", "mirostat_eta": "mirostat_eta",
                }.items()
            },
            off=_OFF, off_too=_OFF_TOO, whole=_WHOLE, sequence="general.sampling.sequence", tolerates=True,
            decimals=DECIMALS,
        )
    },
    notes=(
        "llama.cpp reads these keys where neither its command line nor a request says otherwise; Ollama does not",
    ),
)  # fmt: skip
OLLAMA = Target(
    name="ollama",
    dialect="ollama",
    about="PARAMETER lines of a Modelfile",
    sheets={
        "modelfile": Sheet(
            file="Modelfile",
            names={
                "temperature": "temperature", "top_k": "top_k", "top_p": "top_p", "min_p": "min_p",
                "typical_p": "typical_p", "repetition_penalty": "repeat_penalty", "penalty_last_n": "repeat_last_n",
                "frequency_penalty": "frequency_penalty", "presence_penalty": "presence_penalty",
            },
            off=_OFF, off_too=_OFF_TOO, whole=_WHOLE,
            usage="Put a line FROM MODEL above, then: ollama create NAME -f Modelfile",
            apart=frozenset({
                "num_ctx", "num_predict", "num_keep", "num_batch", "num_gpu", "main_gpu", "num_thread", "use_mmap",
                "use_mlock", "numa", "low_vram", "f16_kv", "vocab_only", "seed", "stop", "mirostat_tau", "mirostat_eta",
                "think_budget", "think_budget_message", "draft_num_predict",
            }),
            neutral={"mirostat": 0, "tfs_z": 1.0, "penalize_newline": True},
        )
    },
    notes=("Over /v1 Ollama takes temperature 1 and top_p 1 where a request leaves them out, whatever is said here",),
)  # fmt: skip


def sampler_of(name: str) -> str | None:
    """The sampler that a name means, by its first name; None for none that poise has.

    >>> sampler_of("temp"), sampler_of("infill")
    ('temperature', None)
    """
    found = _OTHER_SAMPLERS.get(name, name)
    return found if found in SAMPLERS else None


def spelled(letters: str) -> list[str]:
    """Samplers of which each is one letter; a letter that poise has not stays as it is.

    >>> spelled("kpti")
    ['top_k', 'top_p', 'temperature', 'i']
    """
    return [name for letter in letters if (name := LETTERS.get(letter, letter))]
