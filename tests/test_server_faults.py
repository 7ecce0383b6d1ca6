"""What goes wrong with a server: statuses, messages, sockets, certificates."""

from __future__ import annotations

import email.utils
import json
import time
import traceback
from typing import Any

import pytest

from poise.servers.calls import Call, Fault
from poise.servers.faults import hiding, status_fault, wait_of
from talking_servers import (
    CHAT,
    HELLO,
    TEXT,
    Stand,
    ask,
    plain,
    run,
    said,
    wire_to,
)

KEY = "sk-secret-0123456789"


CHATTED = Call(HELLO)


def fault(stand: Stand, call: Call = CHATTED) -> Fault:
    with pytest.raises(Fault) as caught:
        ask(stand, call, known=False)
    return caught.value


def openai_error(message: str, code: str | int | None = None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


# Statuses, and what servers say with them.

CASES: list[tuple[int, dict[str, str], Any, str, bool]] = [
    (400, {}, openai_error("no"), "rejected", False),
    (401, {}, openai_error("Incorrect API key provided"), "denied", False),
    (402, {}, openai_error("Insufficient credits"), "denied", False),
    (403, {}, {"detail": "Forbidden"}, "denied", False),
    (404, {}, {"detail": "Not Found"}, "absent", False),
    (404, {}, openai_error("The model `x` does not exist.", "model_not_found"), "absent", False),
    (400, {}, openai_error("x is not a valid model ID", 400), "absent", False),
    (405, {}, b"Method Not Allowed", "absent", False),
    (408, {}, b"", "timeout", True),
    (409, {"retry-after": "1"}, {}, "busy", True),
    (413, {}, b"too large", "context", False),
    (422, {}, {"detail": [{"loc": ["body", "top_p"], "msg": "Input should be less than 1"}]}, "rejected", False),
    (429, {}, openai_error("Rate limit reached"), "busy", True),
    (429, {}, openai_error("You exceeded your current quota", "insufficient_quota"), "denied", False),
    (500, {}, b"Internal Server Error", "broken", True),
    (500, {}, openai_error("1 validation error for SamplingParams"), "rejected", False),
    (501, {}, openai_error("This server does not support completions"), "absent", False),
    (502, {}, b"<html><head><title>502 Bad Gateway</title></head></html>", "broken", True),
    (503, {"retry-after": "3"}, {}, "busy", True),
    (503, {}, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}}, "broken", True),
    (504, {}, b"", "broken", True),
    (529, {"retry-after": "3"}, openai_error("Overloaded"), "busy", True),
    (599, {}, b"?", "broken", True),
    (301, {"location": "https://elsewhere/v1"}, b"", "absent", False),
    (304, {}, b"", "absent", False),
]


@pytest.mark.parametrize(("status", "headers", "body", "kind", "passing"), CASES)
def test_each_status_has_its_kind(status: int, headers: dict[str, str], body: Any, kind: str, passing: bool) -> None:
    for stand, call in ((plain(**{CHAT: (status, body, headers)}), Call(HELLO)),
                        (plain(**{TEXT: (status, body, headers)}), Call(text="x"))):  # fmt: skip
        found = fault(stand, call)
        assert (found.kind, found.passing, found.status) == (kind, passing, status)
        assert found.told
        assert "\n" not in found.told


OVERFLOWS = [
    (400, openai_error("This model's maximum context length is 8192 tokens. However, you requested 9100 tokens "
                       "(8100 in the messages, 1000 in the completion).", "context_length_exceeded")),
    (400, openai_error("'max_tokens' is too large: 600. This model's maximum context length is 512 tokens and your "
                       "request has 3 input tokens", 400)),
    (400, {"error": {"code": 400, "type": "exceed_context_size_error", "n_prompt_tokens": 2000, "n_ctx": 1024,
                     "message": "request (2000 tokens) exceeds the available context size (1024 tokens)"}}),
    (500, {"error": {"message": "the request exceeds the available context size. try increasing the context size"}}),
    (400, {"object": "error", "message": "Requested token count exceeds the model's maximum context length of 4096."}),
    (400, openai_error("The input (250000 tokens) is longer than the model's context length (200000 tokens).")),
    (400, {"error": "the input length exceeds the context length"}),
    (400, {"error": "Trying to keep the first 9000 tokens when context the overflows. However, the model is loaded "
                    "with context length of only 4096 tokens"}),
    (400, openai_error("prompt is too long: 210000 tokens > 200000 maximum")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "body"), OVERFLOWS)
