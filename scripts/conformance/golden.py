"""The engines' own test vectors, as settings of poise's dialects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from poise import law
from poise.dialects import DIALECTS
from poise.law import History
from poise.params import SamplingParams

FILE = Path(__file__).resolve().parent.parent.parent / "tests" / "data" / "samplers.json"
DATA: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
Settings = dict[str, Any]

# What is outside poise's law, and why; tests/test_golden.py checks that nothing is left over.
ELSEWHERE: Mapping[str, str] = {
    "hf-minlen": "min_length counts the prompt; poise has min_tokens, which does not, as a field of the request",
    **dict.fromkeys(
        ("hf-encrep-0", "hf-encrep-1"),
        "encoder_repetition_penalty: of models with an encoder, which poise does not run",
    ),
    **dict.fromkeys(
        ("hf-encngram-2-1211-121", "hf-encngram-2-1211-802", "hf-encngram-3-1211-802", "hf-encngram-2-0021-022",
         "hf-encngram-3-0021-022"),
        "encoder_no_repeat_ngram_size: of models with an encoder, which poise does not run",
    ),
    **dict.fromkeys(
        ("hf-minp-ramp", "hf-minp-ramp100", "hf-typ-ramp100", "hf-eps-ramp100"),
        "hangs on min_tokens_to_keep = 2, which transformers sets in beam search alone; poise keeps one token at least",
    ),
    "hf-bias-1": "biases of sequences of tokens: poise's logit_bias is of single tokens",
    "ollamago-temp0": "temperature 0 as 1e-7, in Ollama's Go sampler, which is gone since 2026-05-29",
}  # fmt: skip
# Groups of differential cases that are of no dialect, by case: the engines that the group names.
NO_DIALECT: Mapping[str, tuple[str, ...]] = {
    "top_p-exact-boundary": ("stop at cum>p",),
    "top_n_sigma-std": ("text-generation-webui",),
    "rep-in-beam-search": ("transformers beam search",),
    # mlx-lm counted the prompt's last token alone before 0.32.0; `generate_step` of 0.32.2, run, counts all of it.
    "rep-scope": ("llama-cpp-python", "mlx-lm"),
    "freq-scope": ("TGI flash", "transformers serve", "transformers generate", "llama-cpp-python", "mlx-lm"),
}
STOPS = tuple(c for c in DATA["golden"] if c["op"] == "stop_string")
LENGTHS = tuple(c for c in DATA["golden"] if c["op"] == "min_new_tokens")


class Case(NamedTuple):
    """One case under one dialect.

    Args:
        id: of the case, with the dialect where several share it.
        source: whose test it is.
        params: the settings; unchecked, as some engines take more than poise's ranges.
        logits: (V,).
        history: what was said before.
        unconditional: (V,), of guidance.
        form: how the expectation is given.
        value: the expectation.
        tolerance: of numbers.
    """

    id: str
    source: str
    params: SamplingParams
    logits: law.Row
    history: History
    unconditional: law.Row | None
    form: str
    value: Any
    tolerance: float


def _on(name: str, key: str) -> Callable[[Settings], Settings]:
    return lambda p: {name: p[key]}


def _penalties(p: Settings) -> Settings:
    return {
        "repetition_penalty": float(p["repeat"]), "frequency_penalty": float(p["freq"]),
        "presence_penalty": float(p["present"]), "penalty_last_n": p["last_n"],
    }  # fmt: skip


def _windowed(name: str) -> Callable[[Settings], Settings]:
    def settings(p: Settings) -> Settings:
        last = p.get("context", p.get("last_n"))
        return {name: float(p["penalty"]), "penalty_last_n": 4096 if last == -1 else last}  # -1: the whole context

    return settings


def _dry(p: Settings) -> Settings:
    return {
        "dry_multiplier": p["multiplier"], "dry_base": p["base"], "dry_allowed_length": p["allowed_length"],
        "dry_last_n": p["last_n"],
    }  # fmt: skip


LETTERS = {"k": "top_k", "p": "top_p", "m": "min_p"}
OPS: Mapping[str, Callable[[Settings], Settings]] = {
    "temperature": _on("temperature", "temp"),
    "dynatemp": lambda p: {"temperature": p["temp"], "dynatemp_range": p["delta"], "dynatemp_exponent": p["exponent"]},
    "top_k": lambda p: {"top_k": max(p["k"], p.get("min_keep", 0)) or None},
    "top_p": _on("top_p", "p"),
    "min_p": lambda p: {"min_p": min(p["p"], 1.0)},  # llama.cpp clamps 1.05
    "typical_p": _on("typical_p", "p"),
    "xtc": lambda p: {"xtc_probability": p["probability"], "xtc_threshold": p["threshold"]},
    "top_n_sigma": lambda p: {"top_n_sigma": p["n"] or None},
    "epsilon_cutoff": _on("epsilon_cutoff", "epsilon"),
    "eta_cutoff": _on("eta_cutoff", "epsilon"),
    "penalties": _penalties,
    "repetition_penalty": lambda p: _windowed("repetition_penalty")(p) if "last_n" in p else _REPEAT(p),
    "frequency_penalty": _windowed("frequency_penalty"),
    "presence_penalty": _windowed("presence_penalty"),
    "rep_pres_freq_chain": lambda p: {
        "repetition_penalty": p["repetition"], "presence_penalty": p["presence"],
        "frequency_penalty": p["frequency"], "penalty_last_n": p["context"],
    },
    "dry": _dry,
    "queue": lambda p: {
        "top_k": p["top_k"], "top_p": p["top_p"], "min_p": p["min_p"],
        "order": tuple(LETTERS[c] for c in p["sequence"]),
    },
    "queue_probs": lambda p: {"top_k": p["k"], "top_p": p["p"]},
    "no_repeat_ngram_size": _on("no_repeat_ngram_size", "n"),
    "bad_words_ids": lambda p: {"bad_words": tuple(tuple(w) for w in p["bad_words"] if w != [p["eos"]])},
    "guidance_scale": _on("guidance_scale", "scale"),
    "softmax": lambda p: {},
}  # fmt: skip
_REPEAT = _on("repetition_penalty", "penalty")
ENGINES = {"llama.cpp": "llama.cpp", "transformers": "transformers", "mlx-lm": "mlx", "ollama(mlx)": "ollama",
           "ollama(old Go)": "ollama"}  # fmt: skip


def _params(dialect: str, settings: Settings) -> SamplingParams:
    """Settings as given: the engines' tests use values that their users, and poise's, may not."""
    return SamplingParams.model_construct(**settings, dialect=dialect)


def _logits(given: Settings) -> law.Row:
    with np.errstate(divide="ignore"):
        if "n_vocab" in given:
            return np.log(np.arange(given["n_vocab"], dtype=np.float64))
        if "probs" in given:
            return np.log(np.array(given["probs"], dtype=np.float64))
    if "logits" in given:
        return np.array([float(x) for x in given["logits"]])
    if "logits_cond" in given:
        return np.array(given["logits_cond"], dtype=np.float64)
    return np.zeros(given.get("vocab", 10))


def _golden(case: Settings) -> Case:
    given, expect = case["input"], dict(case["expect"])
    expect.pop("raw_probs", None)
    [(form, value)] = expect.items()
    unconditional = None
    if form == "formula":
        unconditional = np.array(given["logits_uncond"], dtype=np.float64)
        u, c = (np.log(law.probabilities(row)) for row in (unconditional, _logits(given)))
        form, value = "logits", u + 1.5 * (c - u)
    breakers = frozenset(tuple(b) for b in case["params"].get("breakers", ()))
    return Case(
        case["id"], case["source"], _params(ENGINES[case["engine"]], OPS[case["op"]](case["params"])), _logits(given),
        History((), tuple(given.get("history", ())), breakers), unconditional, form, value,
        1e-4 if case["id"] == "mlx-chain" else case["tol"],
    )  # fmt: skip


# The groups of the differential cases: which dialects each is, and the expectation in a form that `check` knows.
FIRST, LAST = ("transformers", "vllm", "sglang"), ("llama.cpp", "ollama", "mlx")
GROUPS: Mapping[str, tuple[tuple[str, tuple[str, ...], Settings, str, Any], ...]] = {
    "temp-order-top_p": (("temp first", FIRST, {}, "kept", [0]), ("temp last", LAST, {}, "kept", [0, 1])),
    "temp-order-min_p": (
        ("temp first", FIRST, {}, "kept", [0, 1, 2, 3, 4]),
        ("temp last", LAST, {}, "kept", [0, 1]),
        ("temp last with exported", LAST, {"min_p": 0.3**2}, "kept", [0, 1, 2, 3, 4]),
    ),
    "top_p-exact-boundary": (("stop at cum>=p", FIRST + LAST, {}, "kept", [0, 1]),),
    "top_k-ties": (("ties kept", FIRST, {}, "kept", [0, 1, 2]), ("exactly k", LAST, {}, "one of", [[0, 1], [0, 2]])),
    "penalty-order": (
        ("rep then additive", ("vllm", "transformers", *LAST), {}, "logits", [1.1, -0.26]),
        ("additive then rep", ("sglang",), {}, "logits", [1.2, -0.25]),
    ),
    "rep-scope": (
        ("transformers", ("transformers", "vllm"), {}, "penalised", [3, 7, 8]),
        ("llama-server", ("llama.cpp", "ollama", "mlx"), {}, "penalised", [3, 7, 8]),
        ("SGLang", ("sglang",), {}, "penalised", [3]),
    ),
    "freq-scope": (
        ("OpenAI", ("vllm", "sglang", "transformers"), {}, "change of 5", -1.0),
        ("llama-server", ("llama.cpp", "ollama", "mlx"), {}, "change of 5", -3.0),
    ),
    "top_n_sigma-std": (("llama.cpp", ("llama.cpp",), {}, "kept", [0, 1]),),
    "typical-boundary": (
        ("transformers", ("transformers",), {}, "kept", [0, 1]),
        ("llama.cpp", ("llama.cpp", "ollama"), {}, "one of", [[0, 1, 2], [0, 1, 3]]),
    ),
    "typical-ties": (
        ("transformers", ("transformers",), {}, "kept", [0, 1, 2, 3]),
        ("llama.cpp", ("llama.cpp", "ollama"), {}, "one of", [[0, 1, 2], [0, 1, 3]]),
    ),
    "temp0-typical": (
        ("llama.cpp chain", ("llama.cpp", "ollama"), {}, "one of", [[1], [2], [3]]),
        ("transformers", ("transformers",), {}, "kept", [0]),
    ),
    "top_p-zero": (
        ("llama.cpp, transformers", ("llama.cpp", "transformers"), {}, "kept", [0]),
        ("mlx-lm", ("mlx",), {}, "kept", [0, 1, 2]),
        ("vLLM", ("vllm", "sglang"), {}, "refused", None),
    ),
    "rep-in-beam-search": (("transformers sampling", ("transformers",), {}, "logits", [1.0, 1.0]),),
}  # fmt: skip


def _differential(case: Settings) -> list[Case]:
    given = case["input"]
    logits = np.full(10, 1.0) if "prompt" in given else _logits(given)
    output = given.get("output", given.get("output_history", given.get("history", ())))
    history = History(tuple(given.get("prompt", ())), tuple(output))
    return [
        Case(
            f"{case['id']}: {group}: {dialect}", "derived from the engines' formulas",
            _params(dialect, {**case["spec"], **changed}), logits, history, None, form, value, 1e-6,
        )
        for group, dialects, changed, form, value in GROUPS[case["id"]]
        for dialect in dialects
    ]  # fmt: skip


GOLDEN = [_golden(c) for c in DATA["golden"] if c["id"] not in ELSEWHERE and c not in STOPS and c not in LENGTHS]
DIFFERENTIAL = [case for c in DATA["differential"] for case in _differential(c)]
CASES = [*GOLDEN, *DIFFERENTIAL]
RUN = [c for c in CASES if c.form != "refused"]
assert {c.params.dialect for c in CASES} <= {*DIALECTS}


def kept(logits: law.Row) -> list[int]:
    """The ids of the tokens that are left."""
    return [int(i) for i in np.flatnonzero(logits > -np.inf)]


def check(case: Case, after: law.Row) -> None:
    """Compare reshaped logits with what a case expects.

    Args:
        case: the case.
        after: the row after all steps, (V,).
    """
    value, tolerance = case.value, case.tolerance
    if case.form == "kept":
        assert kept(after) == value
    elif case.form == "one of":
        assert kept(after) in value
    elif case.form == "n_kept":
        assert len(kept(after)) == value
    elif case.form == "banned":
        assert [i for i in range(after.size) if i not in kept(after)] == value
    elif case.form == "argmax":
        assert int(np.argmax(after)) == value
    elif case.form == "stages_size_minid":
        assert (len(kept(after)), min(kept(after)), max(kept(after))) == (value[-1][1], value[-1][2], after.size - 1)
    elif case.form == "penalised":
        assert [int(i) for i in np.flatnonzero(after != case.logits)] == value
    elif case.form == "change of 5":
        np.testing.assert_allclose(after[5] - case.logits[5], value, atol=tolerance)
    elif case.form == "logits":
        np.testing.assert_allclose(after, np.array(value, dtype=np.float64), atol=tolerance)
    else:
        assert case.form == "probs", case.form
        np.testing.assert_allclose(law.probabilities(after), value, atol=tolerance)
