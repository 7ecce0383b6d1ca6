"""Probes: honest servers, lies, and all that may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from scripts import probing as figures

import poise.probes.desk
from poise.cli.progress import ProbeMeter
from poise.errors import ServerError, UsageError
from poise.fakeserver import FakeWire
from poise.parameters import COMMON
from poise.params import PARAMETERS
from poise.probes import BUDGET, probe, probe_wire
from poise.probes.probing import BEHAVIOURS
from poise.servers.calls import About, Answer, Call, Choice, Fault, FaultKind, Position
from poise.servers.honours import Probe
from poise.servers.patience import Patience


def look(style: str = "vllm", lies: Sequence[str] = (), seed: int = 0, **more: Any) -> Probe:
    return asyncio.run(probe_wire(FakeWire(style, lies, seed=seed), **more))


@pytest.mark.parametrize("style", figures.TRUTHS)
@pytest.mark.parametrize("seed", [0, 1])
def test_honest_servers(style: str, seed: int) -> None:
    seen = figures.probed(figures.Job(style, "", 1_000 + seed))
    assert not figures.false_alarms(seen)
    assert seen.requests <= BUDGET
    honoured = [h for n, h in seen.honours.items() if n in PARAMETERS]
    assert honoured.count("cannot tell") <= 1


@pytest.mark.parametrize("lie", figures.LIES, ids=lambda lie: f"{lie.style} {lie.lie}")
def test_lies(lie: figures.Planted) -> None:
    seen = figures.probed(figures.Job(lie.style, lie.lie, 2_000))
    assert figures.found_out(lie, seen), seen.honours
    assert seen.requests <= BUDGET


@pytest.mark.parametrize(
    ("lie", "name", "seed"),
    [
        ("stop=included", "stop", 50_063), ("stop=ignored", "stop", 50_107), ("stop=ignored", "stop", 50_004),
        ("penalties=output", "repetition_penalty", 50_055), ("penalties=output", "repetition_penalty", 50_081),
    ],
)  # fmt: skip
def test_lies_of_servers_whose_texts_are_short(lie: str, name: str, seed: int) -> None:
    seen = figures.probed(figures.Job("vllm", lie, seed, name))
    assert seen.honours[name] in ("ignored", "honoured otherwise")


@pytest.mark.slow
def test_honest_servers_are_believed() -> None:
    """At most 1 % false alarms: 100 servers, of which 5 would be expected to be wrong in 1 test of 300 at 1 %."""
    seen = figures.all_probed(figures.honest_jobs(100, 9_000), 1)
    assert sum(bool(figures.false_alarms(s)) for s in seen) <= 4
    assert max(s.requests for s in seen) <= BUDGET


@pytest.mark.slow
@pytest.mark.parametrize("lie", figures.LIES, ids=lambda lie: f"{lie.style} {lie.lie}")
def test_lies_are_found(lie: figures.Planted) -> None:
    """At least 99 % power: of 40 servers one may be missed, two in 1 test of 16 at 99 %, three in 1 of 130."""
    seen = figures.all_probed(figures.lying_jobs(lie, 40, 9_000), 1)
    assert sum(figures.found_out(lie, s) for s in seen) >= 38


def test_a_limit_is_told_although_many_texts_end_before_it() -> None:
    """Of 20 models two in three texts end within 16 tokens: a few tries would believe some of these servers."""
    lie = figures.Planted("vllm", "max_tokens=clamped:16", "max_tokens")
    seen = figures.all_probed(figures.lying_jobs(lie, 20), 1)
    assert {s.honours["max_tokens"] for s in seen} == {"honoured otherwise"}


@pytest.mark.parametrize("texts", [["a", "a", "a"], ["a", "b", "a"]])
def test_whether_greedy_repeats_is_told_apart_from_whether_it_is_greedy(
    texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two tokens that tie but for rounding: each text is the likeliest, and they part."""

    async def drawn(desk: object) -> list[str]:
        return texts

    monkeypatch.setattr("poise.probes.repeats.greedy_texts", drawn)
    found = look(names={"temperature", "greedy"})
    assert found.of("greedy").honour == "honoured"  # type: ignore[union-attr]
    assert found.repeats == (len({*texts}) == 1)


