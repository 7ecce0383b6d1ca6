"""What goes wrong on the way to a server: sockets, deadlines, proxies, certificates."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from poise.servers import lines
from poise.servers.address import Address
from poise.servers.calls import Call, Fault
from poise.servers.openai_wire import OpenAIWire
from talking_servers import HELLO, Script, http, raw_server, run, said, self_signed

KEY = "sk-secret-0123456789"


def everything(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


def socket_fault(script: Script, timeout: float = 5.0, scheme: str = "http") -> Fault:
    async def go() -> Fault:
        async with raw_server(script) as at:
            wire = OpenAIWire(Address(f"{scheme}://{at}/v1", "m", KEY, "OPENAI_API_KEY"), timeout)
            try:
                with pytest.raises(Fault) as caught:
                    await wire.ask(Call(HELLO))
            finally:
                await wire.close()
            return caught.value

    found = asyncio.run(go())
    assert KEY not in everything(found)
    return found


def sends(*parts: bytes, end: Callable[[asyncio.StreamWriter], Awaitable[None]] | None = None) -> Script:
    async def script(_request: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
        if end is not None:
            await end(writer)

    return script


async def resets(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def stalls(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(30)


async def trickles(writer: asyncio.StreamWriter) -> None:
    for _ in range(3000):
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


WHOLE = json.dumps(said()).encode()


@pytest.mark.parametrize(
    ("script", "kinds"),
    [
        (sends(), {"reset"}),
        (sends(end=resets), {"reset"}),
        (sends(http(WHOLE, length=9000), end=resets), {"reset", "malformed"}),
        (sends(http(WHOLE[:40], length=len(WHOLE))), {"malformed"}),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n" + WHOLE[:40]), {"malformed"}),
        (sends(b"220 mail.example ESMTP\r\n"), {"malformed", "reset"}),
        (sends(b"\x15\x03\x01\x00\x02\x02\x16"), {"malformed", "reset"}),
        (sends(http(b"x", length=200 * 2**20)), {"malformed"}),
        (sends(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n"
               b"content-length: 3\r\n\r\nabc"), {"malformed"}),
        (sends(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"), {"malformed"}),
        (sends(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000), {"malformed", "reset"}),
    ],
    ids=["closed", "reset", "reset-in-body", "cut-off", "cut-off-without-length", "mail", "tls-alert", "too-long",
         "gzip", "bad-chunk", "endless-header"],
)  # fmt: skip
def test_what_breaks_on_the_way(script: Script, kinds: set[str]) -> None:
    found = socket_fault(script)
    assert found.kind in kinds
    assert found.passing
    assert found.told


@pytest.mark.parametrize(
    "script",
    [sends(end=stalls), sends(http(WHOLE, length=9000), end=stalls), sends(http(WHOLE, length=90000), end=trickles),
     sends(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n", end=trickles)],
    ids=["silence", "half", "trickle", "trickle-without-length"],
)  # fmt: skip
def test_what_does_not_end_in_time(script: Script) -> None:
    began = time.monotonic()
    found = socket_fault(script, timeout=0.3)
    assert (found.kind, found.passing) == ("timeout", True)
    assert time.monotonic() - began < 2


def test_an_endless_body_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MOST_BYTES", 100_000)

    async def floods(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b" " * 65536)
            await writer.drain()

    head = b"HTTP/1.1 {}\r\ncontent-type: application/json\r\n\r\n"
    for status in (b"200 OK", b"500 No"):
        found = socket_fault(sends(head.replace(b"{}", status), end=floods), timeout=10)
        assert found.kind == "malformed"


def test_nobody_listens() -> None:
    async def go(url: str) -> Fault:
        wire = OpenAIWire(Address(url, "m", None, "OPENAI_API_KEY"), 5)
        with pytest.raises(Fault) as caught:
            await wire.about()
        await wire.close()
        return caught.value

    refused = [
        asyncio.run(go(f"{url}/v1")) for url in ("http://127.0.0.1:9", "https://127.0.0.1:9", "http://localhost:9")
    ]
    unknown = asyncio.run(go("http://nowhere.invalid/v1"))
    assert {(f.kind, f.status) for f in [*refused, unknown]} == {("unreachable", None)}
    assert {f.told for f in refused} == {"Connection refused"}
    assert "name" in unknown.told.lower()  # name or service not known, temporary failure in name resolution


def test_proxies_of_the_environment_are_not_asked_about_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    async def go() -> str:
        async with raw_server(sends(http(WHOLE))) as at:
            wire = OpenAIWire(Address(f"http://{at}/v1", "m", None, "OPENAI_API_KEY"), 5)
            found = await wire.ask(Call(HELLO))
            await wire.close()
            return found.choices[0].text

    assert asyncio.run(go()) == "Hi."
    wire = OpenAIWire(Address("http://192.0.2.1/v1", "m", None, "OPENAI_API_KEY"), 5)
    with pytest.raises(Fault) as caught:
        run(lambda w: w.ask(Call(HELLO)), wire)
    assert caught.value.kind == "unreachable"  # the proxy is


def test_a_proxy_that_cannot_be_used_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"strange://user:{KEY}@127.0.0.1:9")
    wire = OpenAIWire(Address("http://192.0.2.1/v1", "m", None, "OPENAI_API_KEY"), 5)
    for use in (lambda w: w.ask(Call(HELLO)), lambda w: w.about()):
        with pytest.raises(Fault, match="proxy") as caught:
            run(use, wire)
        assert KEY not in everything(caught.value)


# Certificates.


def tls_exchange(folder: Path, name: str, scheme: str = "https") -> str:
    _, context = self_signed(folder, name)

    async def go() -> str:
        async with raw_server(sends(http(WHOLE)), context) as at:
            wire = OpenAIWire(Address(f"{scheme}://{at}/v1", "m", None, "OPENAI_API_KEY"), 5)
            try:
                return (await wire.ask(Call(HELLO))).choices[0].text
            finally:
                await wire.close()

    return asyncio.run(go())


needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with the openssl command")


@needs_openssl
def test_a_certificate_that_nobody_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    with pytest.raises(Fault) as caught:
        tls_exchange(tmp_path, "127.0.0.1")
    assert (caught.value.kind, caught.value.passing) == ("tls", False)
    assert "certificate" in caught.value.told


@needs_openssl
def test_a_certificate_that_the_user_vouches_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert tls_exchange(tmp_path, "127.0.0.1") == "Hi."


@needs_openssl
def test_a_certificate_of_another_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    with pytest.raises(Fault) as caught:
        tls_exchange(tmp_path, "other.example")
    assert caught.value.kind == "tls"


@needs_openssl
def test_http_to_a_server_of_https(tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        tls_exchange(tmp_path, "127.0.0.1", scheme="http")
    assert caught.value.kind in ("reset", "malformed")


def test_https_to_a_server_of_http() -> None:
    assert socket_fault(sends(http(WHOLE)), scheme="https").kind == "tls"


def test_certificates_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
    found = socket_fault(sends(http(WHOLE)), scheme="https")
    assert found.kind == "tls"
    assert "certificates" in found.told


def test_the_key_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    socket_fault(sends(http(b"{}", "401 Unauthorized")))
    assert caplog.records
    assert KEY not in caplog.text
    assert all(KEY not in str(record.args) for record in caplog.records)


def test_many_at_once_and_one_given_up() -> None:
    async def slowly(_request: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.05)
        writer.write(http(WHOLE))
        await writer.drain()

    async def go() -> tuple[int, bool]:
        async with raw_server(slowly) as at:
            wire = OpenAIWire(Address(f"http://{at}/v1", "m", None, "OPENAI_API_KEY"), 5)
            asked = [asyncio.ensure_future(wire.ask(Call(HELLO))) for _ in range(60)]
            await asyncio.sleep(0.02)
            asked[0].cancel()
            found = await asyncio.gather(*asked, return_exceptions=True)
            await wire.close()
            return sum(not isinstance(f, BaseException) for f in found), isinstance(found[0], asyncio.CancelledError)

    assert asyncio.run(go()) == (59, True)
