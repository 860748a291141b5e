"""Do studies one after the other: while one is predicted, the next is read, the last written."""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lvseg.cli import batch
from lvseg.cli.formats import Wanted, write_formats
from lvseg.cli.output import Output, finding_lines

if TYPE_CHECKING:
    from lvseg.cine import Study
    from lvseg.predict import Predictor
    from lvseg.read import StudyRef
    from lvseg.results import LVMeasurements, StudyResult

__all__ = ["Work", "summary_line", "volumes_text", "write_study"]

#: A study as it was planned, with the exception if nothing was found.
Planned = tuple[batch.Entry, Exception | None]
#: Told once a study is written: what was found, and the content of measurements.json.
Written = tuple["StudyResult", dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Work:
    """What every study of a batch shares; ``tell``: print a line about each."""

    out: Output
    predictor: Predictor
    wanted: Wanted = field(default_factory=Wanted)
    spacing_mm: float | None = None
    overwrite: bool = False
    tell: bool = True

    def finish_all(self, planned: Sequence[Planned], done: Callable[[batch.Entry], None]) -> None:
        """Do every study and tell how it went; a failure is recorded, never raised.

        At most three studies are held at once: one each that is read, predicted and written.

        :param done: called with each study in order; an interrupt still tells what was begun to be
            written.
        """
        if not planned:
            return
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
            ahead = reader.submit(self._read, *planned[0])
            begun = deque[tuple[batch.Entry, Future[Written]]]()
            try:
                for place, (entry, _) in enumerate(planned):
                    reading = ahead
                    if place + 1 < len(planned):
                        ahead = reader.submit(self._read, *planned[place + 1])
                    begun.append((entry, self._segmented(entry, reading, writer)))
                    while len(begun) > 1:
                        wait([begun[0][1]])  # an interrupt here leaves it in the queue
                        done(self._outcome(*begun.popleft()))
            finally:
                ahead.cancel()
                while begun:
                    done(self._outcome(*begun.popleft()))

    def finish(self, entry: batch.Entry, error: Exception | None = None) -> batch.Entry:
        """Do one study, see :meth:`finish_all`."""
        entries: list[batch.Entry] = []
        self.finish_all([(entry, error)], entries.append)
        return entries[0]

    def _read(self, entry: batch.Entry, error: Exception | None) -> tuple[Study, float]:
        """A study, and the seconds that took."""
        from lvseg.read import read_study

        started = perf_counter()
        if error is not None:
            raise error
        assert entry.study is not None  # noqa: S101 - for mypy
        assert entry.folder is not None  # noqa: S101 - for mypy
        batch.check_free(entry.folder, overwrite=self.overwrite)
        return read_study(entry.study, spacing_mm=self.spacing_mm), perf_counter() - started

    def _segmented(
        self,
        entry: batch.Entry,
        reading: Future[tuple[Study, float]],
        writer: ThreadPoolExecutor,
    ) -> Future[Written]:
        """Wait for the study, segment it, and hand the result to the writer."""
        from lvseg.pipeline import Settings, run

        try:
            with self.out.progress(entry.folder.name if entry.folder else "") as bar:
                study, seconds = reading.result()
                settings = Settings(keep_probabilities=self.wanted.fractional)
                result = run(study, self.predictor, settings, progress=bar)
            result = replace(result, seconds={**result.seconds, "read": seconds})
            return writer.submit(self._write, entry, result)
        except Exception as failure:
            failed: Future[Written] = Future()
            failed.set_exception(failure)
            return failed

    def _write(self, entry: batch.Entry, result: StudyResult) -> Written:
        assert entry.folder is not None  # noqa: S101 - for mypy
        return result, write_study(result, entry.folder, self.wanted, entry.study)

    def _outcome(self, entry: batch.Entry, writing: Future[Written]) -> batch.Entry:
        try:
            result, document = writing.result()
        except Exception as failure:
            failure = batch.as_read_error(entry, failure)
            text, status = self.out.failed(failure, where=entry.label)
            return replace(entry, folder=None, error=text, exit=status)
        if self.tell:
            assert entry.folder is not None  # noqa: S101 - for mypy
            self.out.say(summary_line(result, entry.folder))
        return replace(entry, measurements=document)


def write_study(
    result: StudyResult, folder: Path, wanted: Wanted, study: StudyRef | None = None
) -> dict[str, Any]:
    """Write one study folder, whole or not at all; returns the content of measurements.json.

    :param study: where the result comes from.
    """
    from lvseg.report import measurements_document, to_json
    from lvseg.write import write_text

    started = perf_counter()
    with batch.study_folder(folder) as building, _no_collections():
        findings = (*result.findings, *write_formats(result, building, wanted, study))
        seconds = {**result.seconds, "write": perf_counter() - started}
        timed = replace(result, findings=findings, seconds=seconds)
        write_text(building / batch.MEASUREMENTS, to_json(timed))
    return measurements_document(timed)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Put off the search for cycles, which would walk the many small DICOM objects often."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def summary_line(result: StudyResult, folder: Path) -> str:
    """One study for people: its size, volumes, verdict and place, then what to look at."""
    values = result.measurements
    phases, slices = result.cine.shape[:2]
    head = (
        f"{folder.name}: {slices} slices x {phases} phases, {volumes_text(values)}, "
        f"{result.verdict}, {folder}"
    )
    return "\n".join([head, *finding_lines(result.findings, all_of_them=False)])


def volumes_text(values: LVMeasurements) -> str:
    """EDV, ESV and EF with their units; what is not known says so."""
    parts = []
    for name, value, unit in (
        ("EDV", values.edv_ml, "ml"),
        ("ESV", values.esv_ml, "ml"),
        ("EF", values.ef_percent, "%"),
    ):
        parts.append(f"{name} unknown" if value is None else f"{name} {value:.1f} {unit}")
    return ", ".join(parts)
