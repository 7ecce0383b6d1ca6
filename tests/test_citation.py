"""CITATION.cff says what the package says of itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

import poise

ROOT = Path(__file__).resolve().parent.parent
CITATION: dict[str, Any] = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_it_has_what_the_format_asks_for() -> None:
    """Citation File Format 1.2.0: four keys must be there, and of each reference its type, authors and title."""
    assert CITATION["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(CITATION)
    assert all({"type", "authors", "title"} <= set(r) for r in CITATION["references"])


def test_version_and_licence_are_the_package_s() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert CITATION["version"] == poise.__version__ == project["version"]
    assert CITATION["license"] == project["license"]
    assert CITATION["authors"] == [{"name": "The poise developers"}]


def test_the_works_it_builds_on_are_among_those_of_the_method() -> None:
    method = " ".join((ROOT / "docs" / "method.md").read_text(encoding="utf-8").replace("\\", "").split())
    assert [r["authors"][0]["family-names"] for r in CITATION["references"]] == ["Och", "Maddison"]
    assert all(r["title"] in method for r in CITATION["references"])


def test_every_work_that_the_method_cites_by_year_is_in_its_list() -> None:
    text = (ROOT / "docs" / "method.md").read_text(encoding="utf-8")
    prior, references = text.split("## 13. Prior art")[1].split("## References")
    cited = set(re.findall(r"([A-Z][a-z]+)(?: et al\.| and [A-Z]\w+)? \((\d{4})", prior))
    cited |= set(re.findall(r"\(([A-Z][a-z]+) (\d{4})\)", prior))
    assert ("Och", "2003") in cited
    assert len(cited) >= 15
    lines = references.splitlines()
    assert [c for c in cited if not any(c[0] in line and c[1] in line for line in lines)] == []
