"""Many studies, one after the other: names that never collide, folders that appear whole.

A study folder is built under a temporary name beside its place and moved there when everything in
it is written. A study that fails is recorded and the next one begins. While one is worked on, the
next is read.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cli.output import Output, finding_lines, one_line, volumes_text
from lvseg.errors import LabelMapError, LvsegError, NotACineError, ReadError, UsageError
from lvseg.issues import Issue
from lvseg.names import readable, told_apart
from lvseg.output import OutputOptions, check_free, write_study

if TYPE_CHECKING:
    from lvseg.cine import Study
    from lvseg.predict import Predictor
    from lvseg.read import StudyRef
    from lvseg.results import StudyResult
    from lvseg.settings import Settings

#: Exit status of a batch in which some studies failed.
BATCH_FAILED = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of a batch: what was asked, where it goes, how it ended.

    :param source: the source as the user wrote it.
    :param study: None when nothing could be found in the source; ``error`` says why.
    :param alone: its source holds no other study.
    :param exit: exit status of this study alone.
    :param left_out: a label map among other files of its source: no study; ``error`` says why.
    """

    source: str
    study: StudyRef | None = None
    folder: Path | None = None
    alone: bool = True
    exit: int = 0
    error: str | None = None
    measurements: dict[str, Any] | None = None
    left_out: bool = False

    @property
    def label(self) -> str:
        """The source, and which study of it where its name does not tell."""
        name = "" if self.study is None else self.study.name
        return self.source if name in self.source else f"{self.source} ({name})"

    def document(self) -> dict[str, Any]:
        """Give the entry as ``segment --json`` prints it; a file left out is a finding."""
        if self.left_out:
            return Issue("label-map", "info", f"left out: {self.error}").to_dict()
        return {
            "source": self.source,
            "folder": None if self.folder is None else str(self.folder),
            "exit": self.exit,
            "error": self.error,
            "measurements": self.measurements,
        }


#: A study as it was planned, with the exception if nothing was found.
Planned = tuple[Entry, Exception | None]


def plan(
    sources: Iterable[Path],
    root: Path,
    pair: tuple[Path, Path] | None = None,
    limits: ReadingLimits = USUAL,
    *,
    under_codes: bool = False,
) -> list[Planned]:
    """Every study of every source with the folder it will get, in the order given.

    Folders are named by as much of the paths of the studies as tells them apart. A source in which
    nothing is found gives one entry with its error, and the exception.

    :param pair: files of end-diastole and end-systole, which are a study after the others.
    :param limits: of what is read.
    :param under_codes: codes stand for the names and paths of studies and sources.
    """
    from lvseg.read import coded, find_studies, pair_ref

    planned: list[Planned] = []
    for number, source in enumerate(sources, start=1):
        shown = f"source-{number}" if under_codes else readable(str(source))
        try:
            studies = find_studies(source, limits=limits)
        except OSError as error:
            planned.append((Entry(shown), unreadable(shown, error)))
        except LvsegError as error:
            told = str(error).replace(str(source), shown) if under_codes else str(error)
            planned.append((Entry(shown), type(error)(told)))
        except Exception as error:
            planned.append((Entry(shown), error))
        else:
            alone = len(studies) == 1
            if under_codes:
                studies, shown = tuple(map(coded, studies)), coded(studies[0]).name
            planned += [
                (Entry(shown if alone else each.location or shown, each, alone=alone), None)
                for each in studies
            ]
    if pair is not None:
        ref = coded(pair_ref(*pair)) if under_codes else pair_ref(*pair)
        planned.append((Entry(ref.location, ref), None))
    found = [entry.study.parts or (entry.study.name,) for entry, _ in planned if entry.study]
    names = iter(told_apart(found))
    return [
        (replace(entry, folder=root / next(names)) if entry.study else entry, error)
        for entry, error in planned
    ]


