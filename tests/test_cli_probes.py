"""`poise probe` as a user types it: keys, budgets, what it says and suggests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import poise
from commands import Run
from poise.cli.progress import ProbeMeter
from poise.fakeserver import STYLES, read_lies
from poise.fakeserver.app import Troubles, make_app
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.servers.address import find_address


@contextmanager
def server(*lies: str, style: str = "vllm", key: str | None = None) -> Iterator[str]:
    with served(make_app(FakeServer(STYLES[style], read_lies(lies)), Troubles(key=key))) as url:
        yield f"{url}/v1"


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def test_a_wrong_key_is_told_from_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with server(key="right-0123456789") as url:
        none = run("probe", url)
        monkeypatch.setenv("OPENAI_API_KEY", "wrong-0123456789")
        wrong = run("probe", url)
        monkeypatch.setenv("MY_KEY", "wrong-9876543210")
        other = run("probe", url, "--key-env", "MY_KEY")
        generated = run("generate", url, "the ship")
    assert "with no key" in none.err
    assert "Put a key into OPENAI_API_KEY" in none.err
    assert "with the key in OPENAI_API_KEY" in wrong.err
    assert "Put a key that it accepts into OPENAI_API_KEY" in wrong.err
    assert "with the key in MY_KEY" in other.err
    assert wrong.err == generated.err
    assert not [e for e in (none, wrong, other) if "wrong-" in e.err]


@pytest.mark.parametrize("key", ["sk-PASTEDKEY123", "gsk_abcDEF0123456789", "pass word", ""])
def test_a_key_in_place_of_its_variable_is_not_repeated(run: Run, key: str) -> None:
    for words in (("generate", "http://127.0.0.1:9/v1", "x"), ("probe", "http://127.0.0.1:9/v1")):
        ended = run(*words, "--key-env", key)
        assert ended.code == 2
        assert "--key-env names an environment variable that holds the key" in ended.err
        assert not key or key not in ended.out + ended.err
    named = run("probe", "http://127.0.0.1:9/v1", "--key-env", "SOME_KEY")
    assert "'SOME_KEY', which is empty. export SOME_KEY=" in named.err


def test_a_variable_may_have_any_name_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("my-key", "abc")
    assert find_address("https://api.example/v1", "my-key").key == "abc"


def test_a_budget_of_nothing(run: Run) -> None:
    ended = run("probe", "http://127.0.0.1:9/v1", "--budget", "0")
    assert ended.code == 2
    assert "A probe needs at least 20 requests, but got 0" in ended.err
    assert ProbeMeter(0).done_share() == 0


def test_the_order_is_told_once_and_alike(run: Run) -> None:
    with server() as url:
        shown = run("probe", url)
    assert shown.code == 0, shown.err
    assert "its order of steps is that of transformers, but that min_p comes before top_p;" in shown.out


def test_what_to_do_next_can_be_done_there(run: Run, tmp_path: Path) -> None:
    with server() as url:
        *_, last = run("probe", url).out.splitlines()
        assert last == f"Next: poise sweep {url} -f summarise --temperature 0.3,0.9"
        words = last.removeprefix("Next: poise ").split()
        assert run(*words, "--draws", "1", "--max-tokens", "8", "--study", "s.db").code == 0
        decided = run("decide", "--study", "s.db")
    assert decided.code == 0, decided.err
    assert "reference_f1" in decided.out


def test_what_is_rejected_is_not_suggested(run: Run) -> None:
    with server(style="reasoning") as url:
        shown = run("probe", url).out.splitlines()
        assert shown[-2] == "No parameter that poise knows changes what is drawn there: there is no setting to choose."
        words = shown[-1].removeprefix("Next: poise ")
        assert words.startswith(f"generate {url}")
        assert run("generate", url, "Once upon a time", "--draws", "1", "--chat").code == 0
    with server("temperature=rejected") as url:
        assert run("probe", url).out.splitlines()[-1].endswith("-f summarise --top-p 0.8,1")


def test_built_in_use_cases_that_a_server_can_decide() -> None:
    assert not poise.load_use_case("summarise").goal.needs_reference  # type: ignore[union-attr]
