"""Probes: the laws on lists, the errors they promise, honest servers and lies, and all that may go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scripts import probing as figures

import poise.probes.desk
from poise import law
from poise.errors import ServerError, UsageError
from poise.fakeserver import FakeWire
from poise.params import PARAMETERS, SamplingParams
from poise.probes import BUDGET, probe, probe_wire
from poise.probes.draws import Draws, Reader, is_special, joined
from poise.probes.fits import Book, log_mean
from poise.probes.limits import judge_stop, pieces
from poise.probes.plan import FIRST, LAST, laws_of, rivals_of, shape_of
from poise.probes.probing import BEHAVIOURS
from poise.probes.shapes import predict
from poise.probes.silent import permuted
from poise.servers.calls import About, Answer, Call, Choice, Fault, FaultKind, Likely, Position
from poise.servers.honours import Probe

TAIL = 400  # tokens of a vocabulary whose likeliest are listed


def look(style: str = "vllm", lies: Sequence[str] = (), seed: int = 0, **more: Any) -> Probe:
    return asyncio.run(probe_wire(FakeWire(style, lies, seed=seed), **more))


def rows(count: int, size: int, seed: int, flat: float = 1.5) -> np.ndarray:
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, flat, (count, size))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def draws_of(logp: np.ndarray, drawn: Sequence[int], width: int) -> Draws:
    """Places of one text each, listed as a server would."""
    reader, texts = Reader(width), []
    for row, token in zip(logp, drawn, strict=True):
        order = np.argsort(-row, kind="stable")[:width]
        listed = tuple(Likely(f" t{i}", int(i), float(row[i])) for i in order)
        texts.append(Choice("", positions=(Position(Likely(f" t{token}", int(token), float(row[token])), listed),)))
    return reader.read(texts)


LAWS = [
    {"temperature": 0.5}, {"temperature": 1.7}, {"top_k": 3}, {"top_p": 0.7}, {"min_p": 0.1}, {"typical_p": 0.6},
    {"temperature": 0.6, "top_p": 0.8}, {"temperature": 1.6, "min_p": 0.2},
    {"temperature": 0.7, "top_k": 5, "top_p": 0.9}, {"top_k": 6, "top_p": 0.6, "min_p": 0.1, "temperature": 1.3},
]  # fmt: skip


@pytest.mark.parametrize("params", LAWS, ids=str)
@pytest.mark.parametrize("order", ["transformers", "temperature-last"])
def test_on_a_whole_list_the_law_is_the_definition(params: dict[str, float], order: str) -> None:
    logp = rows(60, 12, 1)
    draws = draws_of(logp, logp.argmax(axis=1), 12)
    found = predict(draws, shape_of(params, FIRST if order == "transformers" else LAST))
    settings = SamplingParams.model_validate({**params, "dialect": order})
    assert found.sure.mean() > 0.9
    for row, said, sure in zip(logp, found.logp, found.sure, strict=True):
        truth = law.probabilities(law.reshape(row, settings))
        listed = np.argsort(-row, kind="stable")
        if sure:
            np.testing.assert_allclose(np.exp(said), truth[listed], atol=1e-9)


@pytest.mark.parametrize("params", LAWS, ids=str)
@pytest.mark.parametrize("order", [FIRST, LAST], ids=["first", "last"])
def test_on_a_part_of_the_list_the_truth_lies_within_the_bounds(params: dict[str, float], order: Any) -> None:
    logp, width = rows(80, TAIL, 2, 2.0), 20
    found = predict(draws_of(logp, logp.argmax(axis=1), width), shape_of(params, order))
    settings = SamplingParams.model_validate(
        {**params, "dialect": "transformers" if order == FIRST else "temperature-last"}
    )
    for row, said, low, high, sure in zip(logp, found.logp, found.low, found.high, found.sure, strict=True):
        if not sure:
            continue
        truth = law.probabilities(law.reshape(row, settings))
        listed = np.argsort(-row, kind="stable")[:width]
        inside = truth[listed].sum()
        assert low - 1e-9 <= 1 - inside <= high + 1e-9
        np.testing.assert_allclose(np.exp(said), truth[listed] / inside, atol=1e-9)


def test_most_places_of_a_part_of_the_list_can_be_told() -> None:
    logp = rows(200, TAIL, 3, 2.5)
    draws = draws_of(logp, logp.argmax(axis=1), 20)
    for params in (
        {"temperature": 0.5},
        {"top_k": 5},
        {"top_p": 0.5},
        {"min_p": 0.2},
        {"temperature": 1.5, "min_p": 0.2},
    ):
        assert predict(draws, shape_of(params)).sure.mean() > 0.9, params


@pytest.mark.parametrize("wrong", [{}, {"top_p": 0.6}, {"temperature": 1.4}, {"top_k": 4}], ids=str)
def test_evidence_against_the_truth_is_as_rare_as_promised(wrong: dict[str, float]) -> None:
    """E[p_A / p_B] <= 1 under B, so that it exceeds 20 in at most 5 % of texts."""
    truth, width, texts, places = {"temperature": 0.8}, 20, 400, 12
    rng, hits, total = np.random.default_rng(4), 0, []
    settings = SamplingParams.model_validate(truth)
    logp = rows(texts * places, 100, 5)
    drawn = [int(rng.choice(100, p=law.probabilities(law.reshape(row, settings)))) for row in logp]
    draws = draws_of(logp, drawn, width)
    found = Book(draws).factors(shape_of(wrong), shape_of(truth)).reshape(texts, places)
    evidence = np.exp(np.cumsum(found, axis=1))
    hits = int((evidence.max(axis=1) >= 20).sum())
    total = evidence[:, -1]
    assert hits <= 0.05 * texts + 4 * np.sqrt(0.05 * 0.95 * texts)
    assert np.mean(np.minimum(total, 50)) < 1.5


def test_the_right_law_wins() -> None:
    rng, truth = np.random.default_rng(6), {"temperature": 0.5, "top_p": 0.8}
    logp = rows(300, 100, 7, 2.5)
    settings = SamplingParams.model_validate({**truth, "dialect": "temperature-last"})
    drawn = [int(rng.choice(100, p=law.probabilities(law.reshape(row, settings)))) for row in logp]
    book = Book(draws_of(logp, drawn, 20))
    assert book.nats(laws_of(truth, LAST), laws_of(truth, FIRST)) > 20
    for rival in rivals_of("top_p", 0.8, {"temperature": 0.5}, LAST):
        unsure = rival.said.startswith("typical")  # needs an entropy, which a part of the list does not give
        assert unsure or book.nats(laws_of(truth, LAST), rival.laws) > 0, rival.said


def test_texts_of_one_luck_count_as_one() -> None:
    logp = rows(10, 12, 8)
    draws = draws_of(np.repeat(logp[:1], 10, axis=0), [3] * 10, 12)
    own = Book(draws).nats((shape_of({"temperature": 0.5}),), (shape_of({}),))
    shared = Book(draws, copies=True).nats((shape_of({"temperature": 0.5}),), (shape_of({}),))
    assert shared == pytest.approx(own / 10)
    assert log_mean([1.0, 1.0]) == pytest.approx(1.0)


def place(drawn: str, *listed: tuple[str, float]) -> Position:
    tokens = tuple(Likely(t, None, float(np.log(p))) for t, p in listed)
    mine = next((t for t in tokens if t.token == drawn), Likely(drawn, None, -9.0))
    return Position(mine, tokens)


def test_reading_lists() -> None:
    text = Choice("", positions=(
        place(" a", (" a", 0.6), (" b", 0.3)),
        place(" z", (" a", 0.6), (" b", 0.3)),  # not listed
        place("<|im_end|>", ("<|im_end|>", 0.6), (" b", 0.3)),
        place(" a"),  # nothing listed
        place(" a", (" a", 0.9), (" b", 0.8)),  # no probabilities
    ))  # fmt: skip
    draws = Reader(2).read([text])
    assert draws.drawn.tolist() == [0, 2, 0, -1, 0]
    assert draws.telling.tolist() == [True, True, False, False, False]
    assert draws.counts()[4].tolist() == [2, 0]
    assert draws.counts("output", 1)[4].tolist() == [1, 0]
    both = joined([draws, draws])
    assert both.places == 10
    assert both.counts()[9].tolist() == [2, 0]
    assert is_special("</s>")
    assert not is_special(" <")


def test_a_prompt_counts_where_its_tokens_are_known() -> None:
    text = Choice("", positions=(place(" a", (" a", 0.6), (" b", 0.3)),))
    draws = Reader(2).read([text], [[Likely(" b", None, 0.0)] * 3])
    assert draws.counts("prompt and output").tolist() == [[0, 3]]
    assert draws.counts("output").tolist() == [[0, 0]]
    assert draws.counts("prompt and output", 2).tolist() == [[0, 2]]


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


def test_what_a_probe_says() -> None:
    said: list[tuple[int, str]] = []
    found = look(seed=3, progress=lambda requests, what: said.append((requests, what)))
    assert (found.dialect, found.logprobs, found.top_logprobs, found.takes_ids) == ("transformers", "raw", 20, True)
    assert [f.name for f in found.findings] == [*(n for n in PARAMETERS if n != "typical_p"), *BEHAVIOURS]
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


def test_alike_texts() -> None:
    cold, hot = [f"the ship sailed {i}" for i in range(6)], [f"{i} words" for i in range(6)]
    assert permuted([*cold, *hot]) == pytest.approx(1 / 924)
    assert permuted([*hot, *cold]) == 1.0
    rng = np.random.default_rng(0)
    odds = [permuted(["".join(rng.choice(list("ab"), 5)) for _ in range(10)]) for _ in range(300)]
    assert 0.02 < np.mean(np.array(odds) <= 0.1) <= 0.14


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
    monkeypatch.setattr(poise.probes.desk, "_PAUSE", 0.0)


@pytest.mark.parametrize("kind", ["timeout", "reset", "busy", "broken", "malformed"])
def test_passing_faults_are_tried_again_and_counted(kind: FaultKind) -> None:
    wire = Twisted({n: Fault(kind, "now and then") for n in range(3, 200, 9)}, seed=1)
    found = asyncio.run(probe_wire(wire))
    assert found.requests == wire.count <= BUDGET
    assert {f.honour for f in found.findings if f.name in PARAMETERS} == {"honoured"}


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


@pytest.mark.parametrize("budget", [20, 35, 60, 100])
def test_a_small_budget_is_kept_and_said(budget: int) -> None:
    wire = Twisted(seed=1)
    found = asyncio.run(probe_wire(wire, budget=budget))
    assert found.requests == wire.count == budget
    assert len(found.findings) == 7 + len(BEHAVIOURS)
    assert any("budget" in f.evidence for f in found.findings)
    assert not [f for f in found.findings if f.name in PARAMETERS and f.honour not in ("honoured", "cannot tell")]


def test_a_budget_too_small() -> None:
    with pytest.raises(UsageError, match="at least 20 requests, but got 3"):
        look(budget=3)


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


def test_probing_by_address() -> None:
    found = probe(FakeWire(seed=5), budget=40)
    assert found.requests == 40
    with pytest.raises(ServerError, match="answers at its address"):
        probe("http://127.0.0.1:9/v1#none")


def test_stop_strings() -> None:
    whole = "the old ship sailed far out to the cold sea"
    early, late = pieces(whole)
    until = whole[: whole.index(early)]
    cases = {
        (until, until): "honoured", (until + early, until): "honoured otherwise", (whole, whole): "ignored",
        (until, whole[: whole.index(late)]): "honoured otherwise", ("another text", until): "cannot tell",
        (until + early + " s", until): "honoured otherwise",
    }  # fmt: skip
    for (one, both), honour in cases.items():
        found = judge_stop(whole, (early, late), one, both)
        assert found.honour == honour, (one, both)
        assert bool(found.how) == (honour in ("honoured otherwise", "ignored"))
    assert pieces("no") == ("", "")
