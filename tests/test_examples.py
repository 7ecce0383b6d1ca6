"""The article's two scripts, in six lines each, run as a user runs them."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parent.parent / "examples"
SHOWN = {
    "temperature.py": ["temperature=0.3", "temperature=0.5", "temperature=0.9"],
    "temperature_impact.py": [
        "creative-story, temperature=0.2",
        "creative-story, temperature=0.9",
        "technical-explanation, temperature=0.7",
        "technical-explanation, temperature=0.9",
    ],
}


def output(name: str, model: list[str], home: Path) -> str:
    command = [sys.executable, str(FOLDER / name), *model]
    env = {**os.environ, "POISE_HOME": str(home)}
    return subprocess.run(command, capture_output=True, text=True, env=env, check=True, timeout=300).stdout


@pytest.mark.parametrize("name", SHOWN)
def test_six_lines_beside_the_imports(name: str) -> None:
    body = ast.parse((FOLDER / name).read_text()).body
    code = [n for n in body if not isinstance(n, (ast.Import, ast.Expr))]
    assert sum((n.end_lineno or n.lineno) - n.lineno + 1 for n in code) <= 6


@pytest.mark.parametrize("name", SHOWN)
def test_an_example_shows_a_text_per_setting(name: str, tmp_path: Path) -> None:
    out = output(name, ["fake"], tmp_path)
    assert [line.strip("= ") for line in out.splitlines() if line.startswith("===")] == SHOWN[name]


@pytest.mark.model
@pytest.mark.parametrize("name", SHOWN)
def test_without_an_argument_it_is_the_embedded_model(name: str, tmp_path: Path) -> None:
    out = output(name, [], tmp_path)
    texts = out.split("\n=== ")[1:]
    assert len(texts) == len(SHOWN[name])
    assert len({text.partition("===")[2] for text in texts}) > 1, "temperature changes the text"
