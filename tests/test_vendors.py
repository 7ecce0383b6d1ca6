"""The table of published recommendations: every entry sourced, every name matched as it should be."""

from __future__ import annotations

import datetime
import re
from collections import Counter

import pytest

from poise.models.vendors import FAMILIES, Recommendation, plain_name, recommendations, vendor
from poise.params import SamplingParams

# Names as they are met on the hub, as GGUF files and in Ollama, with the family that each belongs to.
NAMES: list[tuple[str, str]] = [
    ("Qwen/Qwen3-8B", "Qwen3"), ("qwen3:8b", "Qwen3"), ("qwen3", "Qwen3"), ("Qwen3-30B-A3B-Q4_K_M.gguf", "Qwen3"),
    ("gguf:./models/Qwen_Qwen3-0.6B-Q8_0.gguf", "Qwen3"), ("hf.co/unsloth/Qwen3-8B-GGUF:Q4_K_M", "Qwen3"),
    ("ollama:qwen3:14b", "Qwen3"), ("http://localhost:8000/v1#Qwen/Qwen3-32B-AWQ", "Qwen3"),
    ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen3-Instruct-2507"), ("qwen3:4b-instruct-2507-q8_0", "Qwen3-Instruct-2507"),
    ("Qwen/Qwen3-4B-Thinking-2507-FP8", "Qwen3-Thinking-2507"), ("qwen3:30b-a3b-thinking-2507-q4_K_M",
                                                               "Qwen3-Thinking-2507"),
    ("Qwen/Qwen3-Coder-30B-A3B-Instruct", "Qwen3-Coder"), ("qwen3-coder:30b", "Qwen3-Coder"),
    ("Qwen/Qwen3.5-9B", "Qwen3.5"), ("qwen3.5:27b", "Qwen3.5"),
    ("Qwen/Qwen2.5-7B-Instruct", "Qwen2.5 from 7B, and Coder"), ("qwen2.5-coder:32b", "Qwen2.5 from 7B, and Coder"),
    ("Qwen/QwQ-32B", "QwQ"), ("qwq:32b", "QwQ"), ("qwq", "QwQ"),
    ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "DeepSeek-R1 and its distillations"),
    ("deepseek-r1:8b", "DeepSeek-R1 and its distillations"),
    ("DeepSeek-R1-0528-Qwen3-8B-Q4_K_M.gguf", "DeepSeek-R1 and its distillations"),
    ("deepseek-ai/DeepSeek-V3-0324", "DeepSeek-V3-0324"), ("deepseek-ai/DeepSeek-V3.2", "DeepSeek-V3.2"),
    ("deepseek-ai/DeepSeek-V4-Flash", "DeepSeek-V4"),
    ("meta-llama/Llama-3.1-8B-Instruct", "Llama 3, 3.1, 3.2 and 3.3"), ("llama3.2", "Llama 3, 3.1, 3.2 and 3.3"),
    ("Meta-Llama-3-8B-Instruct.Q4_0.gguf", "Llama 3, 3.1, 3.2 and 3.3"), ("llama3:8b", "Llama 3, 3.1, 3.2 and 3.3"),
    ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "Llama 4"), ("llama4:scout", "Llama 4"),
    ("nvidia/Llama-3_3-Nemotron-Super-49B-v1", "Llama-Nemotron"),
    ("nvidia/llama-3.3-nemotron-super-49b-v1", "Llama-Nemotron"),
    ("google/gemma-3-4b-it", "Gemma 3"), ("gemma3:12b", "Gemma 3"), ("gemma-3-27b-it-Q4_K_M.gguf", "Gemma 3"),
    ("google/gemma-4-31B-it", "Gemma 4"), ("gemma4", "Gemma 4"),
    ("mistralai/Mistral-Small-3.2-24B-Instruct-2506", "Mistral Small 3"), ("mistral-small:24b", "Mistral Small 3"),
    ("mistral-small3.2", "Mistral Small 3"), ("mistralai/Magistral-Small-2506", "Magistral"),
    ("microsoft/Phi-4-reasoning-plus", "Phi-4-reasoning and -plus"), ("phi4-reasoning", "Phi-4-reasoning and -plus"),
    ("openai/gpt-oss-20b", "gpt-oss"), ("gpt-oss:120b", "gpt-oss"), ("zai-org/GLM-4.6", "GLM-4.6"),
    ("THUDM/GLM-Z1-9B-0414", "GLM-Z1-0414"), ("moonshotai/Kimi-K2-Instruct-0905", "Kimi-K2-Instruct"),
    ("moonshotai/Kimi-K2-Thinking", "Kimi-K2-Thinking"), ("MiniMaxAI/MiniMax-M2", "MiniMax-M2"),
    ("XiaomiMiMo/MiMo-V2.5", "MiMo-V2.5"), ("HuggingFaceTB/SmolLM3-3B", "SmolLM3"),
    ("NousResearch/Hermes-4-70B", "Hermes 4"),
    ("LiquidAI/LFM2-1.2B", "LFM2"), ("LiquidAI/LFM2.5-1.2B-Instruct", "LFM2.5"),
]  # fmt: skip
# Look-alikes: other models, base models, other kinds of model, and families whose vendors publish nothing.
STRANGERS = [
    "my-qwen3-finetune-notes", "notes-on-llama-3.1-instruct", "llama-2-7b-chat", "meta-llama/Llama-2-13b-chat-hf",
    "llama2", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-8B-Base", "Qwen/Qwen3-Embedding-0.6B", "Qwen/Qwen3-Reranker-4B",
    "Qwen/Qwen3-VL-8B-Instruct", "Qwen/Qwen3Guard-Gen-8B", "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen-7B-Chat",
    "Qwen/Qwen2.5-0.5B-Instruct", "Qwen/Qwen2.5-VL-7B-Instruct", "Qwen/QwQ-32B-Preview", "Qwen/Qwen30", "qwen35",
    "Qwen/Qwen3.6-27B", "google/gemma-3-4b-pt", "google/gemma-3n-E4B-it", "google/gemma-2-9b-it", "gemma2:9b",
    "google/gemma-4-31B", "microsoft/phi-4", "microsoft/Phi-4-mini-reasoning", "gpt2", "hf:gpt2", "gpt-4o", "fake",
    "mistralai/Mistral-7B-Instruct-v0.3", "mistral", "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V3.2-Exp",
    "ibm-granite/granite-3.3-8b-instruct", "allenai/OLMo-2-0325-32B-Instruct", "openai/gpt-oss-safeguard-20b",
    "moonshotai/Kimi-K2.5", "MiniMaxAI/MiniMax-M2.1", "zai-org/GLM-4.6V", "NousResearch/Hermes-4.3-36B",
    "HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2", "HuggingFaceTB/SmolLM3-3B-Base", "smollm",
    "LiquidAI/LFM2-VL-450M", "", "/", "#",
    "meta-llama/Llama-Guard-3-8B", "tokyotech-llm/Llama-3.1-Swallow-8B-Instruct-v0.3",
    "nvidia/Llama-3.1-Nemotron-70B-Instruct-HF", "meta-llama/Llama-3.2-11B-Vision-Instruct", "Qwen/Qwen3-Max",
    "RLHFlow/Llama-3.1-8B-Instruct-RM",
]  # fmt: skip


