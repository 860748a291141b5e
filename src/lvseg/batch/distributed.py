"""Workers on Ray: actors on one or many machines that share the folders of sources and results.

An actor is to Ray what a process is to :mod:`lvseg.batch.local`: it loads the model once and does
one study at a time. Ray starts here, or is the cluster that ``RAY_ADDRESS`` names. It sends its
makers nothing.
"""

from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lvseg.batch.engine import Lost, Worker
from lvseg.batch.local import limit_memory
from lvseg.batch.study import Outcome, Task, Work, open_worker
from lvseg.errors import LvsegError


class Crew:
    """Actors of one core each.

    :raises ModuleNotFoundError: Ray is not installed.
    """

    def __init__(self, work: Work) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        self._ray = ray
        self._work = work
        self._ours = not ray.is_initialized()
        if self._ours:
            with warnings.catch_warnings(), _own_signals():
                warnings.simplefilter("ignore")
                ray.init(include_dashboard=False, log_to_driver=False, logging_level="error")
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(_Actor)

    def cores(self) -> int:
        """Cores of the cluster, each of which can have one worker."""
        return max(1, int(self._ray.cluster_resources().get("CPU", 1)))

    def hire(self) -> Worker:
        """Start another worker."""
        actor = self._actor.remote()
        return _Remote(self._ray, actor, actor.begin.remote(self._work, Path.cwd(), open_worker))

    def wait(self, workers: Sequence[Worker], seconds: float) -> Sequence[Worker]:
        """Those that have something to say, or are gone; none after so many seconds."""
        answers = {each.answer: each for each in workers if isinstance(each, _Remote)}
        said, _ = self._ray.wait([*answers], num_returns=1, timeout=seconds)
        return [answers[answer] for answer in said]

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._ours:
            self._ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does when it is told to stop; Ray puts its own in place."""
    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {name: signal.getsignal(getattr(signal, name)) for name in names}
    yield
    with suppress(ValueError):  # in another thread than the first
        for name, what in before.items():
            signal.signal(getattr(signal, name), what)


class _Remote:
    """One actor, seen from the batch.

    :param answer: what it will say next.
    """

    def __init__(self, ray: Any, actor: Any, answer: Any) -> None:
        self._ray = ray
        self._actor = actor
        self.answer = answer

    def give(self, task: Task) -> None:
        self.answer = self._actor.do.remote(task)

    def take(self) -> Outcome | None:
        errors = self._ray.exceptions
        try:
            outcome: Outcome | None = self._ray.get(self.answer)
        except errors.RayTaskError as error:
            cause = error.cause
            raise cause if isinstance(cause, LvsegError) else RuntimeError(str(error)) from error
        except errors.RayError as error:
            raise Lost(type(error).__name__) from error
        return outcome

    def end(self) -> None:
        self._ray.kill(self._actor)
        self._ray.wait([self.answer], timeout=None)

    def memory_bytes(self) -> int | None:
        return None


class _Actor:
    """A worker inside Ray."""

    def __init__(self) -> None:
        self._do: Callable[[Task], Outcome] | None = None

    def begin(
        self, work: Work, folder: Path, opening: Callable[[Work], Callable[[Task], Outcome]]
    ) -> None:
        """Load the model; relative paths are seen from where the batch was started."""
        os.chdir(folder)
        logging.getLogger().addHandler(logging.NullHandler())
        if not work.debug:
            warnings.simplefilter("ignore")
        limit_memory(work.memory_limit_bytes)
        self._do = opening(work)

    def do(self, task: Task) -> Outcome:
        """One study."""
        if self._do is None:
            raise RuntimeError("a worker was given a study before it had begun")
        return self._do(task)
