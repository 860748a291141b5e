"""Jobs of the server: one worker takes them from the queue, one after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from lvseg.errors import LvsegError
from lvseg.web.store import CANCELLED, DONE, FAILED, Store

#: Called with (stage, done, all).
Progress = Callable[[str, int, int], None]
#: Does a job: gets the row of its study and a way to tell how far it is; returns nothing.
Work = Callable[[Mapping[str, Any], Progress], None]
#: The queue is looked at this often when nobody wakes the worker, s.
_IDLE_S = 1.0
#: Progress is stored, and a cancellation seen, this often, s.
_TELL_EVERY_S = 0.2


class _CancelledError(Exception):
    """The job was cancelled while it ran."""


class Worker:
    """Runs the jobs of a store in a thread of its own.

    A job that was running when the last server ended is done again. A failure is stored with the
    job and the next one begins; a defect of ours is stored by its kind alone.
    """

    def __init__(self, store: Store, work: Work) -> None:
        self._store, self._work = store, work
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="lvseg-jobs", daemon=True)

    def start(self) -> None:
        """Queue again what did not end, and begin."""
        self._store.resume()
        self._thread.start()

    def wake(self) -> None:
        """Say that a job was queued."""
        self._wanted.set()

    def stop(self, timeout_s: float | None = None) -> None:
        """Let the running job go on and take no other one."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopped.is_set():
            job = self._store.claim()
            if job is None:
                self._wanted.wait(_IDLE_S)
                self._wanted.clear()
                continue
            self._do(job)

    def _do(self, job: Mapping[str, Any]) -> None:
        told: list[tuple[str, float]] = []

        def progress(stage: str, done: int, total: int) -> None:
            if told and told[-1][0] == stage and monotonic() - told[-1][1] < _TELL_EVERY_S:
                return
            told[:] = [(stage, monotonic())]
            now = self._store.job(job["id"])
            if now is None or now["state"] == CANCELLED:
                raise _CancelledError
            self._store.report(job["id"], stage, done, total)

        try:
            study = self._store.study(job["study"])
            if study is None:
                raise LvsegError("expected the study of the job, found it gone: index the folder")
            progress("read", 0, 0)
            self._work(study, progress)
        except _CancelledError:
            return
        except LvsegError as error:
            self._store.end(job, FAILED, str(error))
        except Exception as error:
            self._store.end(job, FAILED, f"internal error, {type(error).__name__}")
        else:
            self._store.end(job, DONE)
