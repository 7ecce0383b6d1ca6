"""Shared by all tests: a home of their own, tiny models, the embedded model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from commands import Ended, Run
from poise import cli
from poise.models import ModelFiles, cache_root, find


def pytest_configure() -> None:
    """Keep the user's model cache: the embedded model is fetched once per machine, not once per test run.

    This runs before POISE_HOME moves, and worker processes inherit it.
    """
    os.environ.setdefault("POISE_CACHE", str(cache_root()))
    # Nothing here asks the hub: its address is a closed port, for tests and for what they start.
    os.environ["HF_ENDPOINT"] = "http://127.0.0.1:9"
    # The same examples in every run, and no time limit on one: the machine may be busy.
    hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
    hypothesis.settings.load_profile("repeatable")


@pytest.fixture(scope="session", autouse=True)
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Studies without a path go to a folder of this test run, never to the user's."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POISE_HOME", str(home))
        yield home


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model, by a key of `tiny_models.KINDS`; built on first use."""
    import tiny_models

    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tiny_models.build(kind, tmp_path_factory.mktemp("tiny") / kind)
        return made[kind]

    return folder


@pytest.fixture(scope="session")
def embedded_files() -> ModelFiles:
    """The embedded model's files, fetched when this machine has never had them. For tests marked `model`."""
    from poise.engines import conversion

    return find("smollm2", convert=conversion.convert)


@pytest.fixture
def engines() -> Iterator[Callable[..., Any]]:
    """Makes engines on wires, and hangs up when the test ends."""
    from poise.engines.remote import RemoteEngine
    from poise.engines.remote_options import ServerOptions

    made: list[RemoteEngine] = []

    def make(wire: Any, probe: Any = None, **options: Any) -> RemoteEngine:
        made.append(RemoteEngine(wire, probe, ServerOptions(**options)))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `poise` in this process, in a folder and a home of its own."""
    monkeypatch.setenv("POISE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("POISE_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)

    def runner(*words: str) -> Ended:
        capsys.readouterr()
        code = cli.run(words)
        return Ended(code, *capsys.readouterr())

    return runner
