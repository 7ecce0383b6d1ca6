"""Servers over HTTP that fail, lie down, or were never there: each its message, and no text lost or doubled."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.twisted import probed, requests, until_it_fails

from poise.engines.remote import RemoteEngine, make_ollama, make_server
from poise.engines.remote_calls import call_of
from poise.engines.remote_options import ServerOptions
from poise.errors import ModelError, PoiseError, PromptError, ServerError
from poise.fakeserver import FakeWire
from poise.fakeserver.app import Troubles, make_app
from poise.fakeserver.latency import Latency
from poise.fakeserver.lies import read_lies
from poise.fakeserver.server import FakeServer
from poise.fakeserver.serving import served
from poise.fakeserver.styles import STYLES
from poise.fakeserver.troubles import FAULTS, Faults
from poise.records import Message, Prompt
from poise.servers.neutral import Neutral
from poise.servers.patience import Patience
from poise.study import Study

KEY = "sk-very-secret-0123456789"


@contextmanager
def serving(*lies: str, style: str = "vllm", **troubles: Any) -> Iterator[str]:
    """A fake server on a port of its own; gives its address."""
    app = make_app(FakeServer(STYLES[style], read_lies(lies), context=200), Troubles(**troubles))
    with served(app) as url:
        yield f"{url}/v1"


@contextmanager
def engine_at(url: str, **options: Any) -> Iterator[RemoteEngine]:
    made = make_server(url, dtype="auto", device="auto", trust_remote_code=False, server=ServerOptions(**options))
    made.learn(probed())
    with closing(made):
        yield made


def failure(url: str, **options: Any) -> PoiseError:
    with pytest.raises(PoiseError) as caught, engine_at(url, **options):
        pass
    return caught.value


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def test_no_server() -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    error = failure(url)
    assert isinstance(error, ServerError)
    assert str(error).startswith(f"A server answers at its address, but got {url}: ")
    assert str(error).endswith("Start it, or name another.")


def test_a_wrong_path() -> None:
    with serving() as url:
        error = failure(url.replace("/v1", "/api/v7"))
    assert isinstance(error, ModelError)
    assert "A server has the path and the model that are asked for, but got 404 from " in str(error)
    assert str(error).endswith("Check the address: it often ends in /v1.")


def test_no_tls_where_it_is_asked_for() -> None:
    with serving() as url:
        error = failure(url.replace("http:", "https:"))
    assert isinstance(error, ServerError)
    assert str(error).startswith("A server shows a certificate that this machine trusts, but got https://127.0.0.1:")
    assert "http:// where there is no TLS; SSL_CERT_FILE names certificates of your own" in str(error)


def test_a_model_that_is_not_there() -> None:
    with serving() as url:
        error = failure(f"{url}#fake-65")
    assert isinstance(error, ModelError)
    assert str(error) == (f"The server has the model: fake-64, but got 'fake-65' at {url}. For example {url}#fake-64.")


@pytest.mark.parametrize("variable", ["OPENAI_API_KEY", "MY_KEY"])
def test_a_key_that_is_missing_or_wrong_names_its_variable_and_is_never_shown(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    named = {} if variable == "OPENAI_API_KEY" else {"key_env": variable}
    with serving("key=echoed", key="sk-the-right-one-42") as url:
        if not named:
            missing = str(failure(url))
            assert f"401 from {url} with no key" in missing
            assert "Put a key into OPENAI_API_KEY, or name its variable with --key-env" in missing
        monkeypatch.setenv(variable, KEY)
        wrong = failure(url, **named)
        monkeypatch.setenv(variable, "sk-the-right-one-42")
        with engine_at(url, **named) as engine:
            assert len(list(engine.generate(requests(engine, 3)))) == 3
    assert f"401 from {url} with the key in {variable}: " in str(wrong)
    assert f"Put a key that it accepts into {variable}" in str(wrong)
    chain: BaseException | None = wrong
    while chain is not None:
        assert KEY not in repr(chain) + str(chain)
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)


def test_a_prompt_that_is_too_long() -> None:
    with serving() as url, engine_at(url) as engine, pytest.raises(PromptError, match="context of 200 tokens"):
        list(engine.generate(requests(engine, 1, Prompt(" the" * 195))))
    with serving(style="openai") as url, engine_at(url) as engine:
        long = Prompt(messages=(Message("user", " the" * 300),))
        came, error = until_it_fails(engine.generate(requests(engine, 1, long)))
        assert came == []
        assert isinstance(error, PromptError)
        assert str(error).startswith("Prompt and new tokens fit into the model's context, but got ' the the the")


def test_a_reasoning_model_draws_by_settings_of_its_own() -> None:
    chat = Prompt(messages=(Message("user", "the ship"),))
    with closing(RemoteEngine(FakeWire("reasoning"))) as engine:
        assert len(list(engine.generate(requests(engine, 2, chat, max_tokens=200)))) == 2, "what is off is left out"
        came, error = until_it_fails(engine.generate(requests(engine, 1, chat, temperature=0.5)))
    assert came == []
    assert str(error).startswith("fake-64 rejects temperature=0.5: it draws by settings of its own (400: ")


def test_a_reasoning_model_behind_a_gateway_is_asked_by_the_names_that_it_takes() -> None:
    """It knows neither max_tokens nor top_k nor seeds, and says so one by one."""
    chat = Prompt(messages=(Message("user", "the ship"),))
    with serving(style="reasoning") as url, engine_at(url, concurrency=1) as engine:
        assert engine.about.kind == "unknown"
        texts = list(engine.generate(requests(engine, 4, chat, max_tokens=150)))
    assert len(texts) == 4
    assert all(len(c.text.split()) <= 150 for c in texts)


def test_ollama_is_asked_by_its_own_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(name: str) -> RemoteEngine:
        return make_ollama(name, dtype="auto", device="auto", trust_remote_code=False)

    with serving(style="ollama") as url:
        monkeypatch.setenv("OLLAMA_HOST", url.removesuffix("/v1"))
        with closing(made("fake-64")) as engine:
            assert (engine.name, engine.fingerprint.path) == ("ollama:fake-64", "server/ollama")
            texts = list(engine.generate(requests(engine, 3, temperature=0.9, top_k=5)))
            assert len({c.text for c in texts}) == 3
        with pytest.raises(ModelError) as caught:
            made("fake-65")
    assert "Ollama has the model: fake-64" in str(caught.value)
    assert "ollama pull fake-65" in str(caught.value)
    with pytest.raises(ServerError, match="A server answers at its address"):
        made("fake-64")


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_alone_loses_nothing(fault: str) -> None:
    faults = Faults({fault: 0.3}, wait=0.05, stall=0.3, slow=0.2)
    with serving(faults=faults) as url, engine_at(url, timeout=0.5, concurrency=8) as engine:
        engine._pool.patience = Patience(attempts=20, first=0.01)
        asked = requests(engine, 40)
        assert Counter(c.request for c in engine.generate(asked)) == Counter(asked)


def test_an_endless_answer_ends() -> None:
    faults = Faults({"endless": 1.0}, stall=60.0)
    with serving(faults=faults) as url, engine_at(url, timeout=0.2, concurrency=2) as engine:
        engine._pool.patience = Patience(attempts=2, first=0.01)
        came, error = until_it_fails(engine.generate(requests(engine, 2)))
    assert came == []
    assert str(error).startswith("An answer is whole within the time given, but got http")
    assert "Give it more --timeout" in str(error)


def test_an_interrupt_ends_the_sweep_at_once_and_keeps_what_came(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with serving(latency=Latency(request=0.2)) as url:
        sweep = start_sweep(url, path)
        wait_for(path, 20, sweep)
        sweep.send_signal(signal.SIGINT)
        asked_at = time.monotonic()
        _, told = sweep.communicate(timeout=60)
        assert time.monotonic() - asked_at < 5
    assert "KeyboardInterrupt" in told
    assert sweep.returncode != 0
    assert ASKED > held(path) >= 20


# -- the soak

SETTINGS, PROMPTS, DRAWS, TOKENS = 10, 40, 50, 6
CHILD = f"""
import sys
import poise
from poise.engines.remote import make_server
from poise.engines.remote_options import ServerOptions
from poise.servers.honours import Probe
url, path = sys.argv[1:]
engine = make_server(url, dtype="auto", device="auto", trust_remote_code=False, server=ServerOptions(timeout=2.0))
engine.learn(Probe(url, "fake-64", "vllm", "", "", "server", "none", 0, True, (), 0, 0, 0.0, 0.0))
prompts = [f" the ship {{i}}" for i in range({PROMPTS})]
settings = poise.grid(temperature=[0.2 * k for k in range(1, {SETTINGS + 1})])
try:
    poise.sweep(engine, prompts, settings, draws={DRAWS}, max_tokens={TOKENS}, study=path, baselines=False)
