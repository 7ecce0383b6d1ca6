"""Ask a judge from several threads, keep each answer from this one."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from poise.errors import PoiseError
from poise.judges.endpoint import Endpoint, Judge, Said, asked_of, check_library, understood
from poise.metrics.judged import Judgement, Panel, pair_of
from poise.records import Prompt
from poise.study import Study

_GRACE = 1.0  # seconds that answers under way have, when asking ends before its time


class Progress(Protocol):
    """Told after every answer: how many of how many."""

    def __call__(self, done: int, total: int) -> None: ...


class Pair(NamedTuple):
    """Two texts of a prompt.

    Args:
        asked: what its judgements have in common with others of its prompt, see `Panel.asked`.
        prompt: what was asked of the model.
        text, other: the completion's and the baseline's.
    """

    asked: str
    prompt: Prompt
    text: str
    other: str

    @property
    def name(self) -> str:
        """What its judgements are kept by."""
        return pair_of(self.asked, self.text, self.other)

    def shown(self, order: int, question: str) -> str:
        """What the judge reads; see `metrics.judged.ORDERS`."""
        texts = (self.text, self.other) if order == 0 else (self.other, self.text)
        return asked_of(self.prompt, *texts, question)


class Task(NamedTuple):
    """A question to be asked; its judgement counts the attempts that were made before."""

    pair: Pair
    judgement: Judgement


class Hearing:
    """Puts tasks to a judge. Only the thread that made it touches the study.

    Args:
        study: that keeps the answers, open for writing.
        endpoint: where the judge is.
        panels: who judges by what, by use case, all by one question; noted once there is an answer.
        trusted: whether it has given a valid answer before: what its server rejects is then about the text.

    Raises:
        UsageError: the library of the extra `judge` is not there.
    """

    def __init__(self, study: Study, endpoint: Endpoint, panels: Mapping[str, Panel], *, trusted: bool) -> None:
        self.calls = 0
        self._study, self._endpoint, self._panels, self._trusted = study, endpoint, panels, trusted
        [self._question] = {panel.question for panel in panels.values()}
        check_library()

    def hear(self, tasks: Sequence[Task], parallel: int, progress: Progress | None) -> None:
        """Ask everything; garbage and refusals once more.

        Args:
            tasks: in the order in which they are asked.
            parallel: questions under way at once.
            progress: called after every task that is done with.

        Raises:
            EngineError: the judge does not answer, or does not let us in; what was answered is kept.
            StoreError: the study cannot be written.
        """
        if not tasks:
            self._sit()
            return
        waiting, done = deque(tasks), 0
        judge = Judge(self._endpoint)
        threads = _Threads(lambda task: judge.ask(task.pair.shown(task.judgement.order, self._question)), judge.close)
        threads.start(min(parallel, len(tasks)))
        try:
            while waiting or threads.busy:
                while waiting and threads.busy < parallel:
                    threads.put(waiting.popleft())
                task, said = threads.get()
                if said.rejected and not self._trusted:
                    raise judge.rejection(said)
                judgement = self._keep(task, said)
                if not judgement.final:
                    waiting.appendleft(task._replace(judgement=judgement))
                    continue
                done += 1
                if progress is not None:
                    progress(done, len(tasks))
        finally:
            for task, said in threads.rest(_GRACE):
                if self._trusted or not said.rejected:
                    self._keep(task, said)
            threads.close()

    def _sit(self) -> None:
        """From here on the metric reads this judge."""
        for use_case, panel in self._panels.items():
            panel.note(self._study, use_case)

    def _keep(self, task: Task, said: Said) -> Judgement:
        if not self.calls:
            self._sit()
        self.calls += 1
        answer, attempts = understood(said), task.judgement.attempts + 1
        judgement = task.judgement._replace(answer=answer, attempts=attempts)
        judgement.note(self._study, said.text or said.rejected)
        self._trusted = self._trusted or judgement.valid
        return judgement


class _Threads:
    """A few threads that do one thing; they end with the process, whatever they wait for.

    Args:
        act: what they do.
        leave: what the last one to go does.
    """

    def __init__(self, act: Callable[[Task], Said], leave: Callable[[], None]) -> None:
        self.busy = 0  # tasks put and not fetched
        self._act, self._leave, self._threads = act, leave, 0
        self._lock = threading.Lock()
        self._inbox: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[tuple[Task, Said | Exception]] = queue.SimpleQueue()

    def start(self, count: int) -> None:
        """Let so many of them begin; one more, the caller, leaves with `close`."""
        self._threads = count + 1
        for _ in range(count):
            threading.Thread(target=self._work, daemon=True).start()

    def put(self, task: Task) -> None:
        """Give one of them something to do."""
        self.busy += 1
        self._inbox.put(task)

    def get(self, timeout: float | None = None) -> tuple[Task, Said]:
        """Wait for what is done next; raises what went wrong with it, queue.Empty after `timeout` seconds."""
        task, said = self._outbox.get(timeout=timeout)
        self.busy -= 1
        if isinstance(said, Exception):
            raise said
        return task, said

    def rest(self, patience: float) -> Iterator[tuple[Task, Said]]:
        """What comes within so many seconds of what was put; what goes wrong is left out."""
        until = time.monotonic() + patience
        while self.busy:
            try:
                yield self.get(max(until - time.monotonic(), 0.001))
            except queue.Empty:
                return
            except PoiseError:
                continue

    def close(self) -> None:
        """Send them home."""
        for _ in range(self._threads - 1):
            self._inbox.put(None)
        self._go()

    def _work(self) -> None:
        while (task := self._inbox.get()) is not None:
            try:
                self._outbox.put((task, self._act(task)))
            except Exception as error:  # told in the thread that waits
                self._outbox.put((task, error))
        self._go()

    def _go(self) -> None:
        with self._lock:
            self._threads -= 1
            last = self._threads == 0
        if last:
            self._leave()
