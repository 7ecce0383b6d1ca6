"""Asks a process of its own about texts; ends hung ones."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from poise.checks import Check, callable_allowed
from poise.errors import MetricError, SystemFault
from poise.escapes import visible
from poise.records import Prompt

# Patterns, schemas with patterns and callables may run for ever on a text, and Python cannot stop them from
# within. So they are tried in a process of its own, which is killed when a text takes longer.
SECONDS = 10.0
START_SECONDS = 60.0  # of the process, and of a callable's imports
OTHERWISE = "or name the metrics to measure, without passes and invalid"
_SHOWN = 60
_RETURNS = "returns True, False, a number from 0 to 1, or None where it cannot read a text"

_Answer = dict[str, Any]


class _Stopped(Exception):
    """The process is gone: it hung, or it ended."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Examiner:
    """A process that answers questions about texts. It starts with the first one, and again after `close`."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader: threading.Thread | None = None
        self._imported: set[str] = set()
        self._lock = threading.Lock()

    def ask(self, check: Check, text: str, prompt: Prompt) -> float | None:
        """Try a pattern, a schema or a callable on a text.

        Args:
            check: of kind ``regex``, ``json_schema`` or ``callable``.
            text: any string.
            prompt: that it answers; callables with two arguments get it.

        Returns:
            1 where the check holds, 0 where it does not, between where a callable says so; None where the text
            cannot be read.

        Raises:
            MetricError: a callable that is not allowed, cannot be imported, or does not answer as it should; a
                pattern or schema that does not come to an end.
            SystemFault: the process does not start.
        """
        if check.kind == "callable":
            require_allowed(check)
        with self._lock:
            try:
                self._start()
                if check.kind == "callable":
                    self._import(check)
                answer = self._exchange(check.kind, check.value, text, prompt)
            except _Stopped as stopped:
                raise _failed(check, stopped.how, text) from None
        if "value" not in answer:
            raise _misbehaved(check, answer, text)
        return None if answer["value"] is None else float(answer["value"])

    def close(self) -> None:
        """End the process. What was imported is read anew by the next one."""
        with self._lock:
            self._stop()

    def _import(self, check: Check) -> None:
        name = check.value
        if name in self._imported:
            return
        answer = self._exchange("import", name, "", Prompt(), START_SECONDS)
        if "missing" in answer:
            module = name.partition(":")[0].replace(".", "/")
            raise MetricError(
                "A check's callable is a function that can be imported", f"{name}: {visible(answer['missing'])}",
                f"Run poise in the folder that holds {module}.py, or correct the name",
            )  # fmt: skip
        self._imported.add(name)

    def _exchange(self, kind: str, value: object, text: str, prompt: Prompt, limit: float | None = None) -> _Answer:
        limit = SECONDS if limit is None else limit
        asked = {"kind": kind, "value": value, "text": text, "prompt": _told(prompt), "limit": limit}
        assert self._process is not None
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(asked) + "\n")
            self._process.stdin.flush()
        except OSError:
            self._stop()
            raise _Stopped("ended") from None
        return self._receive(limit)

    def _receive(self, limit: float) -> _Answer:
        try:
            line = self._answers.get(timeout=limit)
        except queue.Empty:
            self._stop()
            raise _Stopped("hung") from None
        except BaseException:  # Ctrl-C: an answer that nobody waits for must not be taken for the next one's
            self._stop()
            raise
        if line is None:
            self._stop()
            raise _Stopped("ended")
        return dict(json.loads(line))

    def _start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            return
        self._stop()
        # -P: the working folder may be a stranger's, and nothing in it may stand in for a library.
        command = [sys.executable, "-P", "-m", "poise.examiner"]
        self._process = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", start_new_session=True
        )
        assert self._process.stdout is not None
        self._answers = queue.SimpleQueue()
        self._reader = threading.Thread(target=_pass_on, args=(self._process.stdout, self._answers), daemon=True)
        self._reader.start()
        try:
            self._receive(START_SECONDS)
        except _Stopped:
            raise SystemFault(
                "Patterns, schemas and callables are tried in a process of its own", "none that starts",
                "`python -P -m poise.examiner` says why",
            ) from None  # fmt: skip

    def _stop(self) -> None:
        process, self._process = self._process, None
        self._imported.clear()
        if process is None:
            return
        if process.poll() is None:
            with contextlib.suppress(OSError):
                if hasattr(os, "killpg"):
                    os.killpg(process.pid, signal.SIGKILL)  # it leads a group: what a callable started goes too
                else:
                    process.kill()
            process.wait()
        if self._reader is not None:
            self._reader.join()  # the pipe has ended with its process
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _pass_on(stream: IO[str], answers: queue.SimpleQueue[str | None]) -> None:
    """In a thread, so that waiting for a line can end on every system."""
    with contextlib.suppress(OSError, ValueError):
        for line in stream:
            answers.put(line)
    answers.put(None)


def require_allowed(check: Check) -> None:
    """Refuse a callable that nobody allowed.

    Args:
        check: of kind ``callable``.

    Raises:
        MetricError: `poise.checks.allow_callable` was not told its name.
    """
    name = check.value
    if not callable_allowed(name):
        raise MetricError(
            "A check's callable runs only where it is allowed by name, since use cases and studies come from strangers",
            repr(name),
            f"Read it, then add --allow-callable {name}, in Python poise.allow_callable({name!r}); {OTHERWISE}",
        )


def _told(prompt: Prompt) -> dict[str, object]:
    """A prompt as callables get it."""
    messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
    answers = list(prompt.answers)
    return {"prompt": prompt.shown, "messages": messages, "answers": answers, "reference": prompt.reference}


def _failed(check: Check, how: str, text: str) -> MetricError:
    found = f"{check} still running" if how == "hung" else f"{check}, which ended the process"
    return MetricError(
        f"A check comes to an answer within {SECONDS:g} s", f"{found} at the text {_shown(text)}",
        f"{_REPAIRS[check.kind]}, {OTHERWISE}",
    )  # fmt: skip


def _misbehaved(check: Check, answer: _Answer, text: str) -> MetricError:
    how, said = next(iter(answer.items()))
    at = f"{visible(str(said))} at the text {_shown(text)}"
    if check.kind != "callable":
        return MetricError(f"The check {check} can be held against a text", at, f"{_REPAIRS[check.kind]}, {OTHERWISE}")
    rule = f"{check.value} {_RETURNS}" + (", and prints nothing" if how == "printed" else "")
    return MetricError(rule, f"{how} {at}" if how == "printed" else at, f"{_REPAIRS['callable']}, {OTHERWISE}")


_REPAIRS = {
    "regex": "Rewrite the pattern without repetitions inside repetitions, such as (a+)+",
    "json_schema": "Simplify the schema: its patterns, and what refers to itself",
    "callable": "Correct the function",
}


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…")


EXAMINER = Examiner()
atexit.register(EXAMINER.close)
