"""Engine of a batch: hands studies to workers, and ends those that take too much.

It knows no processes: a :class:`Crew` hires workers, of this machine (:mod:`lvseg.batch.local`) or
of many (:mod:`lvseg.batch.distributed`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from lvseg.batch.study import Outcome, Task
from lvseg.errors import StudyLimitError, WorkerLostError
from lvseg.failures import explain

#: Seconds between two looks at workers that say nothing.
LOOK_S = 0.1
#: Seconds that a worker may take to begin, at least.
START_S = 120.0
#: Times that a study is tried whose worker is lost: it may have been killed by somebody else.
TRIES = 2
#: Workers that are lost one after the other before any was ready.
MOST_LOST_AT_START = 3


class Lost(Exception):  # noqa: N818 - an event between modules, no error of ours
    """A worker is gone; the text says how it ended."""


class Worker(Protocol):
    """What does studies, one at a time, and says when it is ready for the first."""

    def give(self, task: Task) -> None:
        """Hand it a study.

        :raises Lost: it is gone.
        """

    def take(self) -> Outcome | None:
        """What it said: an outcome, or None: it is ready.

        :raises Lost: it is gone. LvsegError: it cannot begin, as no other will.
        """

    def end(self) -> None:
        """End it at once, whatever it does; returns when it is gone."""

    def memory_bytes(self) -> int | None:
        """Memory that it holds; None = not known here."""


class Crew(Protocol):
    """Where workers come from."""

    def hire(self) -> Worker:
        """Start another worker."""

    def wait(self, workers: Sequence[Worker], seconds: float) -> Sequence[Worker]:
        """Those that have something to say, or are gone; none after so many seconds."""

    def close(self) -> None:
        """No more workers are needed."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a batch may take; None = nobody said.

    :param jobs: workers at once. :param study_s: seconds for one study.
    :param memory_bytes: of one worker.
    """

    jobs: int | None = None
    study_s: float | None = None
    memory_bytes: int | None = None


@dataclass(slots=True)
class _Busy:
    """What a worker does: a study, or (None) its start."""

    task: Task | None
    until: float | None


def run_tasks(
    tasks: Iterable[Task],
    crew: Crew,
    limits: Limits,
    *,
    begin: Callable[[Task], None] = lambda task: None,
    ended: Callable[[Task], Outcome | None] = lambda task: None,
) -> Iterator[Outcome]:
    """Do every study; outcomes come as they end.

    A study over its limits has a :class:`StudyLimitError`, one whose workers are lost a
    :class:`WorkerLostError` as its outcome; the others go on with new workers.

    :param begin: called before each study; :param ended: called when a worker was ended or lost:
        tidies up after it, and gives the outcome if its study was finished all the same.
    :raises LvsegError: workers cannot begin: the model is missing or broken.
    """
    yield from _Shift(deque(tasks), crew, limits, begin, ended).run()


class _Shift:
    def __init__(
        self,
        waiting: deque[Task],
        crew: Crew,
        limits: Limits,
        begin: Callable[[Task], None],
        ended: Callable[[Task], Outcome | None],
    ) -> None:
        self.waiting = waiting
        self.crew = crew
        self.limits = limits
        self.begin = begin
        self.ended = ended
        self.busy: dict[Worker, _Busy] = {}
        self.tries: dict[int, int] = {}
        self.lost_at_start = 0

    def run(self) -> Iterator[Outcome]:
        try:
            while True:
                starting = sum(each.task is None for each in self.busy.values())
                while len(self.busy) < (self.limits.jobs or 1) and len(self.waiting) > starting:
                    self.busy[self.crew.hire()] = _Busy(None, self._deadline(START_S))
                    starting += 1
                if not self.busy:
                    return
                for worker in self.crew.wait([*self.busy], LOOK_S):
                    yield from self._hear(worker)
                for worker in [*self.busy]:
                    yield from self._watch(worker)
        finally:
            for worker, now in self.busy.items():
                worker.end()
                if now.task is not None:
                    self.ended(now.task)
            self.crew.close()

    def _hear(self, worker: Worker) -> Iterator[Outcome]:
        """What a worker says; then its next study."""
        now = self.busy[worker]
        try:
            said = worker.take()
        except Lost as lost:
            yield from self._lost(worker, now.task, str(lost))
            return
        self.lost_at_start = 0
        self._next(worker)
        if said is not None:
            yield said

    def _next(self, worker: Worker) -> None:
        if not self.waiting:
            del self.busy[worker]
            worker.end()
            return
        task = self.waiting.popleft()
        self.begin(task)
        self.busy[worker] = _Busy(task, self._deadline())
        try:
            worker.give(task)
        except Lost:  # between two studies, which harms none; `take` will say so again
            self.tries[task.place] = self.tries.get(task.place, 0) - 1

    def _lost(self, worker: Worker, task: Task | None, how: str) -> Iterator[Outcome]:
        del self.busy[worker]
        worker.end()
        if task is None:
            self.lost_at_start += 1
            if self.lost_at_start == MOST_LOST_AT_START:
                raise WorkerLostError("any study", how)
            return
        finished = self.ended(task)
        if finished is not None:
            yield finished
            return
        tried = self.tries[task.place] = self.tries.get(task.place, 0) + 1
        if tried < TRIES:
            self.waiting.appendleft(task)
        else:
            most = self.limits.memory_bytes
            allowed = "" if most is None else f", with {most / 1e9:.1f} GB of memory allowed"
            yield _failed(task, WorkerLostError(task.source, how + allowed))

    def _watch(self, worker: Worker) -> Iterator[Outcome]:
        """End a worker that takes too long or too much."""
        now, limits = self.busy[worker], self.limits
        source = "the start of a worker" if now.task is None else now.task.source
        fault: StudyLimitError | None = None
        if now.until is not None and monotonic() > now.until:
            fault = StudyLimitError.time(source, limits.study_s or 0)
        elif limits.memory_bytes is not None:
            held = worker.memory_bytes()
            if held is not None and held > limits.memory_bytes:
                fault = StudyLimitError.memory(source, limits.memory_bytes)
        if fault is None:
            return
        del self.busy[worker]
        worker.end()
        if now.task is None:
            raise fault
        yield self.ended(now.task) or _failed(now.task, fault)

    def _deadline(self, least_s: float = 0.0) -> float | None:
        limit_s = self.limits.study_s
        return None if limit_s is None else monotonic() + max(limit_s, least_s)


def _failed(task: Task, error: Exception) -> Outcome:
    text, status = explain(error)
    return Outcome(task.place, status, text)
