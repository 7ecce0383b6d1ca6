"""What vendors recommend, by model family and mode, dated."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal, NamedTuple

from poise.params import SamplingParams

Mode = Literal["thinking", "not thinking", ""]
READ = "2026-11-27"  # when the sources were read; a later reading of one entry gets its own date
# Pages of the hub were read as copies of them: other repositories and mirrors that hold the same card or file.
HUB = "https://huggingface.co/"
CODE = "https://github.com/"
QWEN_DOCS = f"{CODE}QwenLM/Qwen3/blob/main/docs/source/getting_started/quickstart.md"


class Recommendation(NamedTuple):
    """Settings that a vendor publishes for a model.

    Args:
        family: the models it is for.
        mode: ``thinking``, ``not thinking``, or empty where there is one mode, or no difference.
        params: the settings; what the vendor does not mention is off.
        source: URL of the page that says so.
        read: the day it was read, ISO.
        note: what the page adds, and how the mode was chosen; empty for nothing.
    """

    family: str
    mode: Mode
    params: SamplingParams
    source: str
    read: str
    note: str


class Family(NamedTuple):
    """Models with one recommendation for each mode, the mode that they have by default first.

    Args:
        pattern: regular expression that a name begins with, see `plain_name`.
        entries: one for each mode.
    """

    pattern: str
    entries: tuple[Recommendation, ...]


def _entry(family: str, params: SamplingParams, source: str, note: str = "", mode: Mode = "") -> Recommendation:
    return Recommendation(family, mode, params, source, READ, note)


_QWEN_NOTE = "Greedy is advised against. A presence penalty between 0 and 2 reduces repetition, at some cost."
_THINKS = SamplingParams(temperature=0.6, top_p=0.95, top_k=20, min_p=0.0)
_SAYS = SamplingParams(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0)
_SIX = SamplingParams(temperature=0.6, top_p=0.95)

# The first family whose pattern fits is taken: special ones stand before general ones.
FAMILIES: tuple[Family, ...] = (
    Family(r"deepseek-r1", (
        _entry("DeepSeek-R1 and its distillations", _SIX, f"{CODE}deepseek-ai/DeepSeek-R1#usage-recommendations",
               "Temperature 0.5 to 0.7, 0.6 recommended; top-p as in its generation_config.json.", "thinking"),
    )),
    Family(r"deepseek-v3-0324", (
        _entry("DeepSeek-V3-0324", SamplingParams(temperature=0.3), f"{HUB}deepseek-ai/DeepSeek-V3-0324#temperature",
               "The vendor's API turns a temperature of 1 into 0.3."),
    )),
    Family(r"deepseek-v3\.2(?!-exp)", (
        _entry("DeepSeek-V3.2", SamplingParams(temperature=1.0, top_p=0.95), f"{HUB}deepseek-ai/DeepSeek-V3.2",
               "For local deployment."),
    )),
    Family(r"deepseek-v4", (
        _entry("DeepSeek-V4", SamplingParams(temperature=1.0, top_p=1.0), f"{HUB}deepseek-ai/DeepSeek-V4-Flash",
               "For local deployment; top-p 0.95 for agents."),
    )),
    Family(r"qwen3-.*instruct-2507|qwen3:.*instruct-2507", (
        _entry("Qwen3-Instruct-2507", _SAYS, QWEN_DOCS, _QWEN_NOTE, "not thinking"),
    )),
    Family(r"qwen3-.*thinking-2507|qwen3:.*thinking-2507", (
        _entry("Qwen3-Thinking-2507", _THINKS, QWEN_DOCS, _QWEN_NOTE, "thinking"),
    )),
    Family(r"qwen3-coder(?!-next)", (
        _entry("Qwen3-Coder", SamplingParams(temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05),
               f"{HUB}Qwen/Qwen3-Coder-30B-A3B-Instruct#best-practices", "", "not thinking"),
    )),
    Family(r"qwen3\.5", (
        _entry("Qwen3.5", SamplingParams(temperature=1.0, top_p=0.95, top_k=20, min_p=0.0, presence_penalty=1.5),
               f"{HUB}Qwen/Qwen3.5-27B#best-practices",
               "For general tasks; for precise code temperature 0.6 without a presence penalty.", "thinking"),
        _entry("Qwen3.5", SamplingParams(temperature=0.7, top_p=0.8, top_k=20, min_p=0.0, presence_penalty=1.5),
               f"{HUB}Qwen/Qwen3.5-27B#best-practices",
               "For general tasks; for reasoning temperature 1, top-k 40, presence penalty 2.", "not thinking"),
    )),
    Family(r"qwen3(?:-\d|:|$)", (
        _entry("Qwen3", _THINKS, QWEN_DOCS, _QWEN_NOTE, "thinking"),
        _entry("Qwen3", _SAYS, QWEN_DOCS, _QWEN_NOTE, "not thinking"),
    )),
    Family(r"qwq(?!.*preview)", (
        _entry("QwQ", _SIX, f"{HUB}Qwen/QwQ-32B#usage-guidelines", "Greedy is advised against.", "thinking"),
    )),
    Family(r"qwen2\.5(?:-coder)?[-:](?:7|14|32|72)b", (
        _entry("Qwen2.5 from 7B, and Coder", SamplingParams(
            temperature=0.7, top_p=0.8, top_k=20, repetition_penalty=1.05),
            f"{HUB}Qwen/Qwen2.5-7B-Instruct/blob/main/generation_config.json", "Its generation_config.json."),
    )),
    Family(r"llama-3[.-][13]-nemotron-(?:nano|super|ultra)", (
        _entry("Llama-Nemotron", _SIX,
               "https://docs.nvidia.com/nim/large-language-models/latest/reasoning-model.html",
               "The system prompt sets the mode: detailed thinking on, or off.", "thinking"),
        _entry("Llama-Nemotron", SamplingParams(temperature=0),
               "https://docs.nvidia.com/nim/large-language-models/latest/reasoning-model.html",
               "The system prompt sets the mode: detailed thinking on, or off.", "not thinking"),
    )),
    Family(r"llama-3(?:\.[123])?-\d+b-instruct|llama3(?:\.[123])?(?::|$)", (
        _entry("Llama 3, 3.1, 3.2 and 3.3", SamplingParams(temperature=0.6, top_p=0.9),
               f"{CODE}meta-llama/llama-models/blob/main/models/llama3/scripts/chat_completion.py",
               "The defaults of the vendor's own script; generation_config.json has the same."),
    )),
    Family(r"llama-4-(?:scout|maverick)-.*instruct|llama4(?::|$)", (
        _entry("Llama 4", SamplingParams(temperature=0.6, top_p=0.9),
               f"{CODE}meta-llama/llama-models/blob/main/models/llama4/scripts/chat_completion.py",
               "The defaults of the vendor's own script; generation_config.json has the same."),
    )),
    Family(r"gemma-3-\d+[bm]-it(?:-|\.|$)|gemma3(?::|$)", (
        _entry("Gemma 3", SamplingParams(temperature=1.0, top_k=64, top_p=0.95),
               f"{HUB}google/gemma-3-27b-it/blob/main/generation_config.json", "Its generation_config.json."),
    )),
    Family(r"gemma-4-e?\d+b(?:-a\d+b)?-it(?:-|\.|$)|gemma4(?::|$)", (
        _entry("Gemma 4", SamplingParams(temperature=1.0, top_k=64, top_p=0.95),
               f"{HUB}google/gemma-4-31B-it/blob/main/generation_config.json", "Its generation_config.json."),
    )),
    Family(r"magistral", (
        _entry("Magistral", SamplingParams(temperature=0.7, top_p=0.95),
               f"{HUB}mistralai/Magistral-Small-2506#sampling-parameters", "", "thinking"),
    )),
    Family(r"mistral-small[-:]?(?:3|24b)", (
        _entry("Mistral Small 3", SamplingParams(temperature=0.15),
               f"{HUB}mistralai/Mistral-Small-3.2-24B-Instruct-2506#usage", "A relatively low temperature."),
    )),
    Family(r"phi-?4-reasoning", (
        _entry("Phi-4-reasoning and -plus", SamplingParams(temperature=0.8, top_k=50, top_p=0.95),
               f"{HUB}microsoft/Phi-4-reasoning#usage", "", "thinking"),
    )),
    Family(r"gpt-oss(?!-safeguard)", (
        _entry("gpt-oss", SamplingParams(temperature=1.0, top_p=1.0),
               f"{CODE}openai/gpt-oss#recommended-sampling-parameters", "Plain sampling.", "thinking"),
    )),
    Family(r"glm-4\.6(?!v)", (
        _entry("GLM-4.6", SamplingParams(temperature=1.0), f"{HUB}zai-org/GLM-4.6#recommended-evaluation-parameters",
               "For code top-p 0.95 and top-k 40 as well."),
    )),
    Family(r"glm-z1", (
        _entry("GLM-Z1-0414", SamplingParams(temperature=0.6, top_p=0.95, top_k=40), f"{HUB}zai-org/GLM-Z1-32B-0414",
               "", "thinking"),
    )),
    Family(r"kimi-k2-thinking", (
        _entry("Kimi-K2-Thinking", SamplingParams(temperature=1.0), f"{HUB}moonshotai/Kimi-K2-Thinking", "",
               "thinking"),
    )),
    Family(r"kimi-k2(?![.\d])", (
        _entry("Kimi-K2-Instruct", SamplingParams(temperature=0.6), f"{CODE}MoonshotAI/Kimi-K2#5-model-usage",
               "The vendor's Anthropic-like API multiplies temperatures by 0.6.", "not thinking"),
    )),
    Family(r"minimax-m2(?![.\d])", (
        _entry("MiniMax-M2", SamplingParams(temperature=1.0, top_p=0.95, top_k=40),
               f"{CODE}MiniMax-AI/MiniMax-M2#inference-parameters", "", "thinking"),
    )),
    Family(r"mimo-v2\.5", (
        _entry("MiMo-V2.5", SamplingParams(temperature=1.0, top_p=0.95), f"{HUB}XiaomiMiMo/MiMo-V2.5",
               "For local deployment."),
    )),
    Family(r"smollm3", (
        _entry("SmolLM3", _SIX, f"{HUB}HuggingFaceTB/SmolLM3-3B#how-to-use", "The same for both modes."),
    )),
    Family(r"hermes-4(?![.\d])", (
        _entry("Hermes 4", SamplingParams(temperature=0.6, top_p=0.95, top_k=20),
               f"{HUB}NousResearch/Hermes-4-70B#inference-notes", "The same for both modes."),
    )),
    Family(r"lfm2\.5-(?!.*thinking)", (
        _entry("LFM2.5", SamplingParams(temperature=0.1, top_k=50, top_p=0.1, repetition_penalty=1.05),
               "https://docs.liquid.ai/docs/key-concepts/text-generation-and-prompting"),
    )),
    Family(r"lfm2(?=[-:]|$)", (
        _entry("LFM2", SamplingParams(temperature=0.3, min_p=0.15, repetition_penalty=1.05),
               "https://docs.liquid.ai/docs/key-concepts/text-generation-and-prompting"),
    )),
)  # fmt: skip

# Of other kinds, or not tuned to answer: what holds for their family does not hold for them.
_OTHER = re.compile(
    r"(?:^|[-.:])(?:base|pt|pretrain(?:ed)?|embed(?:ding)?s?|rerank(?:er)?|vl|vision|omni|asr|tts|audio|guard|math|"
    r"reward|rm|draft|colbert)(?=[-.:]|$)|-guard"
)
_SPECS = re.compile(r"^(?:hf|gguf|ollama|llamacpp):(?!//)")
_OWNERS = re.compile(
    r"^(?:qwen|meta|meta-llama|nvidia|google|mistralai|microsoft|openai|deepseek-ai|nousresearch|moonshotai|minimaxai|"
    r"zai-org|thudm|huggingfacetb|liquidai|xiaomimimo|unsloth|bartowski|lmstudio-community)-(?=[a-z])"
)


def vendor(model: str, thinking: bool | None = None) -> Recommendation | None:
    """What a model's vendor recommends.

    Args:
        model: its name: on the hub, of a GGUF file, in Ollama; with or without an engine in front.
        thinking: the mode; None for the one that the model has by default.

    Returns:
        The recommendation of the most special family that the name begins with, or None where none is known: a
        fine-tune under another name, a base model, a family whose vendor publishes nothing. A model with one mode has
        one recommendation, whatever mode is asked for. How the mode was chosen is said in the note.

    >>> found = vendor("Qwen/Qwen3-8B", thinking=False)
    >>> found.params.label if found else None
    'temperature=0.7,top_k=20,top_p=0.8'
    """
    name = plain_name(model)
    if _OTHER.search(name):
        return None
    family = next((f for f in FAMILIES if re.match(f.pattern, name)), None)
    if family is None:
        return None
    wanted: Mode = "thinking" if thinking else "not thinking"
    first, several = family.entries[0], len(family.entries) > 1
    if several and thinking is not None:
        return next(e for e in family.entries if e.mode == wanted)
    if several:
        return first._replace(note=_joined(f"For {first.mode}, its default mode.", first.note))
    if first.mode and thinking is not None and first.mode != wanted:
        return first._replace(note=_joined(f"For {first.mode}, the only mode it is published for.", first.note))
    return first


def plain_name(model: str) -> str:
    """A model's name as the patterns are written: small letters, dashes, no folders, engines and owners.

    Args:
        model: as users and servers write it.

    Returns:
        It.

    >>> plain_name("gguf:/models/Qwen_Qwen3-8B-Q4_K_M.gguf"), plain_name("hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M")
    ('qwen3-8b-q4-k-m', 'qwen3-8b-gguf:q4-k-m')
    """
    name = _SPECS.sub("", model.strip().rpartition("#")[2].lower())
    name = re.split(r"[/\\]", name.rstrip("/\\"))[-1]
    name = re.sub(r"[\s_]+", "-", name).removesuffix(".gguf")
    return _OWNERS.sub("", name)


def recommendations() -> Iterable[Recommendation]:
    """Every entry of the table."""
    return (entry for family in FAMILIES for entry in family.entries)


def _joined(first: str, second: str) -> str:
    return f"{first} {second}".strip()
