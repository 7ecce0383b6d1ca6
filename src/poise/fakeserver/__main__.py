"""The fake server's command line: python -m poise.fakeserver."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from poise.errors import PoiseError, UsageError
from poise.fakeserver.latency import Latency
from poise.fakeserver.lies import LIES, read_lies
from poise.fakeserver.server import CONTEXT, MODEL, SIZE, FakeServer
from poise.fakeserver.styles import STYLES, find_style
from poise.fakeserver.troubles import FAULTS, Faults, read_shares
from poise.params import check_value
from poise.servers.address import key_named

# Options by name: their kind, their default, what they say.
OPTIONS: Mapping[str, tuple[type, Any, str]] = {
    "port": (int, 8000, "Port; 0 takes any that is free."),
    "host": (str, "127.0.0.1", "Address to listen at; others than this machine see it only if named here."),
    "style": (str, "vllm", f"The software that it imitates: {', '.join(STYLES)}."),
    "seed": (int, 0, "Of the model's table, of unseeded texts and of the faults' plan."),
    "model": (str, MODEL, "The model's name."),
    "vocabulary": (int, SIZE, "Number of tokens, from 4."),
    "context": (int, CONTEXT, "Tokens of prompt and text, from 2."),
    "latency": (float, 0.0, "Seconds that each exchange takes."),
    "latency-token": (float, 0.0, "Seconds that each new token takes."),
    "capacity": (int, 0, "Exchanges at once, others wait; 0 for any number."),
    "retry-after": (float, 1.0, "Seconds that a 429 asks to wait."),
    "stall": (float, 30.0, "Seconds that a stalled or endless answer lasts."),
    "slow": (float, 2.0, "Seconds that a slow answer is late."),
    "key-env": (str, "", "Environment variable with the key that requests need; default none."),
}
LISTS: Mapping[str, str] = {
    "lie": "A lie, repeatable; see --list. For example top_k=ignored.",
    "faults": "Share of requests that meet a fault, 0 to 1, repeatable; 429=0.05 for one kind. See --list.",
    "config": "A default that the model's own file recommends, repeatable. For example temperature=0.6.",
}
SMALLEST: Mapping[str, float] = {
    "port": 0, "vocabulary": 4, "context": 2, "latency": 0, "latency-token": 0, "capacity": 0, "retry-after": 0,
    "stall": 0, "slow": 0, "seed": 0,
}  # fmt: skip


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors of poise."""

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError("The command line has the options that --help shows", message, "--help shows them")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = _Parser(
        "python -m poise.fakeserver",
        description="A server that speaks as others do, and lies if told to.",
        allow_abbrev=False,
    )
    for name, (kind, default, told) in OPTIONS.items():
        shown = f" Default {default}." if default != "" else ""
        made.add_argument(f"--{name}", type=kind, default=default, help=told + shown, metavar=kind.__name__.upper())
    for name, told in LISTS.items():
        made.add_argument(f"--{name}", action="append", default=[], help=told, metavar="SPEC")
    made.add_argument("--list", action="store_true", help="Say what each lie and each fault is, and stop.")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Serve until interrupted.

    Args:
        words: of the command line; None for the process's own.

    Returns:
        The exit code.
    """
    try:
        given = vars(parser().parse_args(words))
        if given["list"]:
            print(_listed())
            return 0
        _serve(given)
    except PoiseError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def make_server(given: Mapping[str, Any]) -> FakeServer:
    """The server that a command line describes.

    Args:
        given: by option, dashes as underscores.

    Returns:
        It.

    Raises:
        UsageError: a value that cannot be.
    """
    for name, low in SMALLEST.items():
        value = given[name.replace("-", "_")]
        if not low <= value < float("inf"):
            raise UsageError(f"--{name} is a number from {low:g}", f"{value:g}", f"--help says what --{name} is")
    config = dict(map(_config, given["config"]))
    return FakeServer(
        find_style(given["style"]), read_lies(given["lie"]), given["seed"], model=given["model"],
        size=given["vocabulary"], context=given["context"], config=config,
    )  # fmt: skip


def _config(spec: str) -> tuple[str, float]:
    name, apart, value = spec.partition("=")
    try:
        number = float(value)
    except ValueError:
        apart, number = "", 0.0
    if not apart:
        raise UsageError("A default is written NAME=NUMBER", repr(spec), "For example --config temperature=0.6")
    return name, float(check_value(name, number))


def _key(name: str) -> str | None:
    if not name:
        return None
    return key_named(name).strip() or None


def _serve(given: Mapping[str, Any]) -> None:
    server = make_server(given)
    faults = Faults(read_shares(given["faults"]), given["seed"], given["retry_after"], given["stall"], given["slow"])
    latency = Latency(given["latency"], given["latency_token"], given["capacity"])
    key = _key(given["key_env"])
    try:
        apps: Any = importlib.import_module("poise.fakeserver.app")
        serving: Any = importlib.import_module("poise.fakeserver.serving")
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        raise UsageError(
            "The fake server needs the libraries of the extra `fakeserver`", f"no {library}",
            "pip install 'poise[fakeserver]'",
        ) from None  # fmt: skip
    bound = serving.bind(given["host"], given["port"])
    app = apps.make_app(server, apps.Troubles(faults, latency, key))
    path = "" if server.style.name == "ollama" else "/v1"
    print(
        f"{server.style.name}, model {server.model}, at {serving.address_of(bound)}{path}; Ctrl-C ends it", flush=True
    )
    serving.run(app, bound)


def _listed() -> str:
    width = max(map(len, [*LIES, *FAULTS]))
    lines = ["Lies (--lie; PARAM is a parameter of poise, X a number, N a whole one):"]
    lines += [f"  {name:<{width}}  {told}" for name, told in LIES.items()]
    lines += ["Faults (--faults):", *(f"  {name:<{width}}  {told}" for name, told in FAULTS.items())]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
