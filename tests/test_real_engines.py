"""Real servers of the embedded model draw by themselves, as engines."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from scripts import remote_dial

import poise
import real_servers
from poise.engines.remote import RemoteEngine, make_server
from poise.engines.remote_options import ServerOptions
from poise.errors import PromptError, UsageError
from poise.params import SamplingParams
from poise.records import Message, Prompt, Request
from poise.sessions import Tally

pytestmark = [pytest.mark.slow, pytest.mark.model]

STORY = Prompt("Once upon a time, in a distant galaxy,")
CHAT = Prompt(messages=(Message("user", "Name three colours."),))
WITH_IDS = ("vllm", "llama-server")


@pytest.mark.parametrize("name", ["vllm", "llama-server", "llama-cpp-python"])
def test_a_real_server_draws(name: str, tmp_path: Path) -> None:
    """One test a server: starting one takes as long as all that it is asked."""
    if missing := real_servers.why_missing(name):
        pytest.skip(missing)
    model = remote_dial.model_for(name, tmp_path)
    with real_servers.serving(name, model, tmp_path / "server.log") as url:
        options = ServerOptions(timeout=300.0)
        made = make_server(url, dtype="auto", device="auto", trust_remote_code=False, server=options)
        with closing(made) as engine:
            knows_itself(engine)
            draws_and_repeats(engine)
            ends_as_it_should(engine, name)
            if name in WITH_IDS:
                draws_greedy_as_in_process(engine)
            refuses_what_does_not_fit(engine)


def asked(engine: RemoteEngine, prompt: Prompt, draws: int = 3, max_tokens: int = 12, **params: float) -> list[Request]:
    law = SamplingParams.model_validate({**params, "dialect": engine.dialect})
    return [Request(prompt, engine.encode(prompt), law, 0, draw, max_tokens) for draw in range(draws)]


def knows_itself(engine: RemoteEngine) -> None:
    assert engine.about.version
    assert engine.run(engine.wire.about()) == engine.about, "nothing in it is of the moment"


def draws_and_repeats(engine: RemoteEngine) -> None:
    for prompt in (STORY, CHAT):
        requests, tally = asked(engine, prompt, temperature=0.9, top_k=50, top_p=0.95), Tally()
        first = {c.request: c.text for c in engine.generate(requests, tally)}
        assert {c.request: c.text for c in engine.generate(requests)} == first, "seeds are honoured"
        assert len(set(first.values())) == 3
        assert 3 < tally.tokens <= 36
        assert tally.prompt_tokens > 15
    requests = asked(engine, STORY, 60, 4, temperature=1.0)
    assert Counter(c.request for c in engine.generate(requests)) == Counter(requests)
    assert not engine._pool.wire.refused, "every neutral value is taken"


def ends_as_it_should(engine: RemoteEngine, name: str) -> None:
    [cut] = engine.generate(asked(engine, STORY, 1, 5, temperature=0.5))
    assert cut.finish_reason == "length"
    assert len(cut.token_ids) == (5 if name in WITH_IDS else 0)
    [request] = asked(engine, STORY, 1, 60, temperature=0)
    stopped = Request(request.prompt, request.prompt_ids, request.params, 0, 0, 60, stop=(",", "."))
    [found] = engine.generate([stopped])
    assert not set(",.") & set(found.text)
    assert found.finish_reason == ("stop" if name in WITH_IDS else "eos"), "llama-cpp-python does not tell them apart"
    least = [Request(CHAT, engine.encode(CHAT), request.params, 0, 0, 50, min_tokens=50)]
    if name == "llama-server":
        with pytest.raises(UsageError, match="takes no min_tokens"):
            list(engine.generate(least))
    else:
        assert [c.finish_reason for c in engine.generate(least)] == ["length"]


def draws_greedy_as_in_process(engine: RemoteEngine) -> None:
    here = poise.load("smollm2", dtype="float32")
    [mine] = here.generate([Request(STORY, here.encode(STORY), SamplingParams(temperature=0), 0, 0, 12)])
    [theirs] = engine.generate(asked(engine, STORY, 1, 12, temperature=0))
    assert (theirs.text, theirs.token_ids) == (mine.text, mine.token_ids)


def refuses_what_does_not_fit(engine: RemoteEngine) -> None:
    long = Prompt("the ship " * 3000)
    with pytest.raises(PromptError, match="Prompt and new tokens fit into the model's context"):
        list(engine.generate(asked(engine, long, 1)))