def test_an_overflow_is_told_from_other_rejections(status: int, body: Any) -> None:
    assert fault(plain(**{CHAT: (status, body)})).kind == "context"


REJECTIONS = [
    (400, openai_error("Unsupported parameter: 'top_k' is not supported with this model.", param="top_k"), "top_k"),
    (400, openai_error("Unrecognized request argument supplied: top_k"), "top_k"),
    (422, {"detail": [{"type": "less_than_equal", "loc": ["body", "top_k"], "msg": "Input should be …"}]}, "top_k"),
    (400, openai_error("`temperature` is deprecated for this model. Use `top_k`."), "temperature"),
    (400, openai_error("top_k must be -1 (disable), or at least 1, got 0."), "top_k"),
    (
        500,
        openai_error("[{'type': 'float', 'loc': ('body', 'temperature'), 'msg': 'Input should be'}]"),
        "temperature",
    ),
    (400, openai_error("'n' must be 1 here, whatever the temperature"), "n"),
    (400, openai_error("greedy sampling takes one text only"), ""),
    (400, openai_error("nonsense about temperatures and top_kings"), ""),
]


@pytest.mark.parametrize(("status", "body", "field"), REJECTIONS)
def test_the_rejected_parameter_is_named(status: int, body: Any, field: str) -> None:
    call = Call(HELLO, fields={"temperature": 0.5, "top_k": 0}, n=2, max_tokens=3)
    found = fault(plain(**{CHAT: (status, body)}), call)
    assert (found.kind, found.field) == ("rejected", field)


def test_token_ids_that_are_not_taken_are_named() -> None:
    invalid = openai_error("{'type': 'string_type', 'loc': ('body', 'prompt', 'str'), 'msg': 'Input should be …'}")
    for call, field in ((Call(ids=(1, 2)), "prompt"), (Call(text="x"), "")):
        assert fault(plain(**{TEXT: (500, invalid)}), call).field == field


@pytest.mark.parametrize(
    ("headers", "wait"),
    [({"retry-after": "2"}, 2.0), ({"retry-after": "1.5"}, 1.5), ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
     ({"retry-after": "soon"}, None), ({"retry-after": "-1"}, None), ({"retry-after": "inf"}, None),
     ({"retry-after": "nan"}, None), ({}, None), ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
     ({"retry-after-ms": "x", "retry-after": "3"}, 3.0)],
)  # fmt: skip
def test_how_long_to_wait(headers: dict[str, str], wait: float | None) -> None:
    assert wait_of(headers) == wait
    assert fault(plain(**{CHAT: (429, {}, headers)})).wait == wait


def test_how_long_to_wait_until_a_date() -> None:
    then = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert wait_of({"retry-after": then}) == pytest.approx(30, abs=2)


@pytest.mark.parametrize(
    ("body", "kind", "told"),
    [
        (b"<html><head><title>Sign in</title></head><body>" + b"x" * 5000, "text/html", "Sign in"),
        (b"<html><script>var a = '<b>';</script><p>Not\n here</p>", "text/html", "Not here"),
        (b"plain words", "text/plain", "plain words"),
        (b"\xff\xfe\x00", "application/octet-stream", ""),
        (b"[" * 90_000, "application/json", "[["),
        (b'{"error": "' + b"long " * 5000, "application/json", "long"),
        (json.dumps({"error": {"message": ["no", "text"]}}).encode(), "application/json", "no"),
        (b"null", "application/json", "null"),
        (b"", "application/json", "HTTP 400"),
    ],
)
def test_whatever_comes_with_a_status_is_one_short_line(body: bytes, kind: str, told: str) -> None:
    found = status_fault(400, {"content-type": kind}, body, str)
    assert told in found.told
    assert len(found.told) <= 300
    assert "\n" not in found.told


