"""Batches: they go on where they were stopped, nothing is lost, nothing breaks them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faulty_workers
import pytest
from command_line import Ended
from tiny_model import write_tiny_model

from lvseg.batch import Entry, open_root, status_of
from lvseg.batch.journal import Journal, parse
from lvseg.errors import StudyLimitError, UsageError, WorkerLostError


def test_a_lone_study_ends_with_its_own_status_and_a_batch_with_4() -> None:
    assert status_of([]) == 0
    assert status_of([Entry("a", exit=5)]) == 5
    assert status_of([Entry("a"), Entry("b")]) == 0
    assert status_of([Entry("a", exit=3), Entry("b", exit=3)]) == 4


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="it is a file"):
        open_root(tmp_path / "file")
    with pytest.raises(UsageError):
        open_root(tmp_path / "file" / "below")


def test_an_output_gets_back_what_a_killed_run_had_moved_away(tmp_path: Path) -> None:
    (tmp_path / ".p1.0123456789ab.old").mkdir()
    (tmp_path / ".p1.ba9876543210.part").mkdir()
    open_root(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["p1"]


@dataclass(frozen=True)
class Cohort:
    """The command on studies ``bad`` and ``good``, each a copy of one phantom."""

    command: Callable[..., Ended]
    folder: Path
    model: Path

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def sources(self) -> list[Path]:
        return [self.folder / name for name in ("bad", "good")]

    @property
    def events(self) -> list[dict[str, Any]]:
        return parse((self.out / "journal.jsonl").read_bytes())

    def counts(self, kind: str) -> dict[str, int]:
        """How often each study had an event of a kind."""
        return dict(Counter(each["study"] for each in self.events if each["event"] == kind))

    def __call__(self, *arguments: object, model: Path | None = None) -> Ended:
        places = ("-o", self.out, "--model", model or self.model)
        return self.command("segment", *self.sources, *places, "--formats", "nifti", *arguments)


@pytest.fixture
def cohort(
    lvseg_command: Callable[..., Ended], phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> Cohort:
    made = Cohort(lvseg_command, tmp_path, tiny_model)
    for source in made.sources:
        shutil.copytree(phantom_dicom, source)
    return made


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Put other workers in place."""
    return lambda opening: monkeypatch.setattr("lvseg.batch.local.open_worker", opening)


def test_the_same_command_again_skips_what_is_finished(cohort: Cohort) -> None:
    first = cohort("--json")
    assert (first.status, first.err) == (0, "")
    before = {path: path.read_bytes() for path in cohort.out.glob("*/*")}
    again = cohort("--json")
    assert (again.status, again.err) == (0, "")
    assert again.document["studies"] == first.document["studies"]
    assert {path: path.read_bytes() for path in cohort.out.glob("*/*")} == before
    assert cohort.counts("start") == {"bad": 1, "good": 1}
    people = cohort()
    assert people.out == "2 studies: 2 done, 2 of them before, 0 failed\n"


def test_a_study_that_is_new_is_done_and_the_others_are_skipped(
    cohort: Cohort, phantom_dicom: Path
) -> None:
    assert cohort().status == 0
    shutil.copytree(phantom_dicom, cohort.folder / "new")
    ended = cohort(cohort.folder / "new")
    assert ended.out.splitlines()[-1] == "3 studies: 3 done, 2 of them before, 0 failed"
    assert cohort.counts("start") == {"bad": 1, "good": 1, "new": 1}


def test_files_that_were_only_touched_are_the_same_source_and_others_are_not(
    cohort: Cohort,
) -> None:
    assert cohort().status == 0
    for path in (cohort.folder / "good").iterdir():
        os.utime(path, (1, 1))
    assert cohort().status == 0
    first = min((cohort.folder / "good").iterdir())
    first.write_bytes(first.read_bytes()[:-1] + b"\x01")
    ended = cohort("--json")
    assert ended.status == 4
    assert [each["exit"] for each in ended.document["studies"]] == [0, 2]
    assert "expected the same source as in the result" in ended.err


@pytest.mark.parametrize("what", ["model", "settings"])
def test_a_result_of_another_model_or_other_settings_stays_and_is_named(
    what: str, cohort: Cohort
) -> None:
    assert cohort().status == 0
    before = (cohort.out / "good" / "measurements.json").read_bytes()
    other = write_tiny_model(cohort.folder / "other", thresholds=(0.4,))
    ended = cohort(model=other) if what == "model" else cohort("--flips")
    assert ended.status == 4
    assert ended.err.count(f"expected the same {what} as in the result") == 2
    assert ended.err.count("\n") == 2
    assert (cohort.out / "good" / "measurements.json").read_bytes() == before


