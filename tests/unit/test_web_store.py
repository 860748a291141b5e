"""The store of the server: numbers of versions, the queue, events, and what survives."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvseg.web.store import (
    CANCELLED,
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    ConflictError,
    Found,
    Store,
    hashed,
)

HEARTS = [Found("/in/a", "a", "dicom", "1.2.3"), Found("/in/b.nii", "b", "nifti")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store.in_file(tmp_path / "new" / "desk.db")
    made.keep_studies("/in", "digest", HEARTS)
    yield made
    made.close()


def ids(store: Store) -> dict[str, str]:
    return {row["name"]: row["id"] for row in store.studies()}


def test_only_its_owner_may_read_it(tmp_path: Path, store: Store) -> None:
    assert (tmp_path / "new" / "desk.db").stat().st_mode & 0o077 == 0


def test_studies_keep_their_ids_and_come_and_go(store: Store) -> None:
    before = ids(store)
    assert store.digest_of("/in") == "digest"
    assert store.digest_of("/other") is None
    store.keep_studies("/in", "second", [HEARTS[0], Found("/in/c", "c", "dicom", "1.2.4")])
    assert ids(store)["a"] == before["a"]
    assert set(ids(store)) == {"a", "c"}
    assert store.study(before["b"]) is None
    store.keep_studies("/in", "third", HEARTS)
    assert ids(store) == before


def test_no_uid_is_stored_as_it_is(store: Store) -> None:
    (row,) = [row for row in store.studies() if row["name"] == "a"]
    assert row["uid_sha256"] == hashed("1.2.3")
    assert "1.2.3" not in str(store.studies())


def test_versions_have_unbroken_numbers(store: Store) -> None:
    study = ids(store)["a"]
    assert store.save_version(study, {"edv_ml": 1.0}, who="lv-sax", parent=None) == 0
    assert store.save_version(study, {}, who="Ray", parent=0, note="apex") == 1
    for parent in (None, 0, 2):
        with pytest.raises(ConflictError, match="saved before"):
            store.save_version(study, {}, who="Sun", parent=parent)
    assert store.save_version(study, {}, who="Sun", parent=1) == 2
    assert [(v["number"], v["parent"], v["who"]) for v in store.versions(study)] == [
        (0, None, "lv-sax"),
        (1, 0, "Ray"),
        (2, 1, "Sun"),
    ]
    (row,) = [row for row in store.studies() if row["id"] == study]
    assert (row["version"], row["version_who"]) == (2, "Sun")
    kinds = [event["kind"] for event in store.events(study)]
    assert kinds == ["version"] * 3


def test_eight_writers_save_one_study_and_none_is_lost(store: Store) -> None:
    study, conflicts = ids(store)["a"], []
    store.save_version(study, {}, who="lv-sax", parent=None)

    def write(who: str) -> None:
        saved = 0
        while saved < 5:
            newest = store.versions(study)[-1]["number"]
            try:
                store.save_version(study, {}, who=who, parent=newest)
                saved += 1
            except ConflictError:
                conflicts.append(who)

    writers = [threading.Thread(target=write, args=(f"r{n}",)) for n in range(8)]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    assert [each["number"] for each in store.versions(study)] == list(range(41))
    assert len(store.events(study)) == 41


def test_the_queue_is_first_come_first_served(store: Store) -> None:
    a, b = ids(store)["a"], ids(store)["b"]
    first, second = store.ask(a, "Ray"), store.ask(b, "Sun")
    assert store.ask(a, "Sun")["id"] == first["id"]  # once is enough
    assert first["state"] == QUEUED
    taken = store.claim()
    assert taken is not None
    assert (taken["id"], taken["state"]) == (first["id"], RUNNING)
    store.report(taken["id"], "predict", 3, 9)
    assert store.job(first["id"])["done"] == 3
    store.end(taken, DONE)
    assert store.job(first["id"])["state"] == DONE
    assert store.cancel(second["id"], "Ray")["state"] == CANCELLED
    assert store.claim() is None
    assert store.cancel("none", "Ray") is None
    assert store.cancel(first["id"], "Ray")["state"] == DONE  # it stays as it is
    store.end(second, FAILED, "too late")
    assert store.job(second["id"])["state"] == CANCELLED
    kinds = [event["kind"] for event in store.events()]
    assert kinds == ["asked", "asked", "done", "cancelled"]


def test_what_ran_when_the_server_ended_is_queued_again(store: Store) -> None:
    job = store.ask(ids(store)["a"], "Ray")
    store.claim()
    assert store.resume() == 1
    assert store.job(job["id"])["state"] == QUEUED


CODE = """
import sys
from pathlib import Path
from lvseg.web.store import Store
store = Store.in_file(Path(sys.argv[1]))
study = store.studies()[0]["id"]
number = None
while True:
    number = store.save_version(study, {}, who="r", parent=number)
    print(number, flush=True)
"""


def test_nothing_that_was_answered_is_lost_when_the_process_is_killed(
    tmp_path: Path, store: Store
) -> None:
    file = tmp_path / "new" / "desk.db"
    writer = subprocess.Popen([sys.executable, "-c", CODE, file], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    answered = [writer.stdout.readline() for _ in range(20)]
    os.kill(writer.pid, signal.SIGKILL)
    answered += writer.stdout.readlines()
    writer.wait()
    writer.stdout.close()
    last = int([line for line in answered if line.endswith("\n")][-1])
    numbers = [each["number"] for each in store.versions(ids(store)["a"])]
    assert numbers == list(range(len(numbers)))
    assert len(numbers) > last