except poise.PoiseError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""
ASKED = SETTINGS * PROMPTS * DRAWS


@contextmanager
def faulty_server(*words: str, port: int = 0) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A fake server in a process of its own, and its address; killed at the end if it still lives."""
    command = [sys.executable, "-m", "poise.fakeserver", "--port", str(port), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server, server.stdout.readline().partition(" at ")[2].partition(";")[0]
        finally:
            server.kill()


def start_sweep(url: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, url, str(path)], stderr=subprocess.PIPE, text=True)


def held(path: Path) -> int:
    if not path.exists():
        return 0
    with Study.open(path, read_only=True) as study:
        return sum(1 for _ in study.completions(with_logprobs=False)) if study.use_cases() else 0


def wait_for(path: Path, number: int, sweep: subprocess.Popen[str]) -> None:
    while held(path) < number:
        assert sweep.poll() is None, sweep.communicate()[1]
        time.sleep(0.2)


def honest_texts(study: Study) -> Iterator[tuple[str, str]]:
    """Each text as it is kept, and as a server without faults draws it."""
    wire = FakeWire("vllm")

    async def one(call: Any, plain: Neutral) -> str:
        return (await plain.ask(call)).choices[0].text

    engine = RemoteEngine(wire)
    with closing(engine):
        plain, manners = Neutral(wire, engine.about), engine._manners
        for c in study.completions():
            yield c.text, asyncio.run(one(call_of(c.request, manners), plain))


@pytest.mark.slow
def test_20000_requests_with_faults_killed_five_times_lose_and_double_nothing(tmp_path: Path) -> None:
    path = tmp_path / "soak.db"
    with faulty_server("--faults", "0.1", "--retry-after", "0.1", "--stall", "0.5", "--slow", "0.5") as (_, url):
        for kill in range(1, 6):
            sweep = start_sweep(url, path)
            wait_for(path, kill * ASKED // 6, sweep)
            sweep.send_signal(signal.SIGKILL)
            sweep.communicate()
        last = start_sweep(url, path)
        _, told = last.communicate(timeout=1200)
        assert last.returncode == 0, told
        with urllib.request.urlopen(url.replace("/v1", "/fake/tally")) as answer:
            tally = json.load(answer)
    with Study.open(path, read_only=True) as study:
        found = Counter((c.request.prompt.text, c.request.params, c.request.draw) for c in study.completions())
        assert len(found) == ASKED == 20_000, "none lost"
        assert set(found.values()) == {1}, "none doubled"
        assert all(kept == honest for kept, honest in honest_texts(study)), "each is the answer to its own request"
    assert sum(tally["faults"].values()) > 0.08 * tally["requests"]
    assert set(tally["faults"]) == set(FAULTS)
    assert tally["requests"] < 1.25 * ASKED


@pytest.mark.slow
def test_a_server_that_goes_down_ends_the_sweep_within_seconds_and_the_same_command_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "down.db"
    with faulty_server("--latency", "0.02") as (server, url):
        sweep = start_sweep(url, path)
        wait_for(path, ASKED * 2 // 3, sweep)
        server.send_signal(signal.SIGKILL)
        server.wait()
        down = time.monotonic()
        _, told = sweep.communicate(timeout=60)
    assert time.monotonic() - down < 25
    assert sweep.returncode == 3
    assert told.startswith(f"A server answers at its address, but got {url}: ")
    assert "what was finished is kept, and the same command draws the rest" in told
    assert ASKED > held(path) >= ASKED * 2 // 3
    with faulty_server(port=int(url.rpartition(":")[2].partition("/")[0])) as (_, again):
        assert again == url
        sweep = start_sweep(url, path)
        _, told = sweep.communicate(timeout=600)
        assert sweep.returncode == 0, told
    assert held(path) == ASKED