def test_overwrite_does_all_again_but_goes_on_where_it_was_stopped(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    assert cohort().status == 0
    assert cohort("--overwrite").status == 0
    assert cohort.counts("start") == {"bad": 2, "good": 2}
    # stopped before its end: the last line of the journal was never written
    journal = cohort.out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["event"] == "end"
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:9])
    assert cohort("--overwrite").out.startswith("2 studies: 2 done, 2 of them before")
    assert cohort.counts("start") == {"bad": 2, "good": 2}
    assert cohort("--overwrite").status == 0
    assert cohort.counts("start") == {"bad": 3, "good": 3}


def test_a_study_that_stands_without_its_line_in_the_journal_is_not_done_twice(
    cohort: Cohort,
) -> None:
    assert cohort().status == 0
    journal = cohort.out / "journal.jsonl"
    kept = [
        line
        for line in journal.read_bytes().splitlines(keepends=True)
        if json.loads(line)["event"] in ("run", "start")
    ]
    journal.write_bytes(b"".join(kept))
    assert cohort().out == "2 studies: 2 done, 2 of them before, 0 failed\n"
    assert cohort.counts("start") == {"bad": 1, "good": 1}


def test_a_result_that_somebody_else_put_there_is_not_taken_for_ours(cohort: Cohort) -> None:
    assert cohort().status == 0
    file = cohort.out / "good" / "measurements.json"
    file.write_text(file.read_text("utf-8").replace("tiny", "other"), "utf-8")
    ended = cohort()
    assert ended.status == 4
    assert "earlier result" in ended.err


