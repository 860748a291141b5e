"""Workers that misbehave: each is put in place of ``lvseg.batch.local.open_worker`` by a test.

They run in worker processes, which find them by name. What they do happens in the study whose
folder is called ``bad``; the others are done as ever.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from lvseg import pipeline
from lvseg.batch.study import Outcome, Task, Work, open_worker

Do = Callable[[Task], Outcome]
#: Seconds for a worker that waits for another one; only a failing test waits so long.
PATIENCE_S = 60.0


def _with(fault: Callable[[Task], None], work: Work) -> Do:
    do = open_worker(work)

    def faulty(task: Task) -> Outcome:
        if task.folder.name == "bad":
            fault(task)
        return do(task)

    return faulty


def hang(task: Task) -> None:
    while True:
        time.sleep(1)


def eat(task: Task) -> None:
    """Take memory until somebody says no; the system's own limit is lifted."""
    resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
    held = []
    while True:
        held.append(np.ones(1 << 23))
        time.sleep(0.01)


def die(task: Task) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(task: Task) -> None:
    mark = task.folder.with_name("died")
    if not mark.exists():
        mark.touch()
        die(task)


def hanging(work: Work) -> Do:
    return _with(hang, work)


def hungry(work: Work) -> Do:
    """Only those who look at it see what it takes."""
    return _with(eat, work)


def greedy(work: Work) -> Do:
    """Asks for more than there is, inside the steps; the system refuses."""

    def run(source, *arguments, **options):  # type: ignore[no-untyped-def]
        return np.ones(1 << 34)

    return _inside(run, work)


def dying(work: Work) -> Do:
    return _with(die, work)


def dying_once(work: Work) -> Do:
    return _with(die_once, work)


def dying_when_done(work: Work) -> Do:
    """The folder of the study stands when its worker dies."""
    do = open_worker(work)

    def faulty(task: Task) -> Outcome:
        outcome = do(task)
        if task.folder.name == "bad":
            die(task)
        return outcome

    return faulty


def never_ready(work: Work) -> Do:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _inside(run: Callable[..., object], work: Work) -> Do:
    """The steps of the study ``bad`` are another function."""
    do, whole = open_worker(work), pipeline.run

    def faulty(task: Task) -> Outcome:
        pipeline.run = run if task.folder.name == "bad" else whole
        return do(task)

    return faulty


def defective(work: Work) -> Do:
    """A defect of ours."""

    def run(source, *arguments, **options):  # type: ignore[no-untyped-def]
        raise ZeroDivisionError("of ours")

    return _inside(run, work)


def meeting(work: Work) -> Do:
    """No study ends before another one has begun: one worker alone would wait for ever."""
    do = open_worker(work)

    def faulty(task: Task) -> Outcome:
        marks = task.folder.parent / "marks"
        marks.mkdir(exist_ok=True)
        (marks / task.folder.name).touch()
        until = time.monotonic() + PATIENCE_S
        while len([*marks.iterdir()]) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        assert len([*marks.iterdir()]) > 1
        return do(task)

    return faulty


def threads_told(work: Work) -> Do:
    """Writes down what number libraries are told."""
    do = open_worker(work)

    def noting(task: Task) -> Outcome:
        Path(task.folder.parent / "threads").write_text(os.environ["OMP_NUM_THREADS"])
        return do(task)

    return noting