def test_what_a_probe_says() -> None:
    said: list[tuple[int, str]] = []
    found = look(seed=3, progress=lambda requests, what: said.append((requests, what)))
    assert (found.dialect, found.logprobs, found.top_logprobs, found.takes_ids) == ("transformers", "raw", 20, True)
    assert [f.name for f in found.findings] == [*(n for n in COMMON if n != "typical_p"), *BEHAVIOURS]
    for f in found.findings:
        assert f.evidence
        assert (f.honour in ("honoured", "cannot tell")) == (f.how == ""), f
        assert f.honour != "cannot tell" or (f.false_alarm is None and f.power is None)
        assert f.false_alarm is None or 0 <= f.false_alarm <= 0.001
        assert f.power is None or f.power >= 0.999
    assert sum(f.requests for f in found.findings) <= found.requests <= BUDGET
    assert found.tokens < 6_000
    assert said[0] == (0, "what switches everything off")
    assert said[-1][1] == "what an empty request gets"
    assert Probe.read(found.record()) == found


def test_defaults_are_told() -> None:
    found = look("llama.cpp", seed=2)
    assert found.of("defaults").honour == "honoured"  # type: ignore[union-attr]
    values = {f.name: f.value for f in found.findings if f.value is not None}
    truth = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "typical_p": 1.0}
    assert len(values) >= 3
    assert all(values[n] == truth[n] for n in values if n in truth)
    told = look("vllm", ["top_p=default:0.5"], seed=2)
    assert told.of("top_p").value == pytest.approx(0.5, abs=0.1)  # type: ignore[union-attr]
    assert "top_p 0.5" in told.of("defaults").how  # type: ignore[union-attr]


def test_a_server_that_rejects_the_temperature() -> None:
    found = look("reasoning")
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty", "greedy", "logprobs"):
        assert found.of(name).honour == "rejected"  # type: ignore[union-attr]
    assert "'temperature' does not support" in found.of("temperature").how  # type: ignore[union-attr]
    assert found.logprobs == "none"
    assert found.dialect == "server"


def test_one_value_rejected() -> None:
    found = look("vllm", ["temperature=rejected:1.8"], seed=1).of("temperature")
    assert found is not None
    assert found.honour == "honoured otherwise"
    assert found.how == "temperature 1.8 is refused"


@pytest.mark.parametrize("lie", ["temperature=ignored", "top_k=ignored", "top_p=ignored", "min_p=ignored",
                                 "frequency_penalty=ignored", "repetition_penalty=ignored"])  # fmt: skip
def test_without_log_probabilities(lie: str) -> None:
    """Texts alone: what can be told is told, and nothing false."""
    name = lie.partition("=")[0]
    for seed in range(3):
        found = look("vllm", ["logprobs=none", lie], seed=seed)
        wrong = {f.name: f.honour for f in found.findings if f.name in PARAMETERS and f.honour == "ignored"}
        assert set(wrong) <= {name}
        assert found.of(name).honour in ("ignored", "cannot tell")  # type: ignore[union-attr]
        assert found.logprobs == "none"
    honest = look("vllm", ["logprobs=none"])
    assert {f.honour for f in honest.findings if f.name in PARAMETERS} <= {"honoured", "cannot tell"}
    assert honest.of("temperature").honour == "honoured"  # type: ignore[union-attr]
    assert honest.of("top_k").honour == "honoured"  # type: ignore[union-attr]
    told = look("vllm", ["logprobs=none", "temperature=floor:1"]).of("temperature")
    assert told is not None
    assert told.honour == "ignored"


def test_processed_lists_still_tell() -> None:
    found = look("vllm", ["logprobs=processed"], seed=1)
    assert found.logprobs == "processed"
    assert all(found.of(n).honour == "honoured" for n in ("temperature", "top_k", "top_p", "min_p"))  # type: ignore[union-attr]
    lying = look("vllm", ["logprobs=processed", "top_p=ignored"], seed=1)
    assert lying.of("top_p").honour == "ignored"  # type: ignore[union-attr]


class Twisted(FakeWire):
    """A fake wire whose exchanges can be made to fail."""

    def __init__(
        self, faults: dict[int, Fault] | None = None, refuse: dict[str, Any] | None = None, **more: Any
    ) -> None:
        super().__init__(**more)
        self.count, self.faults, self.refuse = 0, faults or {}, refuse or {}

    async def ask(self, call: Call) -> Answer:
        self.count += 1
        if self.count in self.faults:
            raise self.faults[self.count]
        for name, values in self.refuse.items():
            if name in call.fields and (values is None or call.fields[name] in values):
                raise Fault("rejected", f"{name} is wrong", 400, field=name if self.refuse.get("named", True) else "")
        return await super().ask(call)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(poise.probes.desk, "PATIENCE", Patience(first=0.0, longest=0.0))


