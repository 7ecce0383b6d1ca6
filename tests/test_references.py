"""Reference texts: scored once before anything is drawn, and measured like drawn texts."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import poise
from poise.engines.fake import FakeEngine
from poise.errors import EngineError, MetricError, ModelError, StudyError, UseCaseError
from poise.metrics import METRICS
from poise.metrics.context import Context
from poise.metrics.readings import read_values
from poise.metrics.sizes import Sizes
from poise.models import ModelFiles
from poise.params import grid
from poise.records import Prompt
from poise.references import reference_values, score_references
from poise.scores import continuation, score
from poise.study import Study
from poise.sweeps import plan, sweep
from poise.usecases import UseCase

NEAR = {"hold": "nll", "near": "reference"}
WORDS = ("", " a", " b", " c")


class Even(FakeEngine):
    """Three words and the end of the text, each as likely as the others; remembers what it scored."""

    def __init__(self) -> None:
        super().__init__(WORDS, bigram=lambda last: np.zeros(4))
        self.scored: list[str] = []

    def score(self, prompt: Prompt, text: str) -> Any:
        self.scored.append(text)
        return super().score(prompt, text)


def case(*prompts: Any, goal: Any = NEAR, **more: Any) -> UseCase:
    return UseCase(name="letters", prompts=prompts, goal=goal, **more)


def two(**more: Any) -> UseCase:
    return case({"text": "x", "reference": "a b c"}, {"text": "y", "reference": " b b"}, **more)


def drawn(engine: FakeEngine, use_case: UseCase, path: Path, **more: Any) -> Study:
    asked = {"draws": 1, "max_tokens": 24, "min_tokens": 24, "baselines": False, **more}
    return sweep(engine, use_case, grid(temperature=[0.5]), study=path / "s.db", **asked)


def values(study: Study, name: str, context: Context | None = None) -> list[float | None]:
    context = context or read_values(study, "letters", []).context
    found = reference_values(study, "letters", METRICS[name], context)
    return [None if math.isnan(v) else float(v) for v in found]


def test_a_goal_near_the_reference_has_it_scored_once(tmp_path: Path) -> None:
    engine = Even()
    with drawn(engine, two(), tmp_path) as study:
        assert engine.scored == [" a b c", " b b"]  # the first one apart from its prompt's last word
        kept = list(study.all_noted("reference").values())
        assert [k["token_ids"] for k in kept] == [[1, 2, 3], [2, 2]]
        assert [k["logprobs"] for k in kept] == [pytest.approx([-math.log(4)] * n) for n in (3, 2)]
        assert score_references(engine, study, "letters") == 0
    drawn(engine, two(), tmp_path, draws=2).close()
    assert len(engine.scored) == 2
    other = case({"text": "x", "reference": "a b c"}, {"text": "y", "reference": "c"})
    with pytest.warns(UserWarning, match="other answers, references"):
        drawn(engine, other, tmp_path).close()
    assert engine.scored[2:] == [" c"]  # a new text


def test_without_such_a_goal_nothing_is_scored(tmp_path: Path) -> None:
    engine = Even()
    for goal in (None, {"raise": "length"}, {"hold": "nll", "near": 2}):
        drawn(engine, two(goal=goal), tmp_path).close()
    drawn(engine, case("no reference", goal=None), tmp_path).close()
    assert engine.scored == []
    with Study.open(tmp_path / "s.db") as study:
        study.expect([], ())
        assert study.all_noted("reference") == {}


def test_values_that_one_can_count(tmp_path: Path) -> None:
    with drawn(Even(), two(), tmp_path) as study:
        assert values(study, "length") == [3, 2]
        assert values(study, "nll") == pytest.approx([math.log(4)] * 2)
        assert values(study, "finish_eos") == [1, 1]
        assert values(study, "empty_output") == [0, 0]
        assert values(study, "seq_rep_4") == [None, None]  # sizes are the study's, and the references are shorter


def test_metrics_that_depend_on_length_have_the_sizes_of_the_drawn_texts(tmp_path: Path) -> None:
    """16 tokens of the 24 drawn, 32 bytes: `a b a b …` has two four-grams among thirteen; `c` 20 times is a loop."""
    loop, turns = " c" * 20, " a b" * 10
    prompts = ({"text": "x", "reference": loop}, {"text": "y", "reference": turns[: 2 * 18]})
    with drawn(Even(), case(*prompts), tmp_path) as study:
        assert read_values(study, "letters", []).context.sizes.tokens == 16
        assert values(study, "seq_rep_4") == pytest.approx([1 - 1 / 13, 1 - 2 / 13])
        assert values(study, "loop_rate") == [1, 1]
        assert values(study, "loop_onset") == [0, 0]
        assert values(study, "loop_period") == [1, 2]
        zipped = [32 / len(zlib.compress(t[:32].encode(), 9)) for t in (loop, turns)]
        assert values(study, "compression_ratio", Context(Sizes(bytes=32))) == pytest.approx(zipped)


def test_a_reference_is_cut_where_a_drawn_text_would_be(tmp_path: Path) -> None:
    with drawn(Even(), case({"text": "x", "reference": "a" + " b" * 40}), tmp_path) as study:
        assert values(study, "length") == [24]
        assert values(study, "finish_length") == [1]
        assert values(study, "nll") == pytest.approx([math.log(4)])


def test_values_are_numbered_as_readings_number_prompts(tmp_path: Path) -> None:
    """Prompts without a reference, and those whose reference was not scored, are no data."""
    prompts = ["x", {"text": "y", "reference": "b b"}, {"text": "z", "reference": "c"}]
    with drawn(Even(), case(*prompts, goal=None), tmp_path) as study:
        readings = read_values(study, "letters", [])
        assert [p.text for p in readings.asked] == ["x", "y", "z"]
        assert len(set(readings.inputs)) == readings.prompts == 3
        assert values(study, "length") == [None, None, None]
        assert score_references(Even(), study, "letters") == 2
        assert values(study, "length") == [None, 2, 1]


def test_where_a_space_belongs() -> None:
    assert continuation(Prompt("the ship", reference="sailed")) == " sailed"
    assert continuation(Prompt("the ship ", reference="sailed")) == "sailed"
    assert continuation(Prompt("the ship\n", reference="sailed")) == "sailed"
    assert continuation(Prompt("the ship", reference="\nsailed")) == "\nsailed"
    chat = UseCase(name="c", mode="chat", prompts=[{"text": "the ship", "reference": "sailed"}]).prompts[0]
    assert continuation(chat) == "sailed"


def test_what_cannot_be_scored_is_said_before_any_work(tmp_path: Path) -> None:
    class Server:
        """Draws by itself."""

        name, draws_by, supports, has_template, context_length = "a server", "engine", frozenset(), True, None
        fingerprint, baselines, encode, generate = Even().fingerprint, Even().baselines, Even().encode, None

    settings = poise.SamplingParams()
    ready = plan(Server(), two(), settings, study=tmp_path / "s.db", baselines=False)  # type: ignore[arg-type]
    assert any("near the reference texts, which a server cannot score" in note for note in ready.notes)
    some = case("x", {"text": "y", "reference": "b b"}, "z" * 70)
    with pytest.raises(UseCaseError, match=r"2 of 3 prompts without one, first 'x'\. Give each prompt"):
        sweep(Even(), some, settings, study=tmp_path / "s.db")
    with pytest.raises(UseCaseError, match="2 of 3 prompts"):
        plan(Even(), some, settings, study=tmp_path / "s.db")
    assert not (tmp_path / "s.db").exists()


def test_bad_input(tmp_path: Path) -> None:
    with drawn(Even(), two(), tmp_path) as study:
        with pytest.raises(MetricError, match="of single texts, but got distinct_2"):
            values(study, "distinct_2")
        with pytest.raises(StudyError, match="belongs to one model"):
            score_references(FakeEngine(), study, "letters")
        with pytest.raises(StudyError, match="'numbers'"):
            score_references(Even(), study, "numbers")
        with pytest.raises(ModelError, match="gives logits"):
            score(object(), "x", "a")  # type: ignore[arg-type]
    with pytest.raises(EngineError, match="Log-probabilities are numbers"):
        score(poise.load("fake:nan"), "x", " ship")


@pytest.mark.model
def test_on_the_embedded_model(embedded_files: ModelFiles, tmp_path: Path) -> None:
    """A famous opening is less surprising than one of random words, and kept as `score` finds it."""
    engine = poise.load("smollm2")
    famous = {"text": "It was the best of times,", "reference": "it was the worst of times"}
    random = {"text": "Once upon a time", "reference": "purple seven of walk the lamp"}
    with drawn(engine, case(famous, random), tmp_path, max_tokens=16, min_tokens=16) as study:
        known, unknown = values(study, "nll")
        assert known is not None
        assert unknown is not None
        assert known < 1.2 < 5 < unknown  # 0.98 to 1.01, by the processor's arithmetic
        assert known == pytest.approx(
            poise.score(engine, "It was the best of times,", " it was the worst of times").nll
        )
        assert values(study, "length") == [6, 6]
