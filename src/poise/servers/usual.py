"""What an empty request should get: published, or its software's."""

from __future__ import annotations

from collections.abc import Mapping

from poise.params import PARAMETERS
from poise.servers.calls import About, Kind

# Where the server itself publishes nothing else: common/common.h, llama_cpp/server/types.py, api/types.go.
USUAL: Mapping[Kind, Mapping[str, float]] = {
    "llama.cpp": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    "llama-cpp-python": {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.1},
    "ollama": {"temperature": 0.8, "top_k": 40, "top_p": 0.9},
}


def published(about: About) -> dict[str, float]:
    """The settings of an empty request, by poise's names; what is off is not among them.

    Args:
        about: what the server says of itself.

    Returns:
        A hypothesis: `poise probe` says whether it holds.
    """
    usual = {**USUAL.get(about.kind, {}), **about.defaults}
    return {
        name: float(value)
        for name, value in usual.items()
        if value != PARAMETERS[name].neutral and not (name == "top_k" and value <= 0)
    }