@pytest.mark.parametrize(("name", "family"), NAMES)
def test_names_belong_to_their_family(name: str, family: str) -> None:
    found = vendor(name)
    assert (found.family if found else None) == family


@pytest.mark.parametrize("name", STRANGERS)
def test_look_alikes_belong_to_none(name: str) -> None:
    assert vendor(name) is None
    assert vendor(name, thinking=True) is None


@pytest.mark.parametrize("entry", recommendations(), ids=lambda e: f"{e.family}, {e.mode}")
def test_every_entry_has_a_source_and_valid_settings(entry: Recommendation) -> None:
    assert re.fullmatch(r"https://[a-z.]+/[^\s]+", entry.source)
    assert datetime.date(2026, 1, 1) <= datetime.date.fromisoformat(entry.read)
    assert SamplingParams.model_validate(dict(entry.params)) == entry.params
    assert entry.params.temperature is not None
    assert entry.params.dialect == "transformers"  # vendors speak of engines that divide by the temperature first
    assert entry.family
    assert not entry.note or entry.note.endswith(".")
    assert entry.mode in ("thinking", "not thinking", "")


def test_every_family_is_met_by_some_name() -> None:
    assert {name for _, name in NAMES} == {entry.family for entry in recommendations()}
    for family in FAMILIES:
        modes = Counter(entry.mode for entry in family.entries)
        assert max(modes.values()) == 1
        assert len(family.entries) == 1 or set(modes) == {"thinking", "not thinking"}
        assert len({entry.family for entry in family.entries}) == 1


def test_the_mode_decides_where_there_are_two() -> None:
    thinks, says, default = vendor("qwen3:8b", True), vendor("qwen3:8b", False), vendor("qwen3:8b")
    assert thinks
    assert says
    assert default
    assert (thinks.mode, says.mode) == ("thinking", "not thinking")
    assert (thinks.params.temperature, thinks.params.top_p, thinks.params.top_k) == (0.6, 0.95, 20)
    assert (says.params.temperature, says.params.top_p, says.params.top_k) == (0.7, 0.8, 20)
    assert default.params == thinks.params
    assert default.note.startswith("For thinking, its default mode. ")
    assert "default mode" not in thinks.note


def test_the_only_mode_is_said_where_the_other_was_asked_for() -> None:
    asked = vendor("Qwen/Qwen3-4B-Thinking-2507", thinking=False)
    assert asked
    assert asked.mode == "thinking"
    assert asked.note.startswith("For thinking, the only mode it is published for.")
    for thinking in (True, False, None):
        plain = vendor("google/gemma-3-4b-it", thinking)
        assert plain
        assert plain.note == "Its generation_config.json."


def test_a_distillation_is_its_vendors_and_not_its_base_s() -> None:
    found = vendor("deepseek-r1:8b-0528-qwen3-q4_K_M")
    assert found
    assert found.family.startswith("DeepSeek-R1")


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("  Qwen/Qwen3-8B  ", "qwen3-8b"), ("C:\\models\\Qwen3-8B-Q8_0.gguf", "qwen3-8b-q8-0"),
        ("hf:meta-llama/Llama-3.1-8B-Instruct/", "llama-3.1-8b-instruct"), ("library/llama3.1:8b", "llama3.1:8b"),
        ("bartowski/nvidia_Llama-3.1-Nemotron-Nano-8B-v1-GGUF", "llama-3.1-nemotron-nano-8b-v1-gguf"),
        ("google_gemma-3-4b-it-Q4_K_M.gguf", "gemma-3-4b-it-q4-k-m"), ("", ""),
    ],
)  # fmt: skip
def test_plain_names(name: str, plain: str) -> None:
    assert plain_name(name) == plain
