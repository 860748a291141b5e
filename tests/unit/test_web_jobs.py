"""The worker of the server: one job after the other, failures stored, cancelled ones stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lvseg.errors import ReadError
from lvseg.web.jobs import Worker
from lvseg.web.store import CANCELLED, DONE, FAILED, Found, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.in_file(tmp_path / "desk.db")
    made.keep_studies("/in", "digest", [Found(f"/in/{n}", f"s{n}", "nifti") for n in range(3)])
    yield made
    made.close()


def ended(store: Store, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The jobs when all of them have ended."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        found = [store.job(job["id"]) for job in jobs]
        if all(job is not None and job["ended_at"] for job in found):
            return [job for job in found if job is not None]
        time.sleep(0.02)
    raise AssertionError("the jobs did not end")


def asked(store: Store) -> list[dict[str, Any]]:
    return [store.ask(row["id"], "Ray") for row in store.studies()]


def test_jobs_are_done_in_order_and_failures_do_not_stop_the_others(store: Store) -> None:
    seen = []

    def work(study: Mapping[str, Any], progress: Callable[[str, int, int], None]) -> None:
        seen.append(study["name"])
        progress("predict", 1, 2)
        if study["name"] == "s0":
            raise ReadError("expected a cine, found none")
        if study["name"] == "s1":
            raise ZeroDivisionError("secret")

    worker = Worker(store, work)
    jobs = asked(store)
    worker.start()
    worker.wake()
    found = ended(store, jobs)
    worker.stop(10)
    assert seen == ["s0", "s1", "s2"]
    assert [job["state"] for job in found] == [FAILED, FAILED, DONE]
    assert found[0]["error"] == "expected a cine, found none"
    assert found[1]["error"] == "internal error, ZeroDivisionError"  # its text may name anything


def test_a_running_job_stops_when_it_is_cancelled(store: Store) -> None:
    begun, finished = threading.Event(), []

    def work(study: Mapping[str, Any], progress: Callable[[str, int, int], None]) -> None:
        begun.set()
        for step in range(1000):
            progress(f"step {step}", step, 1000)  # a new stage is always told
            time.sleep(0.01)
        finished.append(study["name"])

    worker = Worker(store, work)
    jobs = asked(store)[:1]
    for job in store.studies()[1:]:
        store.cancel(store.ask(job["id"], "Ray")["id"], "Ray")
    worker.start()
    worker.wake()
    assert begun.wait(10)
    store.cancel(jobs[0]["id"], "Sun")
    worker.stop(10)
    assert finished == []
    assert store.job(jobs[0]["id"])["state"] == CANCELLED


def test_a_job_of_a_server_that_was_killed_is_done_again(store: Store) -> None:
    job = store.ask(store.studies()[0]["id"], "Ray")
    store.claim()  # by a server that is no more
    worker = Worker(store, lambda study, progress: None)
    worker.start()
    (found,) = ended(store, [job])
    worker.stop(10)
    assert found["state"] == DONE
