"""The engine with workers that are played: who gets which study, who is ended, what comes out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lvseg.batch import engine
from lvseg.batch.engine import Limits, Lost, Worker, run_tasks
from lvseg.batch.study import Outcome, Task
from lvseg.batch.waiting import Waiting
from lvseg.errors import ModelError, StudyLimitError, WorkerLostError


def tasks(count: int) -> list[Task]:
    return [
        Task(place, Waiting(f"p{place}", (), b""), Path(f"out/p{place}"), f"p{place}")
        for place in range(count)
    ]


class Played(Worker):
    """A worker that does what a script says at each study: ends it, hangs, eats, or is lost."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.crew = crew
        self.number = number
        self.task: Task | None = None
        self.ready = False
        self.gone = False

    def give(self, task: Task) -> None:
        self.task = task
        self.crew.given.append((self.number, task.place))

    def take(self) -> Outcome | None:
        if not self.ready:
            self.ready = True
            if isinstance(self.crew.start, Exception):
                raise self.crew.start
            return None
        assert self.task is not None
        if self.does() == "lost":
            raise Lost("signal SIGKILL")
        return Outcome(self.task.place)

    def does(self) -> str:
        place = -1 if self.task is None else self.task.place
        tries = sum(given == place for _, given in self.crew.given)
        return self.crew.script.get((place, tries), self.crew.script.get((place, 0), "ends"))

    def end(self) -> None:
        assert not self.gone
        self.gone = True

    def memory_bytes(self) -> int | None:
        return 10**10 if self.ready and self.does() == "eats" else 10**6


class Crew:
    """Hires :class:`Played` workers.

    :param script: (place of a study, which try; 0 = any) -> what happens.
    """

    def __init__(self, script: dict[tuple[int, int], str], start: Exception | None = None) -> None:
        self.script = script
        self.start = start
        self.hired: list[Played] = []
        self.given: list[tuple[int, int]] = []
        self.closed = False

    def hire(self) -> Worker:
        self.hired.append(Played(self, len(self.hired)))
        return self.hired[-1]

    def wait(self, workers: Sequence[Worker], seconds: float) -> Sequence[Worker]:
        assert not any(each.gone for each in workers)  # type: ignore[attr-defined]
        quiet = ("hangs", "eats")
        return [each for each in workers if not each.ready or each.does() not in quiet]  # type: ignore[attr-defined]

    def close(self) -> None:
        assert all(each.gone for each in self.hired)
        self.closed = True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at the clock is a second later."""
    now = iter(range(10**6))
    monkeypatch.setattr(engine, "monotonic", lambda: next(now))


def done(crew: Crew, count: int, limits: Limits, **more: Callable[..., object]) -> list[Outcome]:
    outcomes = list(run_tasks(tasks(count), crew, limits, **more))  # type: ignore[arg-type]
    assert crew.closed
    assert sorted(each.place for each in outcomes) == list(range(count))
    return sorted(outcomes, key=lambda each: each.place)


def test_every_study_is_done_once_and_a_worker_does_many() -> None:
    crew = Crew({})
    assert [each.exit for each in done(crew, 5, Limits(jobs=2))] == [0] * 5
    assert len(crew.hired) == 2
    assert sorted(place for _, place in crew.given) == [0, 1, 2, 3, 4]


def test_there_are_no_more_workers_than_studies() -> None:
    crew = Crew({})
    done(crew, 2, Limits(jobs=8))
    assert len(crew.hired) == 2


def test_no_study_needs_no_worker() -> None:
    crew = Crew({})
    assert done(crew, 0, Limits(jobs=8)) == []
    assert crew.hired == []


@pytest.mark.usefixtures("clock")
def test_a_study_over_its_time_has_failed_and_a_new_worker_goes_on() -> None:
    crew = Crew({(1, 0): "hangs"})
    outcomes = done(crew, 4, Limits(jobs=1, study_s=50.0))
    assert [each.exit for each in outcomes] == [0, StudyLimitError.exit_code, 0, 0]
    assert "at most 50 s" in (outcomes[1].error or "")
    assert len(crew.hired) == 2


def test_a_study_over_its_memory_has_failed_and_a_new_worker_goes_on() -> None:
    crew = Crew({(0, 0): "eats"})
    outcomes = done(crew, 3, Limits(jobs=1, memory_bytes=2 * 10**9))
    assert [each.exit for each in outcomes] == [StudyLimitError.exit_code, 0, 0]
    assert "at most 2.0 GB" in (outcomes[0].error or "")


def test_a_study_whose_worker_is_lost_is_tried_again_before_the_others() -> None:
    crew = Crew({(1, 1): "lost"})
    assert [each.exit for each in done(crew, 3, Limits(jobs=1))] == [0, 0, 0]
    assert [place for _, place in crew.given] == [0, 1, 1, 2]


def test_a_study_that_loses_two_workers_has_failed() -> None:
    crew = Crew({(1, 0): "lost"})
    outcomes = done(crew, 3, Limits(jobs=2))
    assert [each.exit for each in outcomes] == [0, WorkerLostError.exit_code, 0]
    assert "signal SIGKILL" in (outcomes[1].error or "")


def test_a_study_that_was_finished_when_its_worker_was_lost_is_not_tried_again() -> None:
    crew = Crew({(1, 0): "lost"})
    begun: list[int] = []
    outcomes = done(
        crew,
        2,
        Limits(jobs=1),
        begin=lambda task: begun.append(task.place),
        ended=lambda task: Outcome(task.place, lines="found"),
    )
    assert [each.lines for each in outcomes] == ["", "found"]
    assert begun == [0, 1]


def test_a_model_that_does_not_load_ends_the_batch() -> None:
    crew = Crew({}, start=ModelError("broken"))
    with pytest.raises(ModelError, match="broken"):
        list(run_tasks(tasks(3), crew, Limits(jobs=2)))
    assert crew.closed


def test_workers_that_are_lost_before_they_begin_end_the_batch() -> None:
    crew = Crew({}, start=Lost("exit status 1"))
    with pytest.raises(WorkerLostError, match="exit status 1"):
        list(run_tasks(tasks(9), crew, Limits(jobs=2)))
    assert len(crew.hired) <= engine.MOST_LOST_AT_START + 1
    assert crew.closed


def test_a_batch_that_is_stopped_ends_its_workers_and_tidies_up() -> None:
    crew = Crew({(1, 0): "hangs", (2, 0): "hangs"})
    tidied: list[int] = []
    running = run_tasks(
        tasks(3), crew, Limits(jobs=2), ended=lambda task: tidied.append(task.place)
    )
    assert next(running).place == 0
    running.close()  # type: ignore[attr-defined]
    assert crew.closed
    assert sorted(tidied) == [1, 2]