def test_a_second_run_into_one_folder_is_refused_in_one_line(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvseg.batch.journal.WAIT_S", 0.0)
    cohort.out.mkdir()
    with Journal(cohort.out):
        ended = cohort()
    assert ended.status == 2
    assert "another run of lvseg that writes there" in ended.err
    assert ended.err.count("\n") == 1
    assert [path.name for path in cohort.out.iterdir()] == ["journal.jsonl"]
    assert cohort().status == 0


def test_a_study_that_hangs_is_ended_and_the_others_go_on(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.hanging)
    ended = cohort("--study-timeout", "20", "--json")
    assert ended.status == 4
    bad, good = ended.document["studies"]
    assert (bad["exit"], good["exit"]) == (StudyLimitError.exit_code, 0)
    assert bad["error"].startswith("expected a study that takes at most 20 s")
    assert ended.err.count("\n") == 1
    assert [path.name for path in cohort.out.iterdir() if path.name[0] == "."] == []


@pytest.mark.parametrize("how", ["hungry", "greedy"])
def test_a_study_that_eats_memory_is_ended_and_the_others_go_on(
    how: str, cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(getattr(faulty_workers, how))
    ended = cohort("--memory-limit", "1.5", "--json", "--jobs", "1")
    assert ended.status == 4
    bad, good = ended.document["studies"]
    assert (bad["exit"], good["exit"]) == (StudyLimitError.exit_code, 0)
    assert bad["error"].startswith("expected a study that needs at most 1.5 GB of memory")


def test_a_study_that_kills_its_process_twice_has_failed_and_the_others_go_on(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.dying)
    ended = cohort("--json")
    assert ended.status == 4
    bad, good = ended.document["studies"]
    assert (bad["exit"], good["exit"]) == (WorkerLostError.exit_code, 0)
    assert "(signal SIGKILL, with " in bad["error"]
    assert cohort.counts("start") == {"bad": 2, "good": 1}
    table = (cohort.out / "cohort.csv").read_text("utf-8").splitlines()
    assert table[1].startswith('bad,,1,"expected a result of bad, found the process')
    assert str(cohort.folder) not in table[1]


def test_a_worker_that_somebody_else_killed_costs_nothing(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.dying_once)
    assert cohort().status == 0
    assert cohort.counts("start") == {"bad": 2, "good": 1}
    assert cohort.counts("done") == {"bad": 1, "good": 1}


def test_a_study_that_was_finished_when_its_worker_died_is_done(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.dying_when_done)
    assert cohort().status == 0
    assert cohort.counts("start") == {"bad": 1, "good": 1}
    assert cohort.counts("done") == {"bad": 1, "good": 1}


def test_workers_that_never_begin_end_the_batch(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.never_ready)
    ended = cohort()
    assert ended.status == WorkerLostError.exit_code
    assert ended.err.count("\n") == 1


def test_two_studies_are_done_at_once(cohort: Cohort, workers: Callable[[object], None]) -> None:
    workers(faulty_workers.meeting)
    assert cohort("--jobs", "2").status == 0


def test_workers_share_the_cores(
    cohort: Cohort, workers: Callable[[object], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lvseg.batch.local.usable_cores", lambda: 6)
    workers(faulty_workers.threads_told)
    assert cohort("--jobs", "2").status == 0
    assert (cohort.out / "threads").read_text() == "3"


def test_a_lone_study_with_a_limit_is_watched_too(
    cohort: Cohort, workers: Callable[[object], None]
) -> None:
    workers(faulty_workers.dying)
    arguments = ("-o", cohort.out, "--model", cohort.model, "--study-timeout", "60")
    ended = cohort.command("segment", cohort.folder / "bad", *arguments)
    assert ended.status == WorkerLostError.exit_code
    assert [*cohort.out.iterdir()] == []


FIVE = 5


def heed_signals() -> None:
    """Undo what a test run in the background, or one that outlives its terminal, passes on."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def start(source: Path, model: Path, out: Path) -> subprocess.Popen[str]:
    """A batch of five as a process of its own."""
    call = [sys.executable, "-W", "error", "-m", "lvseg.cli", "segment", *[str(source)] * FIVE]
    return subprocess.Popen(
        [*call, "-o", str(out), "--model", str(model), "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals,
    )


def made(out: Path) -> dict[str, bytes]:
    """Every file of every study that is the same in every run."""
    return {
        str(path.relative_to(out)): path.read_bytes()
        for name in ("segmentation.nii.gz", "contours.json", "ed.png")
        for path in out.rglob(name)
    }


@pytest.mark.parametrize("stop", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_a_stopped_process_leaves_finished_folders_alone_and_no_half_one(
    stop: str, phantom_dicom: Path, tiny_model: Path, tmp_path: Path
) -> None:
    """A real process; it is stopped while the third study of five is written, and goes on."""
    out = tmp_path / "out"
    with start(phantom_dicom, tiny_model, out) as process:
        while process.poll() is None and not any(out.glob(".heart-3.*.part")):
            time.sleep(0.002)
        process.send_signal(getattr(signal, stop))
        printed, told = process.communicate()
    with Journal(out):  # workers of a killed process are gone by now
        shown = [path.name for path in out.iterdir() if path.is_dir() and path.name[0] != "."]
    assert {"heart", "heart-2"} & {*shown}  # the third begins when one of them has ended
    for name in shown:
        assert (out / name / "measurements.json").is_file()
        assert (out / name / "segmentation.nii.gz").is_file()
    if stop != "SIGKILL":
        words = {"SIGINT": "interrupted", "SIGTERM": "terminated", "SIGHUP": "hung up"}[stop]
        assert (process.returncode, told) == (128 + getattr(signal, stop), f"lvseg: {words}\n")
        assert [path for path in out.iterdir() if path.name.startswith(".")] == []
        done = [Path(each["folder"]).name for each in json.loads(printed)["studies"]]
        assert set(done) <= set(shown)
    with start(phantom_dicom, tiny_model, out) as process:
        _, told = process.communicate()
    assert (process.returncode, told) == (0, "")
    names = ["heart", *(f"heart-{number}" for number in range(2, FIVE + 1))]
    found = sorted(path.name for path in out.iterdir())
    assert found == sorted([*names, "cohort.csv", "cohort.html", "journal.jsonl"])
    events = parse((out / "journal.jsonl").read_bytes())
    finished = [each["study"] for each in events if each["event"] == "done"]
    assert set(finished) == set(names)
    begun = Counter(each["study"] for each in events if each["event"] == "start")
    assert all(begun[name] == 1 for name in shown)  # none is done twice
    first = made(out / "heart")
    assert first
    assert all(made(out / name) == first for name in names)


def test_a_full_disk_stops_a_batch_in_one_line_and_it_goes_on_later(
    cohort: Cohort, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("lvseg.batch.journal.os.fsync", full)
        ended = cohort()
    assert ended.status == 2
    assert "No space left on device; check the space there" in ended.err
    assert ended.err.count("\n") == 1
    assert cohort().status == 0


def test_a_failed_study_done_alone_later_leaves_the_other_failures_in_the_table(
    cohort: Cohort, phantom_dicom: Path
) -> None:
    places = ("-o", cohort.out, "--model", cohort.model, "--formats", "nifti")
    sources = [cohort.folder / name for name in ("good", "late", "never")]
    assert cohort.command("segment", *sources, *places).status == 4
    shutil.copytree(phantom_dicom, cohort.folder / "late")
    assert cohort.command("segment", cohort.folder / "late", *places).status == 0
    lines = (cohort.out / "cohort.csv").read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[0] + line.split(",")[2] for line in lines] == [
        "good0",
        "late0",
        "never3",
    ]
    # a batch without it: nobody wants it any more
    assert cohort.command("segment", *sources[:2], *places).status == 0
    lines = (cohort.out / "cohort.csv").read_text("utf-8").splitlines()[1:]
    assert [line.split(",")[0] for line in lines] == ["good", "late"]
