"""Do studies one after the other; while one is worked on, the next is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lvseg.cli import batch
from lvseg.cli.output import Output, finding_lines
from lvseg.output import OutputOptions, check_free, write_study

if TYPE_CHECKING:
    from lvseg.cine import Study
    from lvseg.predict import Predictor
    from lvseg.results import LVMeasurements, StudyResult

__all__ = ["Work", "summary_line", "volumes_text"]

#: A study as it was planned, with the exception if nothing was found.
Planned = tuple[batch.Entry, Exception | None]


@dataclass(frozen=True, slots=True)
class Work:
    """What every study of a batch shares; ``tell``: print a line about each."""

    out: Output
    predictor: Predictor
    wanted: OutputOptions = field(default_factory=OutputOptions)
    spacing_mm: float | None = None
    overwrite: bool = False
    flips: bool = False
    tell: bool = True

    def finish_all(self, planned: Sequence[Planned], done: Callable[[batch.Entry], None]) -> None:
        """Do every study and tell how it went; a failure is recorded, never raised.

        At most two studies are held at once: one is worked on while the next is read.

        :param done: called with each study in order.
        """
        if not planned:
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, *planned[0])
            try:
                for place, (entry, _) in enumerate(planned):
                    reading = ahead
                    if place + 1 < len(planned):
                        ahead = reader.submit(self._read, *planned[place + 1])
                    done(self._finished(entry, reading))
            finally:
                ahead.cancel()

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
        check_free(entry.folder, overwrite=self.overwrite)
        return read_study(entry.study, spacing_mm=self.spacing_mm), perf_counter() - started

    def _finished(self, entry: batch.Entry, reading: Future[tuple[Study, float]]) -> batch.Entry:
        """Wait for the study, segment it, write it, and tell a person."""
        try:
            result, document = self._work(entry, reading)
        except Exception as failure:
            failure = batch.as_read_error(entry, failure)
            text, status = self.out.failed(failure, where=entry.label)
            return replace(entry, folder=None, error=text, exit=status)
        if self.tell:
            assert entry.folder is not None  # noqa: S101 - for mypy
            self.out.say(summary_line(result, entry.folder))
        return replace(entry, measurements=document)

    def _work(
        self, entry: batch.Entry, reading: Future[tuple[Study, float]]
    ) -> tuple[StudyResult, dict[str, Any]]:
        """What was found in a study, and the content of its measurements.json."""
        from lvseg.pipeline import run
        from lvseg.settings import Settings

        with self.out.progress(entry.folder.name if entry.folder else "") as bar:
            study, seconds = reading.result()
            settings = Settings(flips=self.flips, keep_probabilities=self.wanted.fractional)
            result = run(study, self.predictor, settings, progress=bar)
        result = replace(result, seconds={**result.seconds, "read": seconds})
        assert entry.folder is not None  # noqa: S101 - for mypy
        written = write_study(
            result, entry.folder, self.wanted, entry.study, overwrite=self.overwrite
        )
        return result, written


def summary_line(result: StudyResult, folder: Path) -> str:
    """One study for people: its size, volumes, verdict and place, then what to look at."""
    values = result.measurements
    phases, slices = result.cine.shape[:2]
    head = (
        f"{folder.name}: {slices} slices x {phases} phases, {volumes_text(values)}, "
        f"{result.verdict}, {folder}"
    )
    return "\n".join([head, *finding_lines(result.issues, all_of_them=False)])


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