# Answers with 200 that are none.


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"<html><title>Welcome</title></html>", "text/html"), (b"data: {}\n\n", "text/event-stream"),
     (json.dumps(said()).encode(), "text/plain; charset=utf-8"), (b"x", "application/octet-stream")],
)  # fmt: skip
def test_another_content_type_is_no_answer(body: bytes, kind: str) -> None:
    found = fault(plain(**{CHAT: (200, body, {"content-type": kind})}))
    assert (found.kind, found.status) == ("malformed", 200)
    assert kind in found.told


@pytest.mark.parametrize(
    ("body", "kind"),
    [({"error": {"message": "Provider returned error", "code": 502}}, "broken"),
     ({"error": {"message": "Rate limited", "code": 429}}, "busy"), ({"error": "out of memory"}, "broken"),
     ({"error": {"message": "context length exceeded", "code": "x"}}, "context")],
)  # fmt: skip
def test_an_error_that_comes_with_200(body: Any, kind: str) -> None:
    assert fault(plain(**{CHAT: body})).kind == kind


def test_codes_are_read_and_not_shown() -> None:
    found = fault(plain(**{CHAT: (400, openai_error("Too long.", "context_length_exceeded"))}))
    assert (found.kind, found.told) == ("context", "Too long.")


def test_a_list_of_models_that_is_none() -> None:
    for listed in ({"data": 7}, {}, 7, "x", {"data": None}):
        with pytest.raises(Fault) as caught:
            run(lambda w: w.about(), wire_to(Stand({"GET /v1/models": listed})))
        assert caught.value.kind == "malformed"


def test_a_wrong_path_is_absent() -> None:
    for model in ("", "m"):
        with pytest.raises(Fault) as caught:
            run(lambda w: w.about(), wire_to(Stand({}), model))
        assert caught.value.kind == "absent"


# What cannot be sent.


@pytest.mark.parametrize("call", [Call(text="half \ud83d"), Call(text="x", fields={"temperature": float("nan")}),
                                  Call(text="x", fields={"temperature": object()})])  # fmt: skip
def test_what_cannot_be_written_is_rejected(call: Call) -> None:
    assert fault(plain(**{TEXT: {}}), call).kind == "rejected"


# Keys.


def everything(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + str(error)


@pytest.mark.parametrize(
    ("status", "body"),
    [(401, openai_error(f"Incorrect API key provided: {KEY}.")),
     (401, openai_error("Incorrect API key provided: sk-sec*****6789.")),
     (500, f"<html>{KEY}</html>".encode()), (302, b""), (200, f'{{"x": "{KEY}'.encode()), (200, KEY.encode())],
)  # fmt: skip
def test_a_key_that_is_repeated_is_taken_out(status: int, body: Any) -> None:
    headers = {
        "location": f"http://elsewhere/?key={KEY}",
        "content-type": f"x-json/{KEY}" if status == 200 else "text/html",
    }
    with pytest.raises(Fault) as caught:
        run(lambda w: w.ask(Call(HELLO)), wire_to(plain(**{CHAT: (status, body, headers)}), "m", key=KEY))
    shown = everything(caught.value)
    assert KEY not in shown
    assert "6789" not in shown


def test_a_wire_does_not_show_its_key() -> None:
    wire = wire_to(plain(), "m", key=KEY)
    assert KEY not in repr(wire)
    assert KEY not in str(vars(wire))


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [(None, "a test", "a test"), ("test", "a test, tested", "a [key], tested"), ("EMPTY", "EMPTY_EMPTY", "EMPTY_EMPTY"),
     (KEY, f"x{KEY}y", "x[key]y"), ("a.c", "abc a.c", "abc [key]")],
)  # fmt: skip
def test_short_keys_are_words(key: str | None, text: str, expected: str) -> None:
    assert hiding(key)(text) == expected
