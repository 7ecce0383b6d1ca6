"""Sweeps: what they draw, what they reuse, and what an interruption leaves."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poise.comparisons import compare
from poise.engines.fake import FakeEngine, make
from poise.errors import EngineError
from poise.measurements import measure
from poise.params import SamplingParams, grid
from poise.records import Completion, Fingerprint, Message, Prompt, Request
from poise.sessions import Tally
from poise.study import Study
from poise.sweeps import plan, sweep
from watched import HEATS, STORY, Watched, use_case


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def engine() -> Watched:
    return Watched()


def drawn(study: Study) -> tuple[int, int]:
    """How many texts the last sweep drew and reused; the study is closed."""
    assert study.last_sweep is not None
    with study:
        return study.last_sweep.drawn, study.last_sweep.reused


# Drawing and reusing


def test_the_same_command_comes_back_to_the_same_study_and_draws_nothing(engine: Watched) -> None:
    with sweep(engine, "a ship", HEATS, draws=2, max_tokens=5) as first:
        texts = list(first.completions())
        path = first.path
    # Two settings and two baselines, two draws each.
    assert len(texts) == 4 * 2
    with sweep(engine, "a ship", HEATS, draws=2, max_tokens=5) as again:
        assert again.path == path
        assert again.last_sweep is not None
        assert again.last_sweep[:2] == (0, 8)
        assert list(again.completions()) == texts


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"draws": 3}, 4),  # one more draw under each of four settings
        ({"settings": grid(temperature=[0.3, 0.9, 1.3])}, 2),
        ({"prompts": ["a ship", "one star"]}, 8),
        ({"seed": 1}, 8),
        ({"max_tokens": 6}, 8),
        ({"stop": "star"}, 8),
        ({"prompts": Prompt("a ship", answers=("yes",)), "stop": ()}, 0),
        ({"baselines": False, "draws": 1}, 0),
    ],
    ids=str,
)
def test_more_of_anything_draws_only_what_is_missing(
    engine: Watched, tmp_path: Path, more: dict[str, Any], missing: int
) -> None:
    first: dict[str, Any] = {"prompts": "a ship", "settings": HEATS, "draws": 2, "max_tokens": 5}
    sweep(engine, study=tmp_path / "s.db", **first).close()
    then = {**first, **more}
    said = plan(engine, study=tmp_path / "s.db", **then)
    assert said.missing == missing
    if "answers" in str(more):
        with pytest.warns(UserWarning, match="answers"):
            assert drawn(sweep(engine, study=tmp_path / "s.db", **then)) == (missing, said.reused)
    else:
        assert drawn(sweep(engine, study=tmp_path / "s.db", **then)) == (missing, said.reused)


PIECES = st.tuples(
    st.lists(st.sampled_from(["a ship", "one star", "on"]), min_size=1, unique=True),
    st.lists(st.sampled_from([0, 0.4, 1, 1.5]), min_size=1, unique=True),
    st.integers(1, 3),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pieces=st.lists(PIECES, max_size=3))
def test_a_study_filled_in_pieces_holds_what_one_sweep_draws(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[list[str], list[float], int]]
) -> None:
    engine, folder = FakeEngine(), tmp_path_factory.mktemp("pieces")
    whole: dict[str, Any] = {
        "prompts": ["a ship", "one star", "on"],
        "settings": grid(temperature=[0, 0.4, 1, 1.5]),
        "draws": 3,
        "max_tokens": 5,
    }
    for prompts, heats, draws in pieces:
        sweep(engine, prompts, grid(temperature=heats), study=folder / "a.db", draws=draws, max_tokens=5).close()
    with sweep(engine, study=folder / "a.db", **whole) as a, sweep(engine, study=folder / "b.db", **whole) as b:
        key = lambda c: (c.request.prompt.text, c.request.params.label, c.request.draw)  # noqa: E731
        assert sorted(a.completions(), key=key) == sorted(b.completions(), key=key)


def test_baselines_join_by_name_and_alike_ones_are_one_trial() -> None:
    engine = Watched(vendor=SamplingParams(temperature=0.3, top_p=1.0))
    with sweep(engine, "a ship", HEATS, max_tokens=3) as study:
        assert [(t.label, t.names) for t in study.trials()] == [
            ("temperature=0", ("greedy",)),
            ("temperature=0.3", ("vendor",)),
            ("temperature=0.9", ()),
            ("temperature=1", ("engine-default",)),
        ]
    with sweep(engine, "a ship", HEATS, max_tokens=3, baselines=False, study=study.path.with_name("x.db")) as study:
        assert [t.label for t in study.trials()] == ["temperature=0.3", "temperature=0.9"]


def test_greedy_draws_are_kept_each_and_cost_no_rows(engine: Watched) -> None:
    with sweep(engine, "a ship", grid(temperature=0), baselines=False, draws=5, max_tokens=4) as study:
        texts = list(study.completions())
        assert [c.request.draw for c in texts] == [0, 1, 2, 3, 4]
        assert len({c.token_ids for c in texts}) == 1
        assert study.last_sweep is not None
        assert study.last_sweep.rows == len(texts[0].token_ids) - 1
        assert study.last_sweep.tokens == 5 * len(texts[0].token_ids)


def test_a_text_asked_for_by_two_prompts_is_drawn_once_and_read_by_both(engine: Watched) -> None:
    given = [Prompt("a ship", use_case="one"), Prompt("a ship", use_case="two")]
    said = plan(engine, given, HEATS, baselines=False, draws=2)
    assert (said.total, said.missing) == (4, 4)
    assert said.notes == ("4 texts are asked for twice, by prompts that read alike; each is drawn once.",)
    with sweep(engine, given, HEATS, baselines=False, draws=2) as study:
        assert len(engine.asked) == 4
        assert (study.count("one"), study.count("two")) == (4, 4)


def limits(study: Study) -> set[tuple[int, int, tuple[str, ...]]]:
    return {(c.request.max_tokens, c.request.min_tokens, c.request.stop) for c in study.completions()}


def test_options_go_before_what_the_use_case_says(engine: Watched) -> None:
    with sweep(engine, STORY, HEATS) as study:
        assert limits(study) == {(6, 2, ("found",))}
    with sweep(engine, STORY, HEATS, max_tokens=3, min_tokens=0, stop=()) as study:
        assert limits(study) == {(3, 0, ())}


def test_a_use_case_is_read_as_last_asked(engine: Watched) -> None:
    with sweep(engine, STORY, HEATS) as study:
        assert study.use_cases() == ["story"]
        path = study.path
    edited = use_case(name="story", prompts=["one star", "a found ship"], max_tokens=6, min_tokens=2, stop="found")
    with sweep(engine, edited, HEATS) as study:
        assert study.path == path
        assert study.last_sweep is not None
        assert study.last_sweep[:2] == (4, 4)
        assert [p.text for p in study.prompts("story")] == ["one star", "a found ship"]


def test_a_given_study_is_written_to_and_stays_open(engine: Watched, tmp_path: Path) -> None:
    with Study.open(tmp_path / "mine.db") as mine:
        assert plan(engine, "a ship", HEATS, study=mine).missing == 4
        assert sweep(engine, "a ship", HEATS, study=mine, max_tokens=2) is mine
        assert mine.count() == 4
        assert plan(engine, "a ship", HEATS, study=mine, max_tokens=2).missing == 0


# The plan


def test_a_plan_says_what_it_would_cost_and_leaves_no_trace(engine: Watched, home: Path) -> None:
    said = plan(engine, ["a ship", Prompt(messages=(Message("user", "hi"),))], HEATS, draws=3, max_tokens=10)
    assert (said.total, said.reused, said.missing) == (24, 0, 24)
    assert said.max_new_tokens == 240
    assert said.prompt_tokens == 2 + 2  # "a ship", "user: hi"
    assert said.seconds is None
    shown = str(said)
    assert "24: 0 in the study already, 24 to draw" in shown
    assert "temperature=0 (greedy)" in shown
    assert "at most 240 new ones" in shown
    assert "1 asked as chat, 1 continued as text" in shown
    assert engine.asked == []
    assert not home.exists()


def test_a_plan_knows_the_time_once_a_sweep_was_timed(engine: Watched, tmp_path: Path) -> None:
    with sweep(engine, "a ship", HEATS, study=tmp_path / "s.db", max_tokens=5) as study:
        assert study.seen_rate is not None
        rate = study.seen_rate
    said = plan(engine, "a ship", HEATS, study=tmp_path / "s.db", max_tokens=5, draws=3)
    assert said.seconds == pytest.approx(8 * 5 / rate)
    assert "at most" in str(said)
    assert "nothing to draw" in str(plan(engine, "a ship", HEATS, study=tmp_path / "s.db", max_tokens=5))


def test_a_plan_of_many_settings_stays_short(engine: Watched) -> None:
    said = str(plan(engine, "a ship", grid(temperature=[i / 100 for i in range(1, 60)])))
    assert "and 53 more" in said
    assert len(said) < 1500


def test_progress_is_told_of_every_text(engine: Watched) -> None:
    seen: list[tuple[int, int, int]] = []
    sweep(
        engine,
        "a ship",
        HEATS,
        draws=2,
        progress=lambda done, total, tally: seen.append((done, total, tally.completions)),
    ).close()
    assert [(done, total) for done, total, _ in seen] == [(i, 8) for i in range(9)]
    assert all(finished >= done for done, _, finished in seen)


# Interruptions and failures


def stop_after(count: int, what: BaseException) -> Any:
    def progress(done: int, total: int, tally: Tally) -> None:
        if done == count:
            raise what

    return progress


def test_an_interruption_keeps_everything_finished_and_is_passed_on(engine: Watched, tmp_path: Path) -> None:
    path = tmp_path / "a" / "s.db"
    with pytest.raises(KeyboardInterrupt):
        sweep(engine, "a ship", HEATS, draws=4, study=path, progress=stop_after(5, KeyboardInterrupt()))
    assert os.listdir(path.parent) == ["s.db"], "closed: the log is folded into the file"
    assert plan(engine, "a ship", HEATS, draws=4, study=path).reused == 5
    assert drawn(sweep(engine, "a ship", HEATS, draws=4, study=path)) == (11, 5)


def test_an_interrupted_sweep_leaves_a_given_study_open(engine: Watched, tmp_path: Path) -> None:
    with Study.open(tmp_path / "s.db") as mine:
        with pytest.raises(KeyboardInterrupt):
            sweep(engine, "a ship", HEATS, draws=4, study=mine, progress=stop_after(5, KeyboardInterrupt()))
        assert mine.count() == 5


def test_the_engine_is_let_go_when_a_sweep_ends_early(tmp_path: Path) -> None:
    released = []

    class Holding(FakeEngine):
        def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
            try:
                yield from super().generate(requests, tally)
            finally:
                released.append(True)

    try:
        sweep(Holding(), "a ship", HEATS, study=tmp_path / "s.db", progress=stop_after(1, KeyboardInterrupt()))
    except KeyboardInterrupt:
        assert released == [True]


def test_logits_that_are_no_numbers_end_the_sweep_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(EngineError) as caught:
        sweep(make("nan"), "a ship", HEATS, study=tmp_path / "s.db")
    assert caught.value.exit_code == 3
    with Study.open(tmp_path / "s.db", read_only=True) as study:
        assert study.count() == 0


def test_an_engine_that_leaves_requests_out_is_an_error(tmp_path: Path) -> None:
    class Lazy(FakeEngine):
        def generate(self, requests: Iterable[Request], tally: Tally | None = None) -> Iterator[Completion]:
            yield from list(super().generate(requests, tally))[:-1]

    with pytest.raises(EngineError, match="3 of 4"):
        sweep(Lazy(), "a ship", HEATS, study=tmp_path / "s.db")
    with Study.open(tmp_path / "s.db", read_only=True) as study:
        assert study.count() == 3


def test_changed_circumstances_warn_and_cost_nothing(tmp_path: Path) -> None:
    class Moved(Watched):
        @property
        def fingerprint(self) -> Fingerprint:
            return dataclasses.replace(super().fingerprint, provenance={"device": "cuda"})

    sweep(Watched(), "a ship", HEATS, study=tmp_path / "s.db", max_tokens=2).close()
    said = plan(Moved(), "a ship", HEATS, study=tmp_path / "s.db", max_tokens=2)
    assert "device was cpu, is cuda" in said.notes[0]
    assert (said.missing, said.rate) == (0, None)
    with pytest.warns(UserWarning, match="device was cpu, is cuda"):
        assert drawn(sweep(Moved(), "a ship", HEATS, study=tmp_path / "s.db", max_tokens=2)) == (0, 4)


def test_a_device_that_failed_its_self_test_is_told_before_drawing() -> None:
    class Wobbly(FakeEngine):
        @property
        def fingerprint(self) -> Fingerprint:
            return dataclasses.replace(super().fingerprint, provenance={"replay": "unverified"})

    noted = str(plan(Wobbly(), "hello", SamplingParams()))
    assert "replay: unverified" in noted
    assert "replay" not in str(plan(FakeEngine(), "hello", SamplingParams()))


def test_an_interrupted_sweep_is_told_until_it_is_whole(tmp_path: Path) -> None:
    """Short texts finish first: what an interruption leaves must not be read as a fair sample."""
    path = tmp_path / "s.db"

    class Stop(Exception):
        """As Ctrl-C would be."""

    def stop(done: int, total: int, tally: Tally) -> None:
        if done == 20:
            raise Stop

    with pytest.raises(Stop):
        sweep(FakeEngine(), "the", grid(temperature=1.2), study=path, draws=60, max_tokens=50, progress=stop)
    with Study.open(path) as part:
        [caveat] = part.caveats()
        said = [
            measure(part, metrics=["length"]),
            compare(part, "temperature=1.2", "engine-default", metrics=["length"]),
        ]
    assert "interrupted sweep are missing" in caveat
    for result in said:  # wherever numbers are read, first of all
        assert str(result).startswith(f"Note: {caveat}")
        assert caveat in result._repr_html_()
    with sweep(FakeEngine(), "the", grid(temperature=1.2), study=path, draws=60, max_tokens=50) as whole:
        assert whole.caveats() == []
        assert not str(measure(whole, metrics=["length"])).startswith("Note")
    with sweep(FakeEngine(), "the", grid(temperature=1.2), study=path, draws=2, max_tokens=5) as other:
        [caveat] = other.caveats()
    assert "drawn with other limits" in caveat


def test_a_file_whose_making_was_killed_is_swept_again(tmp_path: Path) -> None:
    """A kill between the log mode and the first table leaves a file without tables: it counts as none."""
    import sqlite3
    from contextlib import closing

    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA user_version=0")
        connection.execute("VACUUM")
    assert plan(FakeEngine(), "the", SamplingParams(), study=path).missing > 0
    with sweep(FakeEngine(), "the", SamplingParams(), study=path) as study:
        assert study.count() > 0


def test_other_limits_are_another_study_by_default() -> None:
    """A short `generate` must not hide the long texts of an earlier sweep of the same prompt."""
    kept = {plan(FakeEngine(), "the", SamplingParams(), max_tokens=n, draws=d).study for n in (8, 32) for d in (1, 5)}
    assert len(kept) == 2
