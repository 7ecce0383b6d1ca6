"""Every error poise raises, drawn as a tree.

PoiseError
├── UsageError              the user's mistake: nothing was started      exit code 2
│   ├── ParameterError      a decoding parameter: unknown, out of range
│   ├── PromptError         empty, too long, not readable
│   ├── UseCaseError        a use-case file that cannot be used
│   ├── ModelError          a model that is unknown or refused
│   ├── StudyError          a study of another model, newer schema, no such trial
│   └── MetricError         a metric that is unknown or lacks what it needs
└── SystemFault             an engine or the system failed               exit code 3
    ├── EngineError         logits that are no numbers, out of memory
    │   └── ServerError     a server that cannot be reached, refuses, or answers nonsense
    ├── FetchError          a download that did not come, or came wrong
    └── StoreError          a full disk, a read-only folder

A check that does not hold is a result, not an error: the command line exits with 1.
"""

from __future__ import annotations


class PoiseError(Exception):
    """The root of everything poise raises on purpose.

    Args:
        rule: what has to hold, as one sentence.
        got: the value that broke it; empty where there is none.
        next_step: what the reader can do now; empty where nothing helps.
    """

    exit_code = 3

    def __init__(self, rule: str, got: str = "", next_step: str = "") -> None:
        self.rule, self.got, self.next_step = rule, got, next_step
        super().__init__(rule, got, next_step)

    def __str__(self) -> str:
        parts = [self.rule.rstrip(".")]
        if self.got:
            parts[0] += f", but got {self.got}"
        parts[0] += "."
        if self.next_step:
            parts.append(self.next_step if self.next_step.endswith("?") else self.next_step.rstrip(".") + ".")
        return " ".join(parts)


class UsageError(PoiseError):
    """The user's mistake: found before any work starts."""

    exit_code = 2


class ParameterError(UsageError):
    """A decoding parameter is unknown, mistyped or out of range."""


class PromptError(UsageError):
    """A prompt is empty, too long for the model, or not readable."""


class UseCaseError(UsageError):
    """A use-case file cannot be read or says something that is not so."""


class ModelError(UsageError):
    """A model is unknown, or refused for safety."""


class StudyError(UsageError):
    """A study belongs to another model, has a newer schema, or lacks what was asked of it."""


class MetricError(UsageError):
    """A metric is unknown, or what it needs is not there."""


class SystemFault(PoiseError):
    """An engine or the system failed: what was finished is kept."""


class EngineError(SystemFault):
    """The model gave logits that are no numbers, or ran out of memory."""


class ServerError(EngineError):
    """A server cannot be reached, refuses, answers nonsense, or changed its model under way."""


class FetchError(SystemFault):
    """A download did not come, or came with the wrong content."""


class StoreError(SystemFault):
    """The disk is full, the folder read-only, or the study's file damaged."""
