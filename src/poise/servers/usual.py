"""What an empty request should get: published, or its software's."""

from __future__ import annotations

from collections.abc import Mapping

from poise.dialects import DIALECTS
from poise.params import PARAMETERS
from poise.servers.calls import About, Kind

# Where the server itself publishes nothing else; of llama-cpp-python: llama_cpp/server/types.py.
USUAL: Mapping[Kind, Mapping[str, float]] = {
    "llama.cpp": DIALECTS["llama.cpp"].defaults,
    "llama-cpp-python": {**DIALECTS["llama.cpp"].defaults, "repetition_penalty": 1.1},
    "ollama": DIALECTS["ollama"].defaults,
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
