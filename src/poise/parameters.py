"""Every decoding parameter as data: range, off value, meaning, source."""

# ruff: noqa: E501  one entry of a table a line

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Number = float | int
Stage = Literal["penalty", "temperature", "reshaping", "truncation"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """What there is to know about one decoding parameter; every face of poise reads it here.

    Args:
        kind: ``float`` or ``int``.
        low: smallest value; `low_open` says whether it is excluded.
        high: largest value, None for no limit.
        neutral: the value at which the step changes nothing, None where only leaving it out does; of a parameter with
            leaders, the value that it has when it is left out.
        stage: which part of the law it belongs to.
        meaning: what it does, one sentence.
        helps: when it helps, one sentence.
        harms: what goes wrong with it, one sentence.
        source: paper or engine file that defines it.
        leaders: the parameters whose steps it shapes, which do nothing without one of them; empty where it is a step.
    """

    kind: Literal["float", "int"]
    low: Number
    high: Number | None
    neutral: Number | None
    stage: Stage
    meaning: str
    helps: str
    harms: str
    source: str
    low_open: bool = field(default=False, kw_only=True)
    leaders: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def range_text(self) -> str:
        """The range in interval notation, as errors and help print it."""
        left = "(" if self.low_open else "["
        right = "∞)" if self.high is None else f"{self.high:g}]"
        return f"{left}{self.low:g}, {right}"


# Temperature and what bends the logits with it.
_TEMPERATURE = Parameter(
    "float", 0, None, 1.0, "temperature",
    meaning="Divides the logits: below 1 likely tokens gain, above 1 unlikely ones do; 0 is greedy.",
    helps="Raise it for variety, lower it where one answer is right.",
    harms="Low values loop on small models; high values drift into nonsense.",
    source="transformers, generation/logits_process.py::TemperatureLogitsWarper",
)  # fmt: skip
_DYNATEMP_RANGE = Parameter(
    "float", 0, None, 0.0, "temperature",
    meaning="Moves the temperature by up to this much: down where the model is sure, up where it is not.",
    helps="Gives variety where many words fit without risking the words that must be right.",
    harms="The entropy is that of the tokens left by the steps before it, so the same number acts otherwise in another order.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_temp_ext_apply",
)  # fmt: skip
_DYNATEMP_EXPONENT = Parameter(
    "float", 0, None, 1.0, "temperature",
    meaning="Bends how the dynamic temperature follows the entropy: above 1 only very unsure steps get hot.",
    helps="Keeps most steps cool and heats the few that are wide open.",
    harms="It does nothing without a dynatemp_range.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_temp_ext_apply",
    low_open=True, leaders=("dynatemp_range",),
)  # fmt: skip
_SMOOTHING_FACTOR = Parameter(
    "float", 0, None, 0.0, "reshaping",
    meaning="Bends the logits below the largest into a parabola: near ones come closer, far ones fall away.",
    helps="Mixes the good candidates and drops the bad ones with one number.",
    harms="Small values flatten everything, also where one token is right.",
    source="text-generation-webui, modules/sampler_hijack.py::QuadraticSampling",
)  # fmt: skip
_SMOOTHING_CURVE = Parameter(
    "float", 0, None, 1.0, "reshaping",
    meaning="Adds a cubic term to the smoothing: above 1 far tokens fall faster.",
    helps="Cuts the tail harder at the same closeness of the top.",
    harms="Outside 1 to 3 the curve can rise again far below the top.",
    source="text-generation-webui, modules/sampler_hijack.py::QuadraticSampling",
    leaders=("smoothing_factor",),
)  # fmt: skip

# Truncations.
_TOP_K = Parameter(
    "int", 1, None, None, "truncation",
    meaning="Keeps the k most likely tokens, and in some engines those tied with the last of them.",
    helps="Cuts the long tail that makes high temperatures fall apart.",
    harms="One k is too many where the model is sure and too few where it is not.",
    source="Fan et al. 2018; transformers, TopKLogitsWarper",
)  # fmt: skip
_TOP_P = Parameter(
    "float", 0, 1, 1.0, "truncation",
    meaning="Keeps the smallest set of likeliest tokens whose probabilities reach p.",
    helps="Adapts the cut to how sure the model is.",
    harms="Its meaning depends on what comes before it: temperature first widens the set.",
    source="Holtzman et al. 2020; transformers, TopPLogitsWarper",
)  # fmt: skip
_MIN_P = Parameter(
    "float", 0, 1, 0.0, "truncation",
    meaning="Keeps tokens at least m times as likely as the likeliest one.",
    helps="Holds text together at temperatures above 1.",
    harms="Near 1 it is greedy with ties; at usual temperatures it often changes nothing.",
    source="Nguyen et al. 2024; transformers, MinPLogitsWarper",
)  # fmt: skip
_TYPICAL_P = Parameter(
    "float", 0, 1, 1.0, "truncation",
    meaning="Keeps tokens whose surprise is closest to the expected one, until their mass reaches p.",
    helps="Avoids both the dull and the odd where the model is unsure.",
    harms="It can remove the likeliest token.",
    source="Meister et al. 2023; transformers, TypicalLogitsWarper",
    low_open=True,
)  # fmt: skip
_TOP_N_SIGMA = Parameter(
    "float", 0, None, None, "truncation",
    meaning="Keeps tokens whose logit lies within n standard deviations of the largest.",
    helps="The kept set does not depend on the temperature, so that hot texts hold together.",
    harms="The deviation is over the whole vocabulary, whose tail has little to do with the choice.",
    source="Tang et al. 2024; llama.cpp, src/llama-sampler.cpp::llama_sampler_top_n_sigma_apply",
    low_open=True,
)  # fmt: skip
_EPSILON_CUTOFF = Parameter(
    "float", 0, 1, 0.0, "truncation",
    meaning="Keeps tokens with a probability of at least ε, and always the likeliest.",
    helps="Cuts what the model itself calls very unlikely, whatever else is there.",
    harms="Where the model is unsure a fixed floor cuts good words too.",
    source="Hewitt et al. 2022; transformers, EpsilonLogitsWarper",
)  # fmt: skip
_ETA_CUTOFF = Parameter(
    "float", 0, 1, 0.0, "truncation",
    meaning="Like epsilon_cutoff with a floor min(ε, √ε·exp(−H)) that falls where the entropy H is high.",
    helps="Lets more through where the model is unsure.",
    harms="Useful values are tiny (0.0003 to 0.004); some interfaces multiply what is typed by 0.0001.",
    source="Hewitt et al. 2022; transformers, EtaLogitsWarper",
)  # fmt: skip
_TOP_H = Parameter(
    "float", 0, 1, None, "truncation",
    meaning="Of the 100 likeliest tokens keeps those that together carry at most the share h of their entropy.",
    helps="Bounds how random a step may be, rather than how much mass it keeps.",
    harms="Even at 1 only the 100 likeliest tokens stay.",
    source="transformers, generation/logits_process.py::TopHLogitsWarper",
    low_open=True,
)  # fmt: skip
_TFS = Parameter(
    "float", 0, 1, 1.0, "truncation",
    meaning="Cuts the tail where the curve of sorted probabilities has become flat.",
    helps="Finds the end of the good candidates by shape, without a fixed number or mass.",
    harms="One step in the tail can move the cut far; engines differ by one token, and most have dropped it.",
    source="Phénix and Egan 2019; text-generation-webui, modules/sampler_hijack.py::TailFreeLogitsWarper",
)  # fmt: skip
_TOP_A = Parameter(
    "float", 0, None, 0.0, "truncation",
    meaning="Keeps tokens with a probability of at least a times the square of the largest.",
    helps="Cuts hard where the model is sure and hardly at all where it is not.",
    harms="Its effect changes with the square of the top probability, which is hard to foresee.",
    source="text-generation-webui, modules/sampler_hijack.py::TopALogitsWarper",
)  # fmt: skip
_XTC_PROBABILITY = Parameter(
    "float", 0, 1, 0.0, "truncation",
    meaning="With this probability a step loses its likeliest tokens: all that pass the threshold but the last of them.",
    helps="Breaks clichés without touching the tail.",
    harms="It removes right answers as gladly as clichés, and the end of the text with them.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_xtc_apply",
)  # fmt: skip
_XTC_THRESHOLD = Parameter(
    "float", 0, 1, 0.1, "truncation",
    meaning="The probability from which on a token counts as a likely one for XTC; above 0.5 XTC is off.",
    helps="Raise it to remove only tokens that the model would almost surely take.",
    harms="Low values leave only unlikely tokens in steps where XTC strikes.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_xtc_apply",
    leaders=("xtc_probability",),
)  # fmt: skip
_MIROSTAT = Parameter(
    "int", 0, 2, 0, "truncation",
    meaning="Moves a cut from step to step so that the surprise of the drawn tokens stays near a target; 1 and 2 are its versions.",
    helps="Keeps long texts at one level of surprise.",
    harms="Where it is on, llama.cpp drops penalties and all other truncations.",
    source="Basu et al. 2021; llama.cpp, src/llama-sampler.cpp::llama_sampler_mirostat_v2_apply",
)  # fmt: skip
_MIROSTAT_TAU = Parameter(
    "float", 0, None, 5.0, "truncation",
    meaning="The surprise that mirostat aims at, in bits a token.",
    helps="Lower it for safer text, raise it for more varied text.",
    harms="A target that the model cannot reach leaves every token in.",
    source="Basu et al. 2021; llama.cpp, src/llama-sampler.cpp::llama_sampler_mirostat_v2_apply",
    low_open=True, leaders=("mirostat",),
)  # fmt: skip
_MIROSTAT_ETA = Parameter(
    "float", 0, None, 0.1, "truncation",
    meaning="How fast mirostat's cut follows the surprise of the drawn tokens.",
    helps="Raise it where the text should react within a few tokens.",
    harms="High values swing between too strict and too loose.",
    source="Basu et al. 2021; llama.cpp, src/llama-sampler.cpp::llama_sampler_mirostat_v2_apply",
    leaders=("mirostat",),
)  # fmt: skip

# Penalties: what was said before counts.
_REPETITION = Parameter(
    "float", 0, None, 1.0, "penalty",
    meaning="Divides positive logits of tokens seen before by r, multiplies negative ones.",
    helps="Breaks loops at low temperature.",
    harms="Where the prompt counts it also punishes the words that the answer needs, and it depends on a logit offset.",
    source="Keskar et al. 2019; transformers, RepetitionPenaltyLogitsProcessor",
    low_open=True,
)  # fmt: skip
_FREQUENCY = Parameter(
    "float", -2, 2, 0.0, "penalty",
    meaning="Lowers a token's logit by this much for every time it was drawn so far.",
    helps="Presses harder the more often a token repeats.",
    harms="Over long texts it punishes commas and articles most.",
    source="OpenAI API reference; in the transformers dialect a poise extension",
)  # fmt: skip
_PRESENCE = Parameter(
    "float", -2, 2, 0.0, "penalty",
    meaning="Lowers a token's logit by this much once it was drawn at all.",
    helps="Nudges towards tokens not used yet.",
    harms="It does not tell a needed word from a loop.",
    source="OpenAI API reference; in the transformers dialect a poise extension",
)  # fmt: skip
_PENALTY_LAST_N = Parameter(
    "int", 0, None, None, "penalty",
    meaning="The three penalties look at the last so many tokens only; 0 switches them off.",
    helps="Lets words come back after a while.",
    harms="It does nothing without a penalty; a window shorter than the loop does not break it.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_penalties_apply",
    leaders=("repetition_penalty", "frequency_penalty", "presence_penalty"),
)  # fmt: skip
_DRY_MULTIPLIER = Parameter(
    "float", 0, None, 0.0, "penalty",
    meaning="Lowers the logit of a token that would lengthen a repeated sequence, exponentially in its length.",
    helps="Breaks loops of whole phrases and leaves single words alone.",
    harms="Names and quotations that must be repeated are broken too.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_dry_apply",
)  # fmt: skip
_DRY_BASE = Parameter(
    "float", 1, None, 1.75, "penalty",
    meaning="The factor by which DRY's penalty grows with each further repeated token.",
    helps="Raise it to end long repetitions sooner.",
    harms="It does nothing without a dry_multiplier.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_dry_apply",
    leaders=("dry_multiplier",),
)  # fmt: skip
_DRY_ALLOWED_LENGTH = Parameter(
    "int", 0, None, 2, "penalty",
    meaning="Repeated sequences shorter than this many tokens cost nothing.",
    helps="Raise it where set phrases should stay possible.",
    harms="High values let whole clauses loop.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_dry_apply",
    leaders=("dry_multiplier",),
)  # fmt: skip
_DRY_LAST_N = Parameter(
    "int", 0, None, None, "penalty",
    meaning="DRY looks for repetitions in the last so many tokens only.",
    helps="Lets a text come back to what it said long ago.",
    harms="Defaults differ: 64 tokens in llama.cpp since 2026-08, the whole context before.",
    source="llama.cpp, src/llama-sampler.cpp::llama_sampler_dry_apply",
    leaders=("dry_multiplier",),
)  # fmt: skip
_NO_REPEAT_NGRAM = Parameter(
    "int", 0, None, 0, "penalty",
    meaning="Bars every token that would complete a sequence of n tokens that was there before.",
    helps="Ends loops for certain.",
    harms="In long texts it bars names, numbers and set phrases that must come again.",
    source="transformers, generation/logits_process.py::NoRepeatNGramLogitsProcessor",
)  # fmt: skip
_GUIDANCE_SCALE = Parameter(
    "float", 0, None, 1.0, "penalty",
    meaning="Moves the model's log-probabilities away from those that it has without the prompt, γ times as far.",
    helps="Makes a model follow its prompt more closely.",
    harms="Each step costs two passes; high values repeat the prompt's own words.",
    source="Sanchez et al. 2023; transformers, UnbatchedClassifierFreeGuidanceLogitsProcessor",
)  # fmt: skip

PARAMETERS: Mapping[str, Parameter] = {
    "temperature": _TEMPERATURE,
    "top_k": _TOP_K,
    "top_p": _TOP_P,
    "min_p": _MIN_P,
    "typical_p": _TYPICAL_P,
    "repetition_penalty": _REPETITION,
    "frequency_penalty": _FREQUENCY,
    "presence_penalty": _PRESENCE,
    "top_n_sigma": _TOP_N_SIGMA,
    "epsilon_cutoff": _EPSILON_CUTOFF,
    "eta_cutoff": _ETA_CUTOFF,
    "top_h": _TOP_H,
    "tfs": _TFS,
    "top_a": _TOP_A,
    "dynatemp_range": _DYNATEMP_RANGE,
    "dynatemp_exponent": _DYNATEMP_EXPONENT,
    "smoothing_factor": _SMOOTHING_FACTOR,
    "smoothing_curve": _SMOOTHING_CURVE,
    "xtc_probability": _XTC_PROBABILITY,
    "xtc_threshold": _XTC_THRESHOLD,
    "mirostat": _MIROSTAT,
    "mirostat_tau": _MIROSTAT_TAU,
    "mirostat_eta": _MIROSTAT_ETA,
    "penalty_last_n": _PENALTY_LAST_N,
    "dry_multiplier": _DRY_MULTIPLIER,
    "dry_base": _DRY_BASE,
    "dry_allowed_length": _DRY_ALLOWED_LENGTH,
    "dry_last_n": _DRY_LAST_N,
    "no_repeat_ngram_size": _NO_REPEAT_NGRAM,
    "guidance_scale": _GUIDANCE_SCALE,
}
COMMON = tuple(PARAMETERS)[:8]  # those that most engines have, shown first
