"""Bad input: each has its message (rule, value, next step) and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from poise import cli

DRAW = ["--max-tokens", "8"]
MISTAKES: dict[str, tuple[list[str], str]] = {
    "unknown flag": (["sweep", "fake", "hi", "--temprature", "0.5"], "--temprature"),
    "unknown parameter": (["sweep", "fake", "hi", "-p", "temprature=0.5"], "Did you mean temperature?"),
    "out of range": (["sweep", "fake", "hi", "--top-p", "1.5"], "top_p must lie in [0, 1], but got 1.5"),
    "not a number": (["sweep", "fake", "hi", "--temperature", "hot"], "but got 'hot'"),
    "a range": (["sweep", "fake", "hi", "--temperature", "0..1.5"], "0..1.5:0.1"),
    "a flag and a pair": (["sweep", "fake", "hi", "--top-k", "5", "-p", "top_k=6"], "top_k is given once"),
    "a grid of a million": (
        ["sweep", "fake", "hi", "--temperature", "0..9.99:0.01", "--top-p", "0.001..1:0.001"],
        "at most 10,000 settings",
    ),
    "a grid too fine": (["sweep", "fake", "hi", "--temperature", "0..1:0.0000001"], "10,000,001 of temperature"),
    "unknown dialect": (["sweep", "fake", "hi", "--dialect", "klingon"], "'klingon'"),
    "no draws": (["sweep", "fake", "hi", "--draws", "0"], "draws is a whole number of at least 1, but got 0"),
    "draws not a number": (["sweep", "fake", "hi", "--draws", "many"], "--draws takes a whole number, but got 'many'"),
    "no tokens": (["generate", "fake", "hi", "--max-tokens", "0"], "max_tokens"),
    "min above max": (["generate", "fake", "hi", *DRAW, "--min-tokens", "9"], "min_tokens"),
    "empty stop": (["generate", "fake", "hi", "--stop", ""], "stop"),
    "too many texts": (["sweep", "fake", "hi", "--draws", "9999999"], "1,000,000"),
    "unknown model": (["sweep", "gpt2", "hi"], "hf:gpt2"),
    "unknown fake": (["sweep", "fake:dragon", "hi"], "fake:dragon"),
    "no such folder": (["sweep", "hf:./nowhere", "hi"], "nowhere"),
    "no such gguf": (["sweep", "gguf:./nowhere.gguf", "hi"], "nowhere.gguf"),
    "pickle weights": (["generate", "hf:./pickled", "hi"], "safetensors"),
    "a dtype the fake lacks": (["sweep", "fake", "hi", "--dtype", "float16"], "float16"),
    "empty prompt": (["sweep", "fake", ""], "at least one character"),
    "blank prompt": (["sweep", "fake", "  "], "at least one token"),
    "prompt too long": (["generate", "fake", "word " * 5000], "4,096 tokens"),
    "prompt and file": (["sweep", "fake", "hi", "-f", "creative-story"], "both"),
    "neither prompt nor file": (["sweep", "fake"], "neither"),
    "system with text": (["sweep", "fake", "hi", "--system", "x", "--text"], "system"),
    "an address in capitals": (["generate", "HTTP://localhost:1/v1", "hi"], "Write http://localhost:1/v1"),
    "an address without http": (["generate", "127.0.0.1:9101/v1", "hi"], "Write http://127.0.0.1:9101/v1"),
    "a host without http": (["generate", "localhost:9101/v1", "hi"], "Write http://localhost:9101/v1"),
    "a dial that a server draws": (
        ["dial", "http://localhost:1/v1", "hi", "--temperature", "0..1", "--draws-by", "server"],
        "Leave --draws-by out",
    ),
    "thinking with text": (["sweep", "fake", "hi", "--thinking", "on", "--text"], "--thinking with --text"),
    "several settings to generate": (["generate", "fake", "hi", "--temperature", "0.1,0.2"], "`poise sweep`"),
    "unknown use case": (["sweep", "fake", "-f", "creative-storey"], "creative-story"),
    "no such file": (["sweep", "fake", "-f", "missing.yaml"], "missing.yaml"),
    "broken YAML": (["sweep", "fake", "-f", "broken.yaml"], "broken.yaml"),
    "huge YAML": (["sweep", "fake", "-f", "huge.yaml"], "27.0 MB"),
    "YAML bomb": (["sweep", "fake", "-f", "bomb.yaml"], "bomb.yaml"),
    "binary use case": (["sweep", "fake", "-f", "binary.yaml"], "binary.yaml"),
    "unknown field": (["usecase", "show", "field.yaml"], "tempereture"),
    "a use case twice": (["usecase", "new", "here.yaml"], "exists"),
    "no folder for a use case": (["usecase", "new", "nowhere/x.yaml"], "nowhere"),
    "unknown catalogue": (["list", "parrots"], "'parrots'"),
    "unknown command": (["swep"], "swep"),
    "no such study": (["measure", "--study", "missing.db"], "missing.db"),
    "unknown format": (["dump", "--format", "xlsx", "--study", "study.db"], "'xlsx'"),
    "json without a file": (["dump", "--json", "--study", "study.db"], "-o"),
    "no folder for a report": (["report", "-o", "nowhere/r.html", "--study", "study.db"], "but got nowhere"),
    "a report to a folder": (
        ["report", "-o", ".", "--study", "study.db"],
        "a file, but got the folder '.'. For example",
    ),
    "a dump to a folder": (["dump", "-o", "pickled", "--study", "study.db"], "a file, but got the folder 'pickled'"),
    "a dump to nothing": (["dump", "-o", "", "--study", "study.db"], "A dump goes to a file, but got ''"),
    "parquet without a file": (["dump", "--format", "parquet", "--study", "study.db"], "Add -o texts.parquet"),
    "a use case to nothing": (["usecase", "new", ""], "A use case goes to a file, but got ''"),
    "unknown metric": (["measure", "--metric", "lenght", "--study", "study.db"], "Did you mean length?"),
    "answers without answers": (
        ["measure", "--metric", "exact_match", "--study", "study.db"],
        "Give each prompt its `answer`",
    ),
    "unknown trial": (["compare", "temperature=0.3", "temperature=7", "--study", "study.db"], "temperature=7"),
    "a trial with itself": (["compare", "greedy", "temperature=0", "--study", "study.db"], "wice"),
    "unknown use case of a study": (["measure", "--use-case", "poems", "--study", "study.db"], "'poems'"),
    "a study of another model": (["sweep", "fake:hostile", "hi", "--study", "study.db"], "study.db"),
}
FAULTS: dict[str, tuple[list[str], str]] = {
    "a study that is none": (["measure", "--study", "broken.yaml"], "broken.yaml"),
    "NaN logits": (["generate", "fake:nan", "hi"], "numbers"),
    "no folder for a study": (["sweep", "fake", "hi", *DRAW, "--study", "here.yaml/study.db"], "study.db"),
    "no folder for a dump": (["dump", "-o", "nowhere/d.csv", "--study", "study.db"], "nowhere"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small study, and files that cannot be used."""
    place = tmp_path_factory.mktemp("mistakes")
    (place / "broken.yaml").write_text("prompts: [unclosed\n  - x: [\n")
    (place / "huge.yaml").write_text("prompts:\n" + "  - word\n" * 3_000_000)
    bomb = [
        "a: &a [x,x,x,x,x,x,x,x,x]",
        *(f"{c}: &{c} [{','.join([f'*{b}'] * 9)}]" for b, c in zip("abcdefgh", "bcdefghi", strict=True)),
    ]
    (place / "bomb.yaml").write_text("\n".join(bomb))
    (place / "binary.yaml").write_bytes(bytes(range(256)))
    (place / "field.yaml").write_text("prompts: [hi]\ntempereture: 0.5\n")
    (place / "pickled").mkdir()
    (place / "pickled" / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (place / "pickled" / "tokenizer.json").write_text("{}")
    (place / "pickled" / "pytorch_model.bin").write_bytes(b"\x80")
    (place / "here.yaml").write_text("prompts: [hi]\n")
    before = os.environ.get("POISE_HOME", "")
    os.environ["POISE_HOME"] = str(place / "home")
    assert cli.run(["sweep", "fake", "hi", "--temperature", "0.3", *DRAW, "--study", str(place / "study.db")]) == 0
    os.environ["POISE_HOME"] = before
    return place


def ended(
    words: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "250")
    capsys.readouterr()
    code = cli.run(words)
    out, err = capsys.readouterr()
    assert "Next:" not in out, "a failure is no success"
    assert "Traceback" not in out + err
    return code, " ".join(err.split())


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_the_rule_and_the_value(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "pickle weights":
        pytest.importorskip("torch")  # the core alone stops earlier, at the missing extra
    words, said = MISTAKES[name]
    code, err = ended(words, folder, monkeypatch, capsys)
    assert code == 2, err
    assert said in err
    assert len(err) < 1500, "one readable message"


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_of_the_system_is_no_mistake_of_the_user(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = FAULTS[name]
    code, err = ended(words, folder, monkeypatch, capsys)
    assert code == 3, err
    assert said in err


@pytest.mark.parametrize("model", ["smollm2", "hf:gpt2"])
def test_without_the_extra_the_way_to_it_is_said(model: str) -> None:
    words = ["generate", model, "hi"]
    code = f"import sys\nsys.modules['torch'] = None\nfrom poise.cli import run\nsys.exit(run({words}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert (
        f"{model} needs the libraries of the extra `local`, but got no torch. pip install 'poise[local]'."
        in done.stderr
    )


def test_nothing_is_begun_by_a_mistake(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    for words, _ in MISTAKES.values():
        cli.run(words)
    assert not list(tmp_path.rglob("*.db"))


def test_without_a_study_there_is_a_way_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    assert cli.run(["measure"]) == 2
    assert "poise sweep" in capsys.readouterr().err


def test_json_keeps_stdout_empty_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POISE_HOME", str(tmp_path))
    assert cli.run(["measure", "--json"]) == 2
    assert capsys.readouterr().out == ""
