"""Worker pool: steps run side by side, each in a process of its own with one thread.

One thread a step computes the same numbers however many steps run at once, and loses nothing to
threads that wait for each other.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

import torch

from lvseg.errors import UsageError
from lvseg.predict import usable_cores
from lvseg.reproduction.ladder import Step
from lvseg.reproduction.step_run import Place, is_done, run_step
from lvseg.train.log import read_log

#: Called with (what is going on, done, of how many).
Report = Callable[[str, int, int], None]
#: Seconds between two looks at the logs of what is running.
LOOK_S = 2.0


def jobs_for(device: torch.device, jobs: int | None) -> int:
    """Steps to run at once: on a GPU one, else as many as asked for, or one a processor.

    :raises UsageError: fewer than one asked for.
    """
    if jobs is not None and jobs < 1:
        raise UsageError(f"expected at least one job, found {jobs}")
    if device.type != "cpu":
        return 1
    return usable_cores() if jobs is None else jobs


def run_steps(
    steps: Sequence[Step], place: Place, jobs: int, report: Report, finished: Callable[[Step], None]
) -> None:
    """Run the steps that are not done yet; side by side, the longest first.

    :param jobs: how many at once; one runs them in this process, in order.
    :param finished: called after each step, also for those that were done before.
    :raises UsageError: a step's folder holds another run.
    """
    waiting = []
    for step in steps:
        if is_done(place.run(step)):
            run_step(step, place)  # refuses a run with other options
            finished(step)
        else:
            waiting.append(step)
    if jobs > 1 and len(waiting) > 1:
        _side_by_side(waiting, place, jobs, report, finished)
        return
    for index, step in enumerate(waiting):

        def follow(epoch: int, epochs: int, key: str = step.key, index: int = index) -> None:
            words = f"{key}, epoch {epoch}/{epochs}"
            report(words, index * epochs + epoch, len(waiting) * epochs)

        run_step(step, place, follow)
        finished(step)


def _side_by_side(
    steps: Sequence[Step], place: Place, jobs: int, report: Report, finished: Callable[[Step], None]
) -> None:
    waiting, running = sorted(steps, key=_work), dict[Connection, tuple[Any, Step]]()
    epochs = sum(step.options.epochs for step in steps)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                step = waiting.pop()
                running |= _start(step, place)
            ended = wait([*running], LOOK_S)
            for end in [each for each in running if each in ended]:
                process, step = running.pop(end)
                _outcome(end, process, step)
                finished(step)
            now = ", ".join(step.key for _, step in running.values())
            report(now, sum(len(read_log(place.run(step))) for step in steps), epochs)
    finally:
        for process, _ in running.values():
            process.terminate()
            process.join()


def _work(step: Step) -> int:
    """Pixels that a step is shown."""
    options = step.options
    return options.epochs * options.steps_per_epoch * options.batch_size * step.side_px**2


def _start(step: Step, place: Place) -> dict[Connection, tuple[Any, Step]]:
    context = get_context("spawn")  # a fork would inherit torch's threads
    end, other = context.Pipe(duplex=False)
    process = context.Process(target=_alone, args=(step, place, other), name=step.key, daemon=True)
    process.start()
    other.close()
    return {end: (process, step)}


def _outcome(end: Connection, process: Any, step: Step) -> None:
    """Wait for the end of a process, and raise here what was raised there."""
    try:
        error = end.recv()
    except EOFError:  # killed: it could say nothing
        process.join()
        error = RuntimeError(f"the process of {step.key} ended with code {process.exitcode}")
    process.join()
    if error is not None:
        raise error


def _alone(step: Step, place: Place, answer: Connection) -> None:
    """What a process does: the step with one thread, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, who ends this process
    parent: Any = parent_process()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    try:
        run_step(step, place)
    except Exception as error:
        answer.send(error)
    else:
        answer.send(None)


def _end_with(parent: Any) -> None:
    parent.join()
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute with one thread while the block runs, if on a processor."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
