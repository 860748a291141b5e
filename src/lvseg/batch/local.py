"""Workers of this machine: processes that load the model once and do one study at a time.

A worker ends with the process that started it, however that ends, and holds the lock of the
journal until then: no other run begins to write where one still does.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import Any

from lvseg.batch.engine import Lost, Worker
from lvseg.batch.study import Outcome, Task, Work, open_worker
from lvseg.errors import LvsegError
from lvseg.predict import usable_cores

#: Names that number libraries read the count of their threads from.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
#: Memory that one worker takes for a usual study.
USUAL_BYTES = 1_000_000_000
#: Of the memory that is free, what workers may take together.
SHARE = 0.9
#: Seconds after its limit at which a worker ends itself, whoever should have ended it.
GRACE_S = 30.0
#: What opens a worker: gives what does its studies.
Opening = Callable[[Work], Callable[[Task], Outcome]]


def usual_jobs(studies: int) -> int:
    """Workers to start: one a core, as many as the memory bears, no more than studies."""
    free = free_bytes()
    fit = studies if free is None else int(SHARE * free / USUAL_BYTES)
    return max(1, min(usable_cores(), fit, studies))


def usual_threads(jobs: int) -> int:
    """Threads of each worker, so that all together have one a core."""
    return max(1, usable_cores() // jobs)


def usual_memory_bytes(jobs: int) -> int | None:
    """Memory that each worker may take: its part of what is free; None = that is not known."""
    free = free_bytes()
    return None if free is None else max(USUAL_BYTES, int(SHARE * free / jobs))


def free_bytes() -> int | None:
    """Memory that is free here (Linux: of the machine, or of the control group); None = unknown."""
    found = []
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        found.append(int(kilobytes) * 1024)
    with suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        most = int((group / "memory.max").read_text("ascii"))
        found.append(most - int((group / "memory.current").read_text("ascii")))
    return min(found, default=None)


class Crew:
    """Worker processes, each started afresh (spawn): a fork would inherit threads and locks.

    :param limit_s: of one study. :param lock: descriptor that workers hold until they end.
    :param opening: None = :func:`lvseg.batch.study.open_worker`.
    """

    def __init__(
        self,
        work: Work,
        *,
        limit_s: float | None = None,
        lock: int | None = None,
        opening: Opening | None = None,
    ) -> None:
        self._work = work
        self._limit_s = limit_s
        self._lock = lock
        self._opening = opening or open_worker

    def hire(self) -> Worker:
        """Start another worker."""
        context = get_context("spawn")
        end, other = context.Pipe()
        shared = (self._opening, self._work, self._limit_s)
        process = context.Process(
            target=_work, args=(other, _Inherited(self._lock), *shared), daemon=True
        )
        with _threads(self._work.threads or 1):
            process.start()
        other.close()
        return _Process(process, end)

    def wait(self, workers: Sequence[Worker], seconds: float) -> Sequence[Worker]:
        """Those that have something to say, or are gone; none after so many seconds."""
        ends = {each.connection: each for each in workers if isinstance(each, _Process)}
        said = wait([*ends], seconds)
        return [worker for end, worker in ends.items() if end in said]

    def close(self) -> None:
        """No more workers are needed: each has ended by itself."""


class _Process:
    """One worker process, seen from the batch."""

    def __init__(self, process: Any, connection: Connection) -> None:
        self._process = process
        self.connection = connection

    def give(self, task: Task) -> None:
        try:
            self.connection.send(task)
        except OSError as error:
            raise Lost(self._how()) from error

    def take(self) -> Outcome | None:
        try:
            said = self.connection.recv()
        except (EOFError, OSError) as error:
            raise Lost(self._how()) from error
        if isinstance(said, Exception):
            raise said
        outcome: Outcome | None = said
        return outcome

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()

    def memory_bytes(self) -> int | None:
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text("ascii").split()[1]
        except (OSError, IndexError):
            return None
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def _how(self) -> str:
        self._process.join()
        code = self._process.exitcode
        return f"exit status {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"


class _Inherited:
    """A descriptor that a new process is to hold too."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def __getstate__(self) -> Any:
        return None if self._descriptor is None else DupFd(self._descriptor)

    def __setstate__(self, state: Any) -> None:
        self._descriptor = None if state is None else state.detach()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """What processes that start meanwhile are told: number libraries read it when they load."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _work(
    connection: Connection, lock: object, opening: Opening, work: Work, limit_s: float | None
) -> None:
    """What a worker process does: studies, until the batch or its process ends."""
    _settle(work)
    try:
        do = opening(work)
        gc.freeze()
        said: Outcome | Exception | None = None
    except LvsegError as error:
        said = error
    except Exception as error:
        said = RuntimeError("".join(traceback.format_exception(error)))
    with suppress(OSError, EOFError):
        connection.send(said)
        while said is None or isinstance(said, Outcome):
            task = connection.recv()
            if limit_s is not None:
                faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=_nowhere())
            said = do(task)
            faulthandler.cancel_dump_traceback_later()
            connection.send(said)


def _settle(work: Work) -> None:
    """Signals, limits and voice of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the batch's, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent_process(),), daemon=True).start()
    limit_memory(work.memory_limit_bytes)
    logging.getLogger().addHandler(logging.NullHandler())
    if not work.debug:
        warnings.simplefilter("ignore")
        for stream in (sys.stdout, sys.stderr):  # also what libraries print there by themselves
            with suppress(OSError, ValueError, AttributeError):
                os.dup2(_nowhere().fileno(), stream.fileno())


def limit_memory(most_bytes: int | None) -> None:
    """Refuse this process more data than that, where the system can (RLIMIT_DATA)."""
    if most_bytes is None:
        return
    try:
        import resource
    except ImportError:
        return
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, hard))


def _end_with(parent: Any) -> None:
    """End this process when the batch's has ended."""
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _nowhere(kept: list[Any] = []) -> Any:  # noqa: B006 - opened once
    if not kept:
        kept.append(Path(os.devnull).open("w"))  # noqa: SIM115
    return kept[0]
