"""Real servers of the embedded model, probed: what is known of their software is what is found."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts import remote_dial

import real_servers
from poise.params import PARAMETERS
from poise.probes import BUDGET, probe
from poise.servers.honours import Honour

pytestmark = [pytest.mark.slow, pytest.mark.model]

# What is honoured otherwise, read in the engines' source; everything else is honoured.
TRUTHS: dict[str, dict[str, Honour]] = {
    "vllm": {"order": "honoured otherwise"},  # min_p before top_p
    "llama-server": {
        "order": "honoured otherwise",
        "frequency_penalty": "honoured otherwise",
        "presence_penalty": "honoured otherwise",
    },
    "llama-cpp-python": {
        "order": "honoured otherwise",
        "repetition_penalty": "honoured otherwise",
        "n": "ignored",
    },
}
DIALECTS = {"vllm": "transformers", "llama-server": "temperature-last", "llama-cpp-python": "temperature-last"}
SLOW = {"llama-cpp-python"}  # it sorts the whole vocabulary at every place
SOME = frozenset({"temperature", "top_p", "repetition_penalty", "n"})


@pytest.mark.parametrize("name", TRUTHS)
def test_what_is_known_is_found(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    if missing := real_servers.why_missing(name):
        pytest.skip(missing)
    with real_servers.serving(name, remote_dial.model_for(name, tmp_path), tmp_path / "server.log") as url:
        found = probe(f"{url}#smollm2", names=SOME if name in SLOW else None)
    truth = TRUTHS[name]
    wrong = [f for f in found.findings if f.honour not in (truth.get(f.name, "honoured"), "cannot tell")]
    near_ties = [f for f in wrong if f.name in ("seed", "greedy")]  # a text may part at one of them when it comes again
    assert wrong == near_ties, wrong
    unclear = [f.name for f in found.findings if f.honour == "cannot tell"]
    assert len([n for n in unclear if n in PARAMETERS or n == "order"]) <= 1
    assert found.dialect == DIALECTS[name]
    assert found.logprobs == "raw"
    assert found.requests <= BUDGET
