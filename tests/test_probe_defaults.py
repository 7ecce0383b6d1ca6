"""What an empty request gets, where no server says so: published settings are found exactly, others as near ones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

import poise
from commands import Run
from poise.errors import StudyError
from poise.fakeserver import STYLES, FakeWire
from poise.fakeserver.app import make_app
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.probes import probe_wire
from poise.probes.guesses import guesses
from poise.records import Trial
from poise.servers.honours import Finding, Probe
from poise.trials import find_baseline

QWEN = {"temperature": 0.6, "top_k": 20, "top_p": 0.95}


def look(model: str, config: Mapping[str, float], seed: int) -> tuple[Probe, Finding]:
    wire = FakeWire("vllm", seed=seed, config=config)
    wire.server.model = wire.model = model
    probe = asyncio.run(probe_wire(wire, names={"defaults"}))
    told = probe.of("defaults")
    assert told is not None
    return probe, told


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("model", "config", "whose"),
    [
        ("Qwen3-8B", QWEN, ", as the makers of Qwen3 publish it"),
        ("Qwen/Qwen3-4B", {"temperature": 0.7, "top_k": 20, "top_p": 0.8}, ", as the makers of Qwen3 publish it"),
        ("fine-tuned", QWEN, ""),
    ],
)
def test_what_somebody_publishes_is_found_exactly(
    model: str, config: Mapping[str, float], whose: str, seed: int
) -> None:
    probe, told = look(model, config, seed)
    assert probe.defaults == config
    assert told.honour == "honoured otherwise"
    assert told.how == f"an empty request is drawn with {_said(config)}{whose}"
    assert told.evidence.endswith("as under temperature 1 and nothing else, so it is not that")
    assert Probe.read(probe.record()) == probe


def _said(config: Mapping[str, float]) -> str:
    *first, last = (f"{n} {v:g}" for n, v in config.items())
    return f"{', '.join(first)} and {last}"


@pytest.mark.parametrize("config", [{"temperature": 0.8, "top_k": 20, "top_p": 0.9}, {"temperature": 0.45}], ids=str)
def test_what_nobody_publishes_is_named_as_near(config: Mapping[str, float]) -> None:
    for seed in range(3):
        probe, told = look("Qwen3-8B", config, seed)
        assert probe.defaults is None
        assert told.honour == "honoured otherwise"
        assert told.how.startswith("an empty request is drawn near temperature")
        assert told.how.endswith("; other settings explain it as well")


def test_plain_sampling_is_believed_of_a_model_with_a_recommendation() -> None:
    for seed in range(3):
        probe, told = look("Qwen3-8B", {}, seed)
        assert (told.honour, probe.defaults) == ("honoured", {})


def test_what_hardly_shows_is_not_claimed() -> None:
    """Of 64 words, top_k 64 and top_p 0.95 leave nearly all."""
    probe, told = look("gemma-3-4b-it", {"top_k": 64, "top_p": 0.95}, 0)
    assert (told.honour, probe.defaults) == ("cannot tell", None)
    assert "what the model's makers publish" in told.evidence


def test_guesses_are_of_the_model_first() -> None:
    about = asyncio.run(FakeWire().about())._replace(model="Qwen3-8B")
    found = guesses(about)
    assert [dict(g.params) for g in found if g.whose] == [QWEN, {"temperature": 0.7, "top_k": 20, "top_p": 0.8}]
    assert len({tuple(sorted(g.params.items())) for g in found}) == len(found)
    assert not any(g.whose for g in guesses(about._replace(model="m")))


def test_a_sweep_draws_it_and_decide_compares_with_it(run: Run, tmp_path: Path) -> None:
    with served(make_app(FakeServer(STYLES["vllm"], model="Qwen3-8B", config=QWEN))) as url:
        words = ("--temperature", "0.3,0.9", "--draws", "1", "--max-tokens", "8", "--study", "s.db")
        assert run("sweep", f"{url}/v1", "-f", "summarise", *words).code == 0
    with poise.Study.open("s.db", read_only=True) as study:
        named = {name: t.params.active() for t in study.trials() for name in t.names}
    assert named["engine-default"] == named["vendor"] == QWEN
    assert run("decide", "--study", "s.db").code == 0


def test_decide_without_a_default_that_is_known(run: Run, tmp_path: Path) -> None:
    config = {"temperature": 0.45, "top_p": 0.85}
    with served(make_app(FakeServer(STYLES["vllm"], model="m", config=config))) as url:
        words = ("--temperature", "0.3,0.9", "--draws", "1", "--max-tokens", "8", "--study", "s.db")
        drawn = run("sweep", f"{url}/v1", "-f", "summarise", *words)
        assert drawn.code == 0, drawn.err
        assert "engine-default is left out: an empty request is drawn near" in drawn.err
    decided = run("decide", "--study", "s.db")
    assert decided.code == 0, decided.err
    assert "The baseline is greedy, as engine-default was not drawn; --baseline names another." in decided.out
    other = run("decide", "--study", "s.db", "--baseline", "temperature=0.3")
    assert "engine-default" not in other.out


def test_what_stands_in_for_a_default() -> None:
    cold, hot = Trial(poise.SamplingParams(temperature=0), ("greedy",)), Trial(poise.SamplingParams(temperature=1.5))
    made = Trial(poise.SamplingParams(temperature=0.6), ("vendor",))
    default = Trial(poise.SamplingParams(), ("engine-default",))
    assert find_baseline([cold, hot, made], "engine-default")[0] == made
    assert find_baseline([cold, hot, made, default], "engine-default") == (default, "")
    assert find_baseline([cold, hot], "temperature=1.5") == (hot, "")
    with pytest.raises(StudyError, match="A trial here is one of"):
        find_baseline([hot], "engine-default")
    with pytest.raises(StudyError, match="A trial here is one of"):
        find_baseline([cold, hot], "vendor")
