"""The page's parts: what varied, which texts, which charts, what is embedded, how to make it again."""

from __future__ import annotations

import doctest
import html.parser
import importlib
import itertools
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import poise
from commands import Run
from poise.errors import MetricError, StudyError, UsageError
from poise.measurements import Measurement
from poise.params import PARAMETERS, SamplingParams
from poise.records import Completion, Message, Prompt, Request, Trial
from poise.reports import bundle
from poise.reports.axes import contrasts, find_axis, in_order
from poise.reports.charts import HEIGHT, LABEL_GAP, NOTEBOOK, label_heights, metric_spec
from poise.reports.excerpts import MAX_CHARACTERS, MAX_COLUMNS, choose_columns, choose_excerpts
from poise.reports.recipe import make_recipe, use_case_file
from poise.reports.survey import survey

MODULES = ("axes", "bundle", "charts", "evidence", "excerpts", "findings", "summary")


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(f"poise.reports.{name}"))
    assert result.failed == 0


def trials(*settings: dict[str, float | int], **named: dict[str, float | int]) -> list[Trial]:
    swept = [Trial(SamplingParams(**s).normalised()) for s in settings]
    return swept + [Trial(SamplingParams(**s).normalised(), (n.replace("_", "-"),)) for n, s in named.items()]


BASELINES = {"greedy": {"temperature": 0}, "engine_default": {"top_k": 50}}


def test_greedy_is_the_temperature_curves_end_and_the_default_stands_beside_it() -> None:
    found = trials({"temperature": 0.3}, {"temperature": 0.9}, **BASELINES)
    axis = find_axis(found)
    assert (axis.parameter, axis.others, axis.values) == ("temperature", (), (0.0, 0.3, 0.9))
    assert [axis.holds(t) for t in found] == [True, True, True, False]
    assert [t.label for t in in_order(found, axis)][-1] == "temperature=1,top_k=50"
    [ends] = contrasts(found, axis)
    assert (ends.low.label, ends.high.label) == ("temperature=0.3", "temperature=0.9")


def test_off_stands_after_every_number() -> None:
    found = trials({"top_k": 10}, {"top_k": 5}, {})
    axis = find_axis(found)
    assert axis.values == (5, 10, None)
    assert not axis.numeric
    [ends] = contrasts(found, axis)
    assert ends.high.params.top_k is None


def test_two_parameters_make_lines_and_a_contrast_each() -> None:
    found = trials(*({"temperature": t, "top_p": p} for t in (0.3, 0.6, 0.9) for p in (0.8, 1)), **BASELINES)
    axis = find_axis(found)
    assert (axis.parameter, axis.others) == ("temperature", ("top_p",))
    assert {axis.series(t) for t in found if axis.holds(t)} == {"top_p=0.8", "top_p=1"}
    by_name = {c.parameter: c for c in contrasts(found, axis)}
    assert by_name["temperature"].held == "top_p=1"
    assert by_name["top_p"].low.params == SamplingParams(temperature=0.3, top_p=0.8)


def test_one_setting_is_compared_with_the_baselines_that_differ_in_one_parameter() -> None:
    axis = find_axis(trials({"temperature": 0.7}, **BASELINES))
    assert axis.values == (0.0, 0.7)
    assert find_axis(trials({"temperature": 0.7})).parameter == ""


