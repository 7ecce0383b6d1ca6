"""Another model behind a name: under way, between runs, in a study."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from tests.twisted import CHAT, LOOKED_AT, Wire, drawn, probed, requests, until_it_fails

import poise
from poise.engines.remote import RemoteEngine
from poise.engines.remote_logits import RemoteLogitsEngine
from poise.errors import ServerError, StudyError
from poise.servers.calls import Answer, Call, Fault
from poise.servers.honours import Finding
from poise.servers.likeness import Likeness


@pytest.mark.parametrize("style", ["vllm", "openai", "ollama"])
def test_another_model_under_the_same_name_is_noticed(style: str, engines: Any) -> None:
    """It says nothing of its weights, and what it says to a test text is another thing."""
    wire = Wire(style, ["model=replaced:6"])
    wire.said = {"identity": ""}
    engine = engines(wire, concurrency=1)
    came, error = until_it_fails(engine.generate(requests(engine, 20, CHAT)))
    assert len(came) == 20
    assert re.search(r"(same text|at temperature 0).*texts drawn since may be another model's, at fake", str(error))
    with pytest.raises(ServerError, match="one model, which stays as it is"):
        drawn(engine, requests(engine, 1, CHAT))
    assert len(wire.calls) == 20, "nothing more was drawn"


def test_a_long_run_is_looked_at_under_way(engines: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("poise.engines.remote.LOOKED", 10)
    wire = Wire(lies=["model=replaced:25"])
    wire.said = {"identity": ""}
    engine = engines(wire, concurrency=1)
    came, _ = until_it_fails(engine.generate(requests(engine, 500)))
    assert len(came) in (10, 20, 30), "the engine works ahead a little"


def test_servers_without_log_probabilities_are_known_by_greedy_texts(engines: Any) -> None:
    found = probed(Finding("greedy", "honoured"), repeats=True)
    for known in (found, None):
        wire = Wire(lies=["model=replaced:9", "logprobs=none"])
        wire.said = {"identity": ""}
        engine = engines(wire, known, concurrency=1)
        if known is None:
            assert len(drawn(engine, requests(engine, 20))) == 20, "whether it repeats itself is not known"
            continue
        _, error = until_it_fails(engine.generate(requests(engine, 20)))
        assert "other texts at temperature 0 than before" in str(error)


def test_two_models_of_one_name_do_not_share_a_study(engines: Any, tmp_path: Path) -> None:
    def server(seed: int) -> RemoteEngine:
        wire = Wire(seed=seed)
        wire.said = {"identity": ""}
        return engines(wire, probed(*LOOKED_AT))

    asked: dict[str, Any] = {"draws": 2, "study": tmp_path / "s.db", "max_tokens": 8}
    poise.sweep(server(0), " the ship", poise.grid(temperature=[0.3, 0.9]), **asked).close()
    with poise.sweep(server(0), " the ship", poise.grid(temperature=[0.3, 0.9]), **asked) as study:
        assert study.last_sweep is not None
        assert study.last_sweep.drawn == 0
    with pytest.raises(StudyError, match=r"to another one of the name fake-64, but got .* same text .*--study"):
        poise.sweep(server(1), " the ship", poise.grid(temperature=[0.3, 0.9]), **asked)


def test_two_models_of_one_name_do_not_share_a_study_where_poise_draws(tmp_path: Path) -> None:
    def server(seed: int) -> RemoteLogitsEngine:
        wire = Wire(seed=seed)
        wire.said = {"identity": ""}
        return RemoteLogitsEngine(wire)

    asked: dict[str, Any] = {"draws": 1, "study": tmp_path / "s.db", "max_tokens": 4}
    settings = poise.grid(temperature=0.7, top_k=20)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        poise.sweep(server(0), " the ship", settings, **asked).close()
        poise.sweep(server(0), " the ship", settings, **asked).close()
        with pytest.raises(StudyError, match="to another one of the name fake-64"):
            poise.sweep(server(1), " the ship", settings, **asked)
        with pytest.raises(StudyError, match="to another one of the name fake-64"):
            poise.dial(server(1), " the ship", "top_k", 1, 20, study=tmp_path / "s.db", max_tokens=4)


def test_a_server_that_lists_a_few_is_known_by_those(engines: Any) -> None:
    class Few(Wire):
        async def ask(self, call: Call) -> Answer:
            if (call.logprobs or 0) > 5:
                raise Fault("rejected", "at most 5", 400, field="logprobs")
            return await super().ask(call)

    assert len(engines(Few()).likeness.listed) == 5
    assert len(engines(Wire()).likeness.listed) == 20


def test_rounding_is_no_other_model() -> None:
    model = Likeness({f" {i}": -0.3 * i for i in range(1, 21)})
    noisy = Likeness({t: p + 0.05 * (-1) ** i for i, (t, p) in enumerate(model.listed.items()) if i != 19})
    assert model.differs(noisy) == ""
    assert "moved by 0.50" in model.differs(Likeness({t: p - 0.5 for t, p in model.listed.items()}))
    assert "other likely tokens" in model.differs(Likeness({f"x{t}": p for t, p in model.listed.items()}))
    texts = Likeness(texts=("a b", "c d", "e f"))
    assert texts.differs(Likeness(texts=("a b", "c x", "e f"))) == "", "one may part at a near-tie"
    assert texts.differs(Likeness(texts=("a y", "c x", "e f")))
    assert texts.differs(model) == texts.differs(Likeness()) == "", "nothing to compare"
    assert Likeness.read(model.record()) == model
