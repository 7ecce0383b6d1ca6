"""The documentation is run or generated: nothing in it can rot unseen."""

from __future__ import annotations

import doctest
import importlib
import re
import shlex
from pathlib import Path

import pytest
from scripts import docs

import poise
from fake_judge import FakeJudge, serving
from poise import cli
from poise.fakeserver import STYLES
from poise.fakeserver.app import make_app
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.params import PARAMETERS
from poise.reports import dialpage

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
SOURCE = ROOT / "src" / "poise"
MODULES = [p for p in sorted(SOURCE.rglob("*.py")) if ">>> " in p.read_text(encoding="utf-8")]
MARKDOWN = [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES]


def commands(path: Path) -> list[str]:
    """Every `poise …` line of a page's shell blocks, a leading `$ ` left out."""
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("poise ")]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_the_examples_in_docstrings_are_true(path: Path) -> None:
    name = ".".join(["poise", *path.relative_to(SOURCE).with_suffix("").parts]).removesuffix(".__init__")
    done = doctest.testmod(importlib.import_module(name))
    assert done.failed == 0


def test_generated_pages_are_fresh() -> None:
    stale = [str(p.name) for p, text in docs.pages().items() if p.read_text(encoding="utf-8") != text]
    assert not stale, "run `make docs`"


@pytest.mark.parametrize("path", PAGES, ids=lambda p: p.name)
def test_every_command_in_the_docs_runs(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the fake engine, page by page, in order; the commands of one page build on each other."""
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    lines = commands(path)
    if path.name in ("commands.md", "dumps.md"):  # made for those who drew already
        assert cli.run(shlex.split("sweep fake 'Once upon a time' --temperature 0.3,0.9 --draws 8")) == 0
    with serving(FakeJudge()) as judge, served(make_app(FakeServer(STYLES["vllm"]))) as server:
        for line in lines:
            line = line.replace(" --dtype float32", "")  # the fake has none
            url = judge.url if line.startswith("poise judge") else f"{server}/v1"
            line = line.replace("http://localhost:8000/v1", url)
            named = ("smollm2", "hf:gpt2", "llamacpp:smollm2")
            words = ["fake" if w in named else w for w in shlex.split(line, comments=True)[1:]]
            if words[0] == "demo":
                words += ["--model", "fake", "--no-open"]
            code = cli.run(words)
            assert code == 0, f"{line}\n{capsys.readouterr().err}"


@pytest.mark.parametrize(
    "path", [p for p in PAGES if "```pycon" in p.read_text(encoding="utf-8")], ids=lambda p: p.name
)
def test_the_sessions_in_the_docs_are_true(path: Path) -> None:
    done = doctest.testfile(str(path), module_relative=False)
    assert done.attempted > 0
    assert done.failed == 0


def test_the_python_in_the_docs_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    blocks = [b for p in PAGES for b in re.findall(r"```python\n(.*?)```", p.read_text(encoding="utf-8"), re.DOTALL)]
    assert len(blocks) >= 3
    with served(make_app(FakeServer(STYLES["vllm"]))) as server:
        for block in blocks:
            exec(compile(block.replace("http://localhost:8000", server), "docs", "exec"), {})
    out = capsys.readouterr().out
    assert "question_marks" in out
    heads = re.search(r"(\d+) of 200 heads", out)
    assert heads
    assert 100 < int(heads[1]) < 180  # 140 expected, 6 standard deviations on either side


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda p: p.name)
def test_links_lead_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if not target.startswith("https://"):
            assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_every_command_parameter_and_metric_is_documented() -> None:
    everything = "\n".join(p.read_text(encoding="utf-8") for p in PAGES)
    names = [f"## poise {c.words}\n" for c in cli.COMMANDS]
    names += [f"## {n}\n" for n in [*PARAMETERS, *poise.METRICS]]
    assert [n for n in names if n not in everything] == []


def test_every_dependency_has_its_line() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    names = {n.lower() for n in re.findall(r'^\s*"([A-Za-z][\w-]*)[=<>\[]', pyproject, re.MULTILINE)}
    names |= {n.lower() for n in re.findall(r'[\[ ]"([A-Za-z][\w-]*)[=<>]', pyproject)} - {"poise"}
    page = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").lower()
    assert {n for n in names if f"**{n}**" not in page} == set()


def test_the_example_of_every_command_is_its_own() -> None:
    for command in cli.COMMANDS:
        assert command.example.startswith(f"poise {command.words}")


def test_committed_text_names_no_machine() -> None:
    """No path of a machine, no host of a package registry."""
    banned = re.compile(r"/(work|root|farm)/|://[a-z.-]*(pypi|hosted|npm|debian)")
    for path in [*MARKDOWN, ROOT / "Makefile", ROOT / "pyproject.toml"]:
        assert not banned.search(path.read_text(encoding="utf-8")), path.name


def test_the_page_in_the_docs_is_made_by_this_version() -> None:
    """Whoever changes the page's script or style makes it anew, with the command in docs/dials.md."""
    html = (ROOT / "docs" / "temperature.html").read_text("utf-8")
    assert str(dialpage._script()) in html
    assert str(dialpage._style()) in html
    assert "poise dial smollm2" in (ROOT / "docs" / "dials.md").read_text("utf-8")