def row(trial: Trial, mean: float | None, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement("u", trial, "seq_rep_4", "share", 8, 1, "prompt", mean, low, high, "")


def test_a_chart_holds_every_mean_interval_and_baseline() -> None:
    found = trials({"temperature": 0.3}, {"temperature": 0.9}, **BASELINES)
    rows = [row(found[0], 0.6, 0.5, 0.7), row(found[1], 0.1), row(found[2], 0.8), row(found[3], 0.05)]
    spec = metric_spec(rows, find_axis(found), NOTEBOOK)
    data = spec["datasets"]
    assert [(p["x"], p["mean"], p["low"], p["baseline"]) for p in data["points"]] == [
        (0.0, 0.8, None, "greedy"),
        (0.3, 0.6, 0.5, ""),
        (0.9, 0.1, None, ""),
    ]
    assert [b["label"] for b in data["baselines"]] == ["engine-default"]
    assert "http" not in json.dumps({**spec, "$schema": ""})


def test_a_chart_leaves_out_what_has_no_data() -> None:
    found = trials({"temperature": 0.3}, {"temperature": 0.9})
    spec = metric_spec([row(found[0], 0.6), row(found[1], None)], find_axis(found), NOTEBOOK)
    assert [p["setting"] for p in spec["datasets"]["points"]] == ["temperature=0.3"]


@given(st.lists(st.floats(0, HEIGHT), max_size=5).map(sorted))
def test_labels_never_cover_each_other(heights: list[float]) -> None:
    placed = label_heights(heights)
    assert all(b - a >= LABEL_GAP - 1e-6 for a, b in itertools.pairwise(placed))
    assert all(-1e-6 <= p <= HEIGHT + 1e-6 for p in placed)


def completion(prompt: Prompt, trial: Trial, text: str, ids: tuple[int, ...], draw: int = 0) -> Completion:
    return Completion(Request(prompt, (1,), trial.params, 0, draw, 64), text, ids, (), "length")


def test_loops_are_marked_where_the_metric_sees_them() -> None:
    [a, b] = trials({"temperature": 0.2}, {"temperature": 0.9})
    prompt = Prompt("Once")
    looping = completion(prompt, a, " It began! " + "It was a ship. " * 5, (9, 8, 7, *[1, 2, 3, 4] * 5))
    varied = completion(prompt, b, "ha ha ha ha", (1, 2, 3, 4))
    [shown] = choose_excerpts([looping, varied], [a, b], [prompt])
    left, right = shown.strips[0].excerpts
    assert (left.before, left.marked[:14]) == ("It began!", " It was a ship")
    assert left.loop is not None
    assert (left.loop.onset, left.loop.period) == (3, 4)
    assert (right.marked, right.loop) == ("", None)


def test_the_same_draw_stands_side_by_side_and_equal_texts_are_said_once() -> None:
    columns = trials({"temperature": 0.2}, {"temperature": 0.3}, {"temperature": 0.9})
    prompt, other = Prompt("Once"), Prompt("Other")
    drawn = [completion(prompt, t, f"{d}{i}", (d, i // 2), d) for i, t in enumerate(columns) for d in range(5)]
    [shown] = choose_excerpts(drawn, columns, [prompt, other])
    assert [s.draw for s in shown.strips] == [0, 1]
    assert [e.same_as for e in shown.strips[0].excerpts] == ["", "temperature=0.2", ""]


def test_a_long_text_is_cut_and_says_so() -> None:
    [a] = trials({"temperature": 0.2})
    [shown] = choose_excerpts([completion(Prompt("x"), a, "y" * 10_000, (1,))], [a], [Prompt("x")])
    [excerpt] = shown.strips[0].excerpts
    assert len(excerpt.before) == MAX_CHARACTERS
    assert excerpt.hidden == 10_000 - MAX_CHARACTERS


def test_columns_are_bounded_and_keep_ends_and_baselines() -> None:
    found = trials(*({"temperature": t / 100} for t in range(10, 110)), **BASELINES)
    columns = [t.label for t in choose_columns(found, find_axis(found))]
    assert len(columns) == MAX_COLUMNS
    assert {"temperature=0", "temperature=1,top_k=50", "temperature=0.1", "temperature=1.09"} <= set(columns)


@given(st.text())
def test_embedded_json_reads_back_and_cannot_leave_its_element(text: str) -> None:
    said = str(bundle.embedded_json([text]))
    assert json.loads(said) == [text]
    assert not set("<>&\u2028\u2029") & set(said)


def test_the_policy_allows_no_network_and_no_eval() -> None:
    policy = bundle.policy(["a"], ["b"])
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "'sha256-ypeBEsobvcr6wjGzmiPcTaeG7/gUfE5yuYB3ha/uSLs='" in policy  # SHA-256 of "a"


# A whole page, on the fake engine.


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> poise.Study:
    path = tmp_path_factory.mktemp("page") / "study.db"
    settings = poise.grid(temperature=[0.3, 0.9])
    return poise.sweep(poise.load("fake"), "go on, ship", settings, study=path, draws=9, max_tokens=40, seed=4)


def test_a_chart_in_a_notebook(study: poise.Study) -> None:
    """Altair holds the specification against Vega-Lite's schema, and vl-convert draws it."""
    drawn = poise.chart(study, "nll")
    drawn.to_dict(validate=True)
    assert drawn._repr_mimebundle_()
    import vl_convert

    svg = vl_convert.vegalite_to_svg(drawn.to_dict())
    assert "temperature" in svg
    with pytest.raises(MetricError, match="needs data"):
        poise.chart(study, "relevance")


class Page(html.parser.HTMLParser):
    """Elements, attributes and visible text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._inside: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = [tag]

    def handle_data(self, data: str) -> None:
        if self._inside != ["script"] and self._inside != ["style"]:
            self.text += data


@pytest.fixture(scope="module")
def page(study: poise.Study, tmp_path_factory: pytest.TempPathFactory) -> str:
    return poise.report(study, tmp_path_factory.mktemp("out") / "report.html").read_text(encoding="utf-8")


def test_the_page_shows_what_it_must(page: str, study: poise.Study) -> None:
    text = " ".join(Page(page).text.split())
    for said in (
        "What temperature does to fake",
        "greedy",
        "engine-default",
        "go on, ship",
        "Draw 0, seed 4",
        "float64",
    ):
        assert said in text
    assert study.fingerprint.weights in text
    assert PARAMETERS["temperature"].meaning in text
    assert "Varied here: 0.3, 0.9." in text


def test_the_page_loads_nothing(page: str) -> None:
    for tag, attributes in Page(page).elements:
        assert tag not in ("iframe", "object", "embed", "form", "base", "img")
        assert "src" not in attributes
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_the_same_study_gives_the_same_page(study: poise.Study, page: str, tmp_path: Path) -> None:
    assert poise.report(study, tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_the_recipe_asks_for_what_was_drawn(study: poise.Study) -> None:
    recipe = make_recipe(study.fingerprint, survey(study, "prompt"))
    [command] = recipe.commands
    words = shlex.split(command)
    assert words[:4] == ["poise", "sweep", "fake", "go on, ship"]
    for flag, value in (("--temperature", "0.3,0.9"), ("--draws", "9"), ("--seed", "4"), ("--max-tokens", "40")):
        assert words[words.index(flag) + 1] == value
    assert "--no-baselines" not in words


def test_a_recipe_names_the_dialect(tmp_path: Path) -> None:
    laws = [*poise.grid(temperature=[0.5, 2.0], top_p=0.6), *poise.grid(top_p=0.6, dialect="temperature-last")]
    drawn = poise.sweep(poise.load("fake"), "go", laws, study=tmp_path / "d.db", draws=1, max_tokens=4, baselines=False)
    with drawn:
        commands = make_recipe(drawn.fingerprint, survey(drawn, "prompt")).commands
    assert ["--dialect temperature-last" in command for command in commands] == [False, True]


ODD = 'it\'s "odd" $HOME `x` \\ é'


@pytest.mark.parametrize(
    ("prompts", "settings", "options"),
    [
        ([Prompt(ODD)], poise.grid(temperature=[0.4, 1.0], top_k=[3, None]), {"draws": 2, "stop": ["a;b"]}),
        ([Prompt(messages=(Message("system", "be brief"), Message("user", "go on")))], poise.grid(temperature=0.5), {}),
        (
            [Prompt("-x", use_case="c"), Prompt("y", use_case="c")],
            poise.grid(frequency_penalty=[-1, 0.5]),
            {"seed": -3},
        ),
        ([Prompt("go")], [SamplingParams(temperature=0.5), SamplingParams(temperature=0.9, top_p=0.8)], {}),
        ([*poise.load_use_case("creative-story").prompts], poise.grid(temperature=[0.2, 0.9]), {"max_tokens": 9}),
    ],
)
def test_the_commands_draw_the_study_again(
    prompts: list[Prompt], settings: list[SamplingParams], options: Any, run: Run, tmp_path: Path
) -> None:
    with poise.sweep(
        poise.load("fake"),
        prompts,
        settings,
        study=tmp_path / "first.db",
        baselines=False,
        **{"max_tokens": 12, **options},
    ) as first:
        [name] = first.use_cases()
        recipe = make_recipe(first.fingerprint, survey(first, name))
        if recipe.file:
            (tmp_path / "usecase.yaml").write_text(recipe.file)
        for command in recipe.commands:
            words = shlex.split(command)
            assert words[0] == "poise"
            ended = run(*words[1:])
            assert ended.code == 0, ended.err
        with poise.Study.open(tmp_path / "again.db") as again:
            drawn = [[(c.request, c.token_ids, c.text) for c in s.completions(name)] for s in (first, again)]
    assert drawn[0] == drawn[1] != []


def test_a_recipe_with_control_characters_goes_through_a_file(tmp_path: Path) -> None:
    engine = poise.load("fake")
    prompts = [
        Prompt(messages=(Message("user", "a\x1b[31m\u202e\u2028é"),), use_case="odd"),
        Prompt("b", use_case="odd"),
    ]
    drawn = poise.sweep(engine, prompts, poise.grid(temperature=[0.5, 0.7]), study=tmp_path / "s.db", baselines=False)
    seen = survey(drawn, "odd")
    text = use_case_file(seen)
    assert text.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", text)
    file = tmp_path / "usecase.yaml"
    file.write_text(text)
    assert list(poise.load_use_case(file).prompts) == drawn.prompts("odd")
    [command] = make_recipe(drawn.fingerprint, seen).commands
    assert shlex.split(command)[3:5] == ["-f", "usecase.yaml"]
    assert yaml.safe_load(text)["name"] == "odd"


def test_a_recipe_carries_goal_and_checks(tmp_path: Path) -> None:
    said: dict[str, Any] = {
        "goal": {"raise": "passes", "constraints": ["invalid <= 0.1"], "matters": 0.05},
        "check": [{"json_schema": {"type": "object", "required": ["n"]}}, {"regex": "\x1b\\["}],
        "prompts": [{"text": "a", "answer": "42", "check": [{"numeric": "answer", "within": 0.5}]}, "b"],
    }
    case = poise.UseCase(name="sums", mode="text", **said)
    grid = poise.grid(temperature=[0.5, 0.7])
    with poise.sweep(poise.load("fake"), case, grid, study=tmp_path / "s.db", max_tokens=4) as drawn:
        seen = survey(drawn, "sums")
    file = tmp_path / "usecase.yaml"
    file.write_text(use_case_file(seen))
    again = poise.load_use_case(file)
    assert (again.goal, again.prompts) == (case.goal, case.prompts)


def test_a_lone_prompt_with_a_check_is_drawn_again_from_a_file(tmp_path: Path) -> None:
    asked = Prompt("a", checks=poise.read_checks({"regex": "x"}))
    with poise.sweep(poise.load("fake"), asked, poise.grid(temperature=0.5), study=tmp_path / "s.db") as drawn:
        recipe = make_recipe(drawn.fingerprint, survey(drawn, "prompt"))
    assert "-f usecase.yaml" in recipe.commands[0]
    assert "regex: x" in recipe.file


def test_an_empty_study_and_a_folder_that_is_not_there(tmp_path: Path, study: poise.Study) -> None:
    with poise.Study.open(tmp_path / "empty.db") as empty, pytest.raises(StudyError, match="poise sweep"):
        poise.report(empty, tmp_path / "report.html")
    with pytest.raises(UsageError, match=r"a folder that is there, but got .*absent"):
        poise.report(study, tmp_path / "absent" / "report.html")
    assert list(tmp_path.glob("*.part")) == []
