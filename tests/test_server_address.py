"""Addresses of servers, their keys, and findings as plain data."""

from __future__ import annotations

import json

import pytest

from poise.errors import ModelError, UsageError
from poise.servers.address import Address, checked_url, find_address, on_this_machine
from poise.servers.honours import Finding, Probe

KEY = "sk-secret-0123456789"


@pytest.mark.parametrize(
    ("spec", "url", "model"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1", ""),
        ("http://localhost:8000/v1/", "http://localhost:8000/v1", ""),
        ("  https://api.example/v1#gpt-9 ", "https://api.example/v1", "gpt-9"),
        ("http://127.0.0.1/v1#org/model:tag", "http://127.0.0.1/v1", "org/model:tag"),
        ("http://[::1]:8080/v1#m", "http://[::1]:8080/v1", "m"),
        ("http://host#", "http://host", ""),
        ("HTTP://Host/V1", "http://Host/V1", ""),
        ("http://host/a/b/v2#a#b", "http://host/a/b/v2", "a#b"),
    ],
)
def test_an_address_is_read(spec: str, url: str, model: str) -> None:
    assert checked_url(spec) == (url, model)


@pytest.mark.parametrize(
    "spec",
    ["", "localhost:8000/v1", "ftp://host/v1", "http://", "http:///v1", "http://host:port/v1", "http://host:99999/v1",
     "http://[::1/v1", "smollm2", "file:///etc/passwd", "javascript:alert(1)"],
)  # fmt: skip
def test_what_is_no_address_is_said(spec: str) -> None:
    with pytest.raises(ModelError) as caught:
        checked_url(spec)
    assert "http(s)://HOST[:PORT]/v1[#MODEL]" in str(caught.value)
    assert "http://localhost:8000/v1" in str(caught.value)


@pytest.mark.parametrize(
    "spec", [f"https://user:{KEY}@host/v1", f"https://{KEY}@host/v1", f"https://host/v1?key={KEY}", f"https://:{KEY}@h"]
)
def test_a_key_in_an_address_is_refused_and_not_repeated(spec: str) -> None:
    with pytest.raises(ModelError) as caught:
        checked_url(spec)
    assert KEY not in str(caught.value)
    assert KEY not in repr(caught.value)
    assert "--key-env" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "own"),
    [("localhost", True), ("a.localhost", True), ("127.8.9.1", True), ("::1", True), ("192.168.0.1", False),
     ("example.org", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False), ("", False)],
)  # fmt: skip
def test_own_machine(host: str, own: bool) -> None:
    assert on_this_machine(host) is own


def test_the_key_goes_over_https_or_to_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_KEY", "other-9876543210")
    assert find_address("https://api.example/v1").key == KEY
    assert find_address("http://localhost/v1").key == KEY
    assert find_address("http://api.example/v1").key is None
    named = find_address("http://api.example/v1", "MY_KEY")
    assert (named.key, named.key_env) == ("other-9876543210", "MY_KEY")


def test_a_key_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    address = find_address("https://api.example/v1#m")
    assert KEY not in repr(address)
    assert KEY not in str(address)
    assert address == Address("https://api.example/v1", "m", KEY, "OPENAI_API_KEY")


@pytest.mark.parametrize("key", ["two\nlines", "schlüssel", "tab\tinside"])
def test_what_is_no_key_is_said_without_it(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UsageError, match="MY_KEY") as caught:
        find_address("https://api.example/v1", "MY_KEY")
    assert key not in str(caught.value)


@pytest.mark.parametrize("value", [None, ""])
def test_a_variable_that_holds_nothing_is_said(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(UsageError, match="export MY_KEY"):
        find_address("https://api.example/v1", "MY_KEY")


def test_spaces_around_a_key_are_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    assert find_address("https://api.example/v1").key == KEY
    monkeypatch.setenv("OPENAI_API_KEY", "  ")
    assert find_address("https://api.example/v1").key is None


def probe() -> Probe:
    findings = (
        Finding("temperature", "honoured", evidence="χ² = 3.1", requests=40, tokens=40, false_alarm=1e-4, power=0.999),
        Finding("top_k", "ignored", "every token can come", value=40.0),
        Finding("seed", "honoured otherwise", "the second text differs"),
    )
    return Probe(
        "http://h/v1", "m", "vllm", "0.11", "root /m", "vllm", "raw", 20, True, findings, 90, 400, 1.5, 1_700_000_000.0
    )


def test_a_probe_comes_back_from_plain_data() -> None:
    made = probe()
    again = Probe.read(json.loads(json.dumps(made.record())))
    assert again == made
    assert isinstance(again.findings[0], Finding)


def test_a_probe_is_asked_by_name() -> None:
    made = probe()
    top_k = made.of("top_k")
    assert top_k is not None
    assert top_k.value == 40.0
    assert made.of("min_p") is None
    assert made.honoured == {"temperature"}


@pytest.mark.parametrize(
    "spec", ["ftp://me:hunter2@host/v1", "http://me:hunter2@host:port/v1", "http://me:hunter2@/v1"]
)
def test_a_password_is_not_repeated(spec: str) -> None:
    with pytest.raises(ModelError) as raised:
        checked_url(spec)
    assert "hunter2" not in str(raised.value)