@pytest.mark.parametrize("kind", ["timeout", "reset", "busy", "broken", "malformed"])
def test_passing_faults_are_tried_again_and_counted(kind: FaultKind) -> None:
    wire = Twisted({n: Fault(kind, "now and then") for n in range(3, 200, 9)}, seed=1)
    found = asyncio.run(probe_wire(wire))
    turned_away = len([n for n in wire.faults if n <= wire.count]) if kind == "busy" else 0  # these cost nothing
    assert found.requests == wire.count - turned_away <= BUDGET
    assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"honoured"}


def test_a_server_without_room_is_waited_for_as_long_as_by_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks to wait 3 s, again and again: given up after 5 minutes of that, with the advice to come back."""
    now, wire = [0.0], Twisted({n: Fault("busy", "slow down", 429, wait=3.0) for n in range(5, 4_000)})

    async def sleep(seconds: float) -> None:
        now[0] += seconds / 4  # four requests wait at once

    monkeypatch.setattr(poise.probes.desk.asyncio, "sleep", sleep)
    monkeypatch.setattr(poise.probes.desk.time, "monotonic", lambda: now[0])
    with pytest.raises(ServerError, match=r"slow down; it asks to wait 3 s\. Try again later"):
        probe(wire)
    assert 300 <= now[0] < 320


def test_a_long_crowd_costs_no_budget() -> None:
    wire = Twisted({n: Fault("busy", "slow down", 429) for n in range(5, 400)})
    found = asyncio.run(probe_wire(wire, budget=60))
    assert (found.requests, wire.count) == (60, 60 + 395)
    assert found.of("temperature").honour == "honoured"  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", ["unreachable", "denied", "absent", "tls"])
def test_a_server_that_is_not_there(kind: FaultKind) -> None:
    wire = Twisted({n: Fault(kind, "no") for n in range(5, 400)})
    with pytest.raises(Fault, match=kind):
        asyncio.run(probe_wire(wire))
    with pytest.raises(Exception, match="fake://vllm") as told:
        probe(Twisted({n: Fault(kind, "no") for n in range(5, 400)}))
    assert isinstance(told.value, ServerError | UsageError)


def test_a_server_that_always_breaks_on_one_parameter() -> None:
    wire = Twisted(refuse={"min_p": [0.3, 0.04, 0.06, 0.1, 0.15, 0.2]}, seed=1)
    found = asyncio.run(probe_wire(wire))
    assert found.of("min_p").honour == "rejected"  # type: ignore[union-attr]
    assert "min_p is wrong" in found.of("min_p").how  # type: ignore[union-attr]
    assert found.of("top_p").honour == "honoured"  # type: ignore[union-attr]


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_neutral_values_that_are_refused(named: bool) -> None:
    """0 for top_k, 1 for top_p: what switches them off is found, or they are left out."""
    refuse: dict[str, Any] = {"top_k": [-1], "top_p": [1.0]}
    wire = Twisted(refuse={**refuse, "named": named} if not named else refuse, seed=1)
    found = asyncio.run(probe_wire(wire))
    assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"honoured"}


def test_a_small_probe() -> None:
    found = look(seed=2, names={"temperature", "top_p"})
    assert [f.name for f in found.findings] == ["temperature", "top_p", "order"]
    assert {f.honour for f in found.findings} == {"honoured"}
    assert found.requests < 80
    assert found.dialect == "transformers"
    for name in (*COMMON, *BEHAVIOURS):
        if name != "typical_p":
            assert [f.name for f in look(seed=2, names={name}).findings] == [name]
            assert look(seed=2, names={name}).of(name).honour != "cannot tell"  # type: ignore[union-attr]


@pytest.mark.parametrize("budget", [20, 35, 60, 100])
def test_a_small_budget_is_kept_and_said(budget: int) -> None:
    wire = Twisted(seed=1)
    found = asyncio.run(probe_wire(wire, budget=budget))
    assert found.requests == wire.count == budget
    assert len(found.findings) == 7 + len(BEHAVIOURS)
    assert any("budget" in f.evidence for f in found.findings)
    assert not [f for f in found.findings if f.name in PARAMETERS and f.honour not in ("honoured", "cannot tell")]


@pytest.mark.parametrize(("budget", "shown"), [(3, "3"), (0, "0"), ("x", "'x'"), (60.5, "60.5"), (True, "True")])
def test_a_budget_too_small(budget: Any, shown: str) -> None:
    with pytest.raises(UsageError, match=f"at least 20 requests, but got {shown}"):
        look(budget=budget)
    with pytest.raises(UsageError, match=f"at least 20 requests, but got {shown}"):
        probe("http://127.0.0.1:9/v1", budget=budget)
    for given in ("x", 50.0, True, None):
        with pytest.raises(UsageError, match="at least 20 requests, but got "):
            look(budget=given)


def test_a_budget_of_nothing_has_a_meter_too() -> None:
    assert ProbeMeter(0).done_share() == 0


def test_a_server_that_answers_nothing() -> None:
    class Mute(FakeWire):
        async def ask(self, call: Call) -> Answer:
            return Answer((Choice(""),) * call.n, new_tokens=0)

    found = asyncio.run(probe_wire(Mute()))
    assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"cannot tell"}
    assert found.of("seed").honour == found.of("stop").honour == "cannot tell"  # type: ignore[union-attr]


def test_a_server_of_unknown_kind_in_chat() -> None:
    class Chat(FakeWire):
        async def about(self) -> About:
            return (await super().about())._replace(kind="unknown", has_text=False, takes_ids=False)

    found = asyncio.run(probe_wire(Chat(seed=4)))
    assert {f.honour for f in found.findings if f.name in PARAMETERS} <= {"honoured", "cannot tell"}


def test_a_chat_that_knows_its_limit_by_another_name() -> None:
    """Reasoning models behind a gateway: the software is not known for it, the model is."""

    class Reasoning(FakeWire):
        async def about(self) -> About:
            return (await super().about())._replace(has_text=False)

        async def ask(self, call: Call) -> Answer:
            if call.max_tokens is not None:
                raise Fault("rejected", "Unsupported parameter: use max_completion_tokens", field="max_tokens")
            fields = dict(call.fields)
            return await super().ask(call._replace(max_tokens=fields.pop("max_completion_tokens"), fields=fields))

    found = asyncio.run(probe_wire(Reasoning("vllm"), names={"temperature", "max_tokens"}))
    assert {f.name: f.honour for f in found.findings} == {"temperature": "honoured", "max_tokens": "honoured"}


class Relisted(FakeWire):
    """A fake wire whose lists are written otherwise."""

    def written(self, position: Position) -> Position:
        raise NotImplementedError

    async def ask(self, call: Call) -> Answer:
        answer = await super().ask(call)
        choices = (c._replace(positions=tuple(map(self.written, c.positions))) for c in answer.choices)
        return answer._replace(choices=tuple(choices))


def test_lists_without_ids_beside_drawn_tokens_with_them() -> None:
    """As vLLM writes them in chat."""

    class Mixed(Relisted):
        def written(self, position: Position) -> Position:
            return position._replace(likeliest=tuple(t._replace(id=None) for t in position.likeliest))

    found = asyncio.run(probe_wire(Mixed(seed=1)))
    assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"honoured"}


def test_lists_whose_last_token_gives_way_to_the_drawn_one() -> None:
    """As vLLM writes them in chat: without care, a law that cuts nothing looks like top-k."""

    class Displaced(Relisted):
        def written(self, position: Position) -> Position:
            if position.drawn in position.likeliest:
                return position
            return position._replace(likeliest=(*position.likeliest[:-1], position.drawn))

    for seed in range(3):
        found = asyncio.run(probe_wire(Displaced(seed=seed)))
        assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"honoured"}


def test_lists_of_one_token() -> None:
    found = look("vllm", ["logprobs=at most:1"])
    assert (found.logprobs, found.top_logprobs) == ("unknown", 1)
    assert {f.honour for f in found.findings if f.name in PARAMETERS} <= {"honoured", "cannot tell"}


def test_lists_that_do_not_fit_the_drawn_tokens() -> None:
    class Shifted(Relisted):
        def written(self, position: Position) -> Position:
            return position._replace(drawn=position.drawn._replace(logprob=position.drawn.logprob + 0.3))

    found = asyncio.run(probe_wire(Shifted(seed=1)))
    told = found.of("logprobs")
    assert told is not None
    assert told.honour == "honoured otherwise"
    assert "do not fit" in told.how
    assert found.logprobs == "unknown"
    assert {f.honour for f in found.findings if f.name in PARAMETERS} <= {"honoured", "cannot tell"}


def test_probing_by_address() -> None:
    found = probe(FakeWire(seed=5), budget=40)
    assert found.requests == 40
    with pytest.raises(ServerError, match="answers at its address"):
        probe("http://127.0.0.1:9/v1#none")
