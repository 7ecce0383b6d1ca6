"""Real servers of the embedded model: poise draws on them what it draws in process."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scripts import remote_dial

import poise
import real_servers
from poise.engines.remote_logits import RemoteLogitsEngine, make_remote_logits
from poise.errors import ModelError, ParameterError
from poise.params import SamplingParams, grid
from poise.records import Message, Prompt
from poise.sessions import LogitsEngine

pytestmark = [pytest.mark.slow, pytest.mark.model]

# One test a server: starting one takes as long as all that it is asked.
STORY = Prompt("Once upon a time, in a distant galaxy, there was a spaceship called Voyager.")
CHAT = Prompt(messages=(Message("system", "Be brief."), Message("user", "Name three colours.")))
APART = 0.01  # nats: float32 of two engines on a text of some length
SHARE = 0.01  # of a dial's range on which texts may differ: places of the breakpoints, near-ties


@pytest.fixture(scope="module")
def here() -> LogitsEngine:
    engine = poise.load("smollm2", dtype="float32")
    assert isinstance(engine, LogitsEngine)
    return engine


def serve(name: str, folder: Path, check: Callable[[str], None]) -> None:
    """Check a server, or skip where it is not set up."""
    if missing := real_servers.why_missing(name):
        pytest.skip(missing)
    with real_servers.serving(name, remote_dial.model_for(name, folder), folder / "server.log") as url:
        check(url)


@pytest.mark.parametrize("name", ["vllm", "llama-server"])
def test_poise_draws_on_a_server_what_it_draws_in_process(name: str, here: LogitsEngine, tmp_path: Path) -> None:
    def check(url: str) -> None:
        there = make_remote_logits(url)
        try:
            finds_out(there, here, {"vllm": 20, "llama-server": 100}[name])
            reads_alike(there, here)
            rates_alike(there, here)
            dials_alike(there, here)
            sweeps_alike(there, here, tmp_path)
        finally:
            there.close()

    serve(name, tmp_path, check)


def finds_out(there: RemoteLogitsEngine, here: LogitsEngine, top: int) -> None:
    assert (there.top, there.eos_ids, there.vocab_size) == (top, here.eos_ids, here.vocab_size)
    assert there.context_length == real_servers.CONTEXT
    with pytest.raises(ParameterError, match=rf"The server returns {top} tokens.*Add top_k={top}"):
        poise.generate(there, STORY, SamplingParams(temperature=0.7))


def reads_alike(there: RemoteLogitsEngine, here: LogitsEngine) -> None:
    """Token ids of text and of messages, and text of token ids, special ones and broken characters too."""
    for prompt in (STORY, CHAT, Prompt(" leading space"), Prompt("naïve 日本語 🚀\n\n  x")):
        assert there.encode(prompt) == here.encode(prompt)
    rng = np.random.default_rng(0)
    for _ in range(10):
        ids = [int(i) for i in rng.integers(0, here.vocab_size, 12)]
        assert there.decode(ids) == here.decode(ids)
    ids = list(here.encode(Prompt("🚀 naïve 日本語")))
    assert [there.decode(ids[:n]) for n in range(len(ids))] == [here.decode(ids[:n]) for n in range(len(ids))]


def rates_alike(there: RemoteLogitsEngine, here: LogitsEngine) -> None:
    """Log-probabilities of given text."""
    ids, mine = here.score(STORY, " It sailed between the stars.")
    others, theirs = there.score(STORY, " It sailed between the stars.")
    assert others == ids
    assert np.abs(mine - theirs).max() < APART


def dials_alike(there: RemoteLogitsEngine, here: LogitsEngine) -> None:
    drawn = [remote_dial.dialled(engine, [STORY, CHAT], 16).dials for engine in (here, there)]
    for mine, others in zip(*drawn, strict=True):
        h = remote_dial.hold(here, mine, others)
        assert h.here > 3
        assert h.share < SHARE
        assert all(s.margin < APART for s in h.stretches if math.isfinite(s.margin))


def sweeps_alike(there: RemoteLogitsEngine, here: LogitsEngine, folder: Path) -> None:
    """Nearly all texts are the same, and a second call draws nothing anew."""
    settings = [*grid(temperature=[0.4, 0.9], top_k=20, top_p=0.8), *grid(temperature=0.9, min_p=0.2)]
    asked = {"draws": 2, "max_tokens": 16, "baselines": False}
    texts = []
    for engine, name in ((here, "here"), (there, "there")):
        with poise.sweep(engine, [STORY, CHAT], settings, study=folder / f"{name}.db", **asked) as study:
            found = {(c.request.prompt_ids, c.request.params, c.request.draw): c.text for c in study.completions()}
        texts.append(found)
    assert len(texts[0]) == 12
    assert sum(texts[0][key] == texts[1][key] for key in texts[0]) >= 11
    with poise.sweep(there, [STORY, CHAT], settings, study=folder / "there.db", **asked) as study:
        assert study.last_sweep is not None
        assert study.last_sweep.drawn == 0


def test_llama_cpp_python_returns_no_token_ids(tmp_path: Path) -> None:
    def check(url: str) -> None:
        with pytest.raises(ModelError, match=r"draws on a server that.*smollm2.*--draws-by server"):
            make_remote_logits(url)

    serve("llama-cpp-python", tmp_path, check)
