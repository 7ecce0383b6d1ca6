"""Greedy texts of a server that repeats itself: one request serves all draws."""

from __future__ import annotations

from pathlib import Path

from tests.twisted import SHIP, Wire, drawn, probed, requests

import poise
from poise.costs import expected_cost
from poise.engines.remote import RemoteEngine
from poise.records import Prompt
from poise.servers.honours import Finding
from poise.sessions import Tally

REPEATS = probed(Finding("greedy", "honoured"), repeats=True)


def test_one_request_serves_all_draws_of_a_greedy_text() -> None:
    engine = RemoteEngine(wire := Wire(), REPEATS)
    asked = [
        *requests(engine, 5, temperature=0), *requests(engine, 3, temperature=0.7),
        *requests(engine, 2, Prompt(" a ship"), temperature=0), *requests(engine, 2, max_tokens=3, temperature=0),
    ]  # fmt: skip
    tally = Tally()
    texts = drawn(engine, asked, tally)
    assert sorted(c.request.draw for c in texts) == sorted(r.draw for r in asked)
    assert {c.request for c in texts} == set(asked)
    assert len(wire.calls) == tally.requests == 6
    assert tally.completions == 12
    for prompt, most in ((SHIP, 8), (Prompt(" a ship"), 8), (SHIP, 3)):
        same = {c.text for c in texts if c.request.params.greedy and c.request.prompt == prompt
                and c.request.max_tokens == most}  # fmt: skip
        assert len(same) == 1
    assert "asked 6 times" in expected_cost(engine, asked)[0]
    assert "one request serves all draws" in expected_cost(engine, asked)[0]
    engine.close()


def test_a_server_that_may_not_repeat_itself_is_asked_for_every_draw() -> None:
    for known in (None, probed(), probed(Finding("greedy", "honoured"), repeats=False)):
        engine = RemoteEngine(wire := Wire(), known)
        assert len(drawn(engine, requests(engine, 5, temperature=0))) == len(wire.calls) == 5
        engine.close()


def test_more_draws_of_a_greedy_text_are_resumed(tmp_path: Path) -> None:
    looked = (*REPEATS.findings, Finding("temperature", "honoured"), Finding("order", "honoured"))
    for draws in (2, 6):
        engine = RemoteEngine(wire := Wire(), probed(*looked, repeats=True))
        with poise.sweep(engine, " the ship", poise.grid(temperature=[0, 0.5]), draws=draws, study=tmp_path / "s.db",
                         max_tokens=8) as study:  # fmt: skip
            assert study.last_sweep is not None
            assert sum(c.fields["temperature"] == 0 for c in wire.calls) == 1
            assert study.last_sweep.drawn == 2 * (draws if draws == 2 else 4)
        engine.close()