def code_table(planned: Iterable[Planned]) -> str:
    """Which code stands for which source, as CSV: code, source, Study Instance UID."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("code", "source", "study_instance_uid"))
    for entry, _ in planned:
        if entry.study is not None and entry.folder is not None:
            study = entry.study
            writer.writerow((entry.folder.name, study.origin, study.study_uid or ""))
    return text.getvalue()


def open_root(root: Path) -> None:
    """Make the output folder.

    :raises UsageError: it is a file, or cannot be made or written.
    """
    probe = root / f".lvseg-{secrets.token_hex(4)}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        reason = "it is a file" if root.is_file() else error.strerror
        raise UsageError(
            f"expected an output folder that can be written, found {root}: {reason}; "
            "choose another with -o"
        ) from error


def status_of(entries: Sequence[Entry]) -> int:
    """0 when all is done; a lone study ends with its own status, a batch with some failed with 4.

    >>> status_of([Entry("a"), Entry("b", exit=3)])
    4
    """
    if len(entries) == 1:
        return entries[0].exit
    return BATCH_FAILED if any(entry.exit for entry in entries) else 0


def studies_of(entries: Sequence[Entry]) -> list[Entry]:
    """Give the entries without those that were left out.

    :raises NotACineError: all of them were.
    """
    studies = [entry for entry in entries if not entry.left_out]
    if entries and not studies:
        raise NotACineError(
            f"expected images, found {len(entries)} label maps and nothing else (first: "
            f"{entries[0].source}): give the images that they were drawn on"
        )
    return studies


@dataclass(frozen=True, slots=True)
class Batch:
    """What every study of a batch shares.

    :param options: what to write of each.
    :param tell: print a line about each.
    """

    out: Output
    predictor: Predictor
    settings: Settings
    options: OutputOptions = field(default_factory=OutputOptions)
    spacing_mm: float | None = None
    overwrite: bool = False
    tell: bool = True

    def run(self, planned: Sequence[Planned]) -> Iterator[Entry]:
        """Do every study in order and tell how it went; a failure is recorded, never raised.

        At most two studies are held at once: one is worked on while the next is read.
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
                    yield self._finished(entry, reading)
            finally:
                ahead.cancel()

    def _read(self, entry: Entry, error: Exception | None) -> tuple[Study, float]:
        """A study, and the seconds that took."""
        from lvseg.read import read_study

        started = perf_counter()
        if error is not None:
            raise error
        assert entry.study is not None  # noqa: S101 - for mypy
        assert entry.folder is not None  # noqa: S101 - for mypy
        check_free(entry.folder, overwrite=self.overwrite)
        return read_study(entry.study, spacing_mm=self.spacing_mm), perf_counter() - started

    def _finished(self, entry: Entry, reading: Future[tuple[Study, float]]) -> Entry:
        """Wait for the study, segment it, write it, and tell a person."""
        try:
            from lvseg.pipeline import run

            with self.out.progress(entry.folder.name if entry.folder else "") as bar:
                study, seconds = reading.result()
                assert entry.folder is not None  # noqa: S101 - for mypy
                result = run(study, self.predictor, self.settings, progress=bar)
            result = replace(result, seconds={**result.seconds, "read": seconds})
            document = write_study(
                result, entry.folder, self.options, entry.study, overwrite=self.overwrite
            )
        except Exception as failure:
            if isinstance(failure, LabelMapError) and not entry.alone:
                return replace(entry, folder=None, error=one_line(failure), left_out=True)
            if isinstance(failure, OSError):  # of the study: it is no defect of ours
                failure = unreadable(entry.source, failure)
            text, status = self.out.failed(failure, where=entry.label)
            return replace(entry, folder=None, error=text, exit=status)
        if self.tell:
            self.out.say(summary_line(result, entry.folder))
        return replace(entry, measurements=document)


def summary_line(result: StudyResult, folder: Path) -> str:
    """One study for people: its size, volumes, verdict and place, then what to look at."""
    values = result.measurements
    phases, slices = result.cine.shape[:2]
    head = (
        f"{folder.name}: {slices} slices x {phases} phases, {volumes_text(values)}, "
        f"{result.verdict}, {folder}"
    )
    return "\n".join([head, *finding_lines(result.issues, all_of_them=False)])


def unreadable(source: object, error: OSError) -> ReadError:
    """Say as an error of ours why the system does not open a source."""
    reason = error.strerror or str(error)
    return ReadError(f"expected a readable source, found {source}: {reason}; check its permissions")
