"""Run of a batch: what is left to do, done with a journal, and the table kept up to date."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from lvseg import cohort
from lvseg.atomic import recover
from lvseg.batch import local
from lvseg.batch.engine import Crew, Limits, run_tasks
from lvseg.batch.journal import (
    JOURNAL,
    Fingerprint,
    History,
    Journal,
    key_of,
    read_history,
    result_of,
)
from lvseg.batch.plan import Entry
from lvseg.batch.study import Outcome, Task, Work, do_study
from lvseg.body import subject_in_sheet
from lvseg.errors import UsageError
from lvseg.failures import explain, unreadable
from lvseg.formats import MEASUREMENTS
from lvseg.json_text import json_text
from lvseg.sheet import Sheet
from lvseg.subject import UNKNOWN
from lvseg.version import __version__

if TYPE_CHECKING:
    from lvseg.pipeline import Progress

#: Seconds that a study may take.
STUDY_S = 900.0
EngineName = Literal["local", "ray"]


@dataclass(frozen=True, slots=True)
class Batch:
    """Studies into one output folder.

    One study alone is done in this process, unless limits are asked for. Two or more are done in
    workers, with a journal, and get a table. Where a journal is, every run is written into it.

    :param limits: what the user asked for. :param covariates: columns to join to the table.
    """

    root: Path
    work: Work
    limits: Limits = field(default_factory=Limits)
    engine: EngineName = "local"
    covariates: Sheet | None = None

    def run(
        self, planned: Sequence[Entry], progress: Progress | None = None
    ) -> Generator[Entry, None, None]:
        """Do every study and tell how it went, as they end; a failure is an entry, never raised.

        :raises UsageError: another run writes there.
        :raises ModelError: the model is missing or broken.
        """
        if len(planned) > 1 or (self.root / JOURNAL).is_file():
            with Journal(self.root) as journal:
                yield from _Recorded(self, planned, journal).run()
            return
        for entry in planned:
            if entry.fault is not None:
                yield _faulty(entry, entry.fault)
                continue
            task = task_of(0, entry, overwrite=self.work.overwrite)
            if not self._watched():
                yield entry_of(entry, self._here(task, progress))
                continue
            crew, limits = self.workers(1, None)
            ended = partial(_finished, before=result_of(task.folder))
            for outcome in run_tasks([task], crew, limits, ended=ended):
                yield entry_of(entry, outcome)

    def _watched(self) -> bool:
        """Whether a study alone needs a worker: only from outside can it be ended."""
        limited = self.limits.study_s is not None or self.limits.memory_bytes is not None
        return limited or self.engine != "local"

    def _here(self, task: Task, progress: Progress | None) -> Outcome:
        from lvseg.predict import load_model

        work = self.work
        predictor = load_model(work.model, runtime=work.runtime, threads=work.threads)
        return do_study(task, work, predictor, progress)

    def workers(self, studies: int, lock: int | None) -> tuple[Crew, Limits]:
        """Workers for so many studies, and what they may take."""
        asked = self.limits
        study_s = STUDY_S if asked.study_s is None else asked.study_s
        if self.engine == "ray":
            from lvseg.batch import distributed

            threads = self.work.threads or 1
            work = replace(self.work, threads=threads, memory_limit_bytes=asked.memory_bytes)
            remote = distributed.Crew(work)
            jobs = min(asked.jobs or studies, studies, remote.cores())
            return remote, Limits(jobs, study_s)
        jobs = asked.jobs or local.usual_jobs(studies)
        memory = asked.memory_bytes or local.usual_memory_bytes(jobs)
        threads = self.work.threads or local.usual_threads(jobs)
        work = replace(self.work, threads=threads, memory_limit_bytes=memory)
        return (local.Crew(work, limit_s=study_s, lock=lock), Limits(jobs, study_s, memory))


class _Recorded:
    """One run with its journal."""

    def __init__(self, batch: Batch, planned: Sequence[Entry], journal: Journal) -> None:
        self.batch = batch
        self.planned = planned
        self.journal = journal
        self.fingerprints: dict[str, Fingerprint] = {}
        self.before: dict[str, str | None] = {}
        self.rows: dict[str, cohort.Row] = {}

    def run(self) -> Iterator[Entry]:
        entries = list(self._fingerprinted())
        since = self._begin([entry.name for entry in entries])
        self.rows = collect(self.batch.root, self.journal.history)
        tasks: list[Task] = []
        for place, entry in enumerate(entries):
            settled = self._settled(entry, since)
            if settled is None:
                tasks.append(self._task(place, entry))
            else:
                yield self._recorded(settled)
        self._write_table()
        if tasks:
            crew, limits = self.batch.workers(len(entries), self.journal.fileno())
            outcomes = run_tasks(tasks, crew, limits, begin=self._start, ended=self._ended)
            for outcome in outcomes:
                entry = entry_of(entries[outcome.place], outcome)
                yield self._recorded(entry, outcome)
                self._write_table()
        self.journal.end()
        with _told(self.batch.root / cohort.PAGE):
            cohort.write_page(self._table(), self.batch.root)

    def _fingerprinted(self) -> Iterator[Entry]:
        """The planned studies; one whose files are gone meanwhile has a fault."""
        from lvseg.read import quick_fingerprint

        model, settings = fingerprint_of(self.batch.work)
        for entry in self.planned:
            if entry.study is not None:
                try:
                    source = quick_fingerprint(entry.study.ref())
                except OSError as error:
                    yield replace(entry, study=None, fault=unreadable(entry.source, error))
                    continue
                chosen = with_sheet(settings, self.batch.work, entry.name)
                self.fingerprints[entry.name] = Fingerprint(source, model, chosen)
            yield entry

    def _begin(self, names: Sequence[str]) -> frozenset[str] | None:
        """Note that a run begins, unless it is the one that was interrupted.

        :returns: studies whose results count as done; None = all that have one.
        """
        history, overwrite = self.journal.history, self.batch.work.overwrite
        key = key_of(self.fingerprints, overwrite=overwrite)
        if history.ended or history.key != key:
            self.journal.run(key, names)
        return frozenset(self.journal.history.since) if overwrite else None

    def _settled(self, entry: Entry, since: frozenset[str] | None) -> Entry | None:
        """The entry of a study that is not to be done: it cannot be, or it is."""
        if entry.fault is not None:
            return _faulty(entry, entry.fault)
        if entry.folder is None or (since is not None and entry.name not in since):
            return None
        result = result_of(entry.folder)
        made = self.journal.history.made_by(entry.name, result)
        if result is None or made is None:
            return None  # free, or not ours to judge: `check_free` will
        other = self._differs(entry, made)
        if other and since is not None:
            return None
        if other:
            error = UsageError(
                f"expected the same {other} as in the result that is in {entry.folder}, found "
                "another one: use --overwrite to replace it, or choose another place"
            )
            return entry.failed(*explain(error))
        document = json.loads((entry.folder / MEASUREMENTS).read_text("utf-8"))
        if entry.name in self.journal.history.began:
            self.journal.done(entry.name, made, result)  # it stood, and nobody had said so
        return replace(entry, measurements=document, skipped=True)

    def _differs(self, entry: Entry, made: Fingerprint) -> str:
        from lvseg.read import byte_fingerprint

        own = self.fingerprints[entry.name]
        other = made.differs(own)
        if other == "source" and made.content is not None and entry.study is not None:
            own = replace(own, content=byte_fingerprint(entry.study.ref()))
        return made.differs(own)

    def _task(self, place: int, entry: Entry) -> Task:
        task = task_of(place, entry, overwrite=self.batch.work.overwrite)
        return replace(task, digest=True)

    def _start(self, task: Task) -> None:
        name = task.folder.name
        self.before[name] = result_of(task.folder)
        self.journal.start(name, self.fingerprints[name], self.before[name])

    def _ended(self, task: Task) -> Outcome | None:
        return _finished(task, self.before[task.folder.name])

    def _recorded(self, entry: Entry, outcome: Outcome | None = None) -> Entry:
        """Write how a study ended into the journal and the table; returns the entry."""
        name = entry.name
        if entry.left_out:
            return entry
        if entry.exit:
            self.journal.failed(
                name, entry.exit, without_paths(entry, self.batch.root), entry.seconds
            )
            self.rows[name] = _failed_row(self.journal.history, name)
            return entry
        if outcome is not None and entry.folder is not None:
            made = replace(self.fingerprints[name], content=outcome.content)
            self.journal.done(name, made, result_of(entry.folder) or "")
        self.rows[name] = cohort.study_row(name, entry.measurements or {})
        return entry

    def _table(self) -> list[cohort.Row]:
        rows = cohort.by_name(self.rows.values())
        sheet = self.batch.covariates
        return rows if sheet is None else cohort.joined(rows, sheet).rows

    def _write_table(self) -> None:
        path = self.batch.root / cohort.TABLE
        with _told(path):
            cohort.write_table(self._table(), path)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say what could not be written, and what to do."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or error}; check the space there, and give the "
            "same command again"
        ) from error


def task_of(place: int, entry: Entry, *, overwrite: bool) -> Task:
    """What a worker is to do for an entry that has a study."""
    if entry.study is None or entry.folder is None:
        raise ValueError(f"nothing to do for {entry.name}")
    return Task(place, entry.study, entry.folder, entry.label, alone=entry.alone, replace=overwrite)


def entry_of(entry: Entry, outcome: Outcome) -> Entry:
    """The entry with how it ended."""
    if outcome.left_out:
        return replace(entry, folder=None, error=outcome.error, left_out=True)
    entry = replace(entry, seconds=outcome.seconds)
    if outcome.exit:
        return entry.failed(outcome.error or "", outcome.exit, trace=outcome.trace)
    return replace(entry, measurements=outcome.measurements, lines=outcome.lines)


def without_paths(entry: Entry, root: Path) -> str:
    """Why a study failed, for files that others get: without the places on this machine."""
    text = entry.error or ""
    for place in (str(root / entry.name), entry.source, entry.source.partition(" + ")[0]):
        if place != Path(place).name:
            text = text.replace(place, entry.name)
    return text


def fingerprint_of(work: Work) -> tuple[str, str]:
    """Fingerprints of the model with its card, and of everything that was chosen for all studies.

    The sheet is not among it: :func:`with_sheet`.
    """
    from lvseg.model_store import verify
    from lvseg.predict import available_runtimes

    runtime = available_runtimes()[0] if work.runtime == "auto" else work.runtime
    shared = replace(work.settings, body=replace(work.settings.body, covariates=None))
    chosen = {
        "settings": shared.to_dict(),
        "options": asdict(work.options),
        "spacing_mm": work.spacing_mm,
        "runtime": runtime,
        "lvseg": __version__,
    }
    texts = (verify(work.model).to_json(), json_text(chosen))
    model, settings = (hashlib.sha256(text.encode()).hexdigest() for text in texts)
    return model, settings


def with_sheet(settings: str, work: Work, study: str) -> str:
    """The fingerprint of the settings with what the sheet says of the person of one study.

    It is the same where the sheet says nothing, so that a sheet may grow.
    """
    subject = subject_in_sheet(work.settings.body, study)
    if subject == UNKNOWN:
        return settings
    return hashlib.sha256(f"{settings} {json_text(asdict(subject))}".encode()).hexdigest()


def collect(root: Path, history: History | None = None) -> dict[str, cohort.Row]:
    """The rows of an output folder: its study folders, and what failed there last."""
    history = read_history(root) if history is None else history
    return cohort.read_rows(root, [_failed_row(history, name) for name in history.failed])


def _failed_row(history: History, name: str) -> cohort.Row:
    event = history.failed[name]
    return cohort.failed_row(name, event["exit"], event["error"], event.get("seconds"))


def _finished(task: Task, before: str | None) -> Outcome | None:
    """Tidy up after a worker that is gone; the outcome if its study stands all the same."""
    recover(task.folder.parent, task.folder.name)
    result = result_of(task.folder)
    if result is None or result == before:
        return None
    document = cohort.read_document(task.folder)
    return Outcome(
        task.place, measurements=document, lines=f"{task.folder.name}: done, {task.folder}"
    )


def _faulty(entry: Entry, fault: Exception) -> Entry:
    return entry.failed(*explain(fault), trace="".join(traceback.format_exception(fault)))
