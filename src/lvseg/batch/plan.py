"""Plan of a batch: which studies the sources hold, and a folder for each that no other has."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lvseg.atomic import recover
from lvseg.batch.waiting import Waiting
from lvseg.bounds import USUAL, ReadingLimits
from lvseg.errors import LvsegError, NotACineError, UsageError
from lvseg.failures import unreadable
from lvseg.issues import Issue
from lvseg.names import readable, told_apart

#: Exit status of a batch in which some studies failed.
BATCH_FAILED = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of a batch: what was asked, where it goes, how it ended.

    :param source: the source as the user wrote it; of a folder with several studies, the own one.
    :param name: of its folder; no other study of the batch has it.
    :param study: None when nothing could be found in the source; ``fault`` says why.
    :param alone: its source holds no other study.
    :param exit: exit status of this study alone.
    :param left_out: a label map among other files of its source: no study; ``error`` says why.
    :param skipped: an earlier run had finished it.
    :param lines: what to tell people.
    :param trace: where an error came from, for ``--debug``.
    """

    source: str
    name: str = ""
    study: Waiting | None = None
    folder: Path | None = None
    alone: bool = True
    fault: Exception | None = None
    exit: int = 0
    error: str | None = None
    measurements: dict[str, Any] | None = None
    left_out: bool = False
    skipped: bool = False
    lines: str = ""
    trace: str = ""
    seconds: float | None = None

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
            "study": self.name,
            "folder": None if self.folder is None else str(self.folder),
            "exit": self.exit,
            "error": self.error,
            "measurements": self.measurements,
        }

    def failed(self, text: str, status: int, *, trace: str = "") -> Entry:
        """The entry of a study that has no result.

        :param text: goes after the source where it does not name it.
        """
        where = "" if self.label in text else f"{self.label}: "
        return replace(self, folder=None, error=where + text, exit=status, trace=trace)


def plan(
    sources: Iterable[Path],
    root: Path,
    pair: tuple[Path, Path] | None = None,
    limits: ReadingLimits = USUAL,
    *,
    under_codes: bool = False,
) -> list[Entry]:
    """Every study of every source with the folder it will get, in the order given.

    Folders are named by as much of the paths of the studies as tells them apart. A source in which
    nothing is found gives one entry with its ``fault``.

    :param pair: files of end-diastole and end-systole, which are a study after the others.
    :param limits: of what is read.
    :param under_codes: codes stand for the names and paths of studies and sources.
    """
    from lvseg.read import coded, find_studies, pair_ref

    planned: list[Entry] = []
    for number, source in enumerate(sources, start=1):
        shown = f"source-{number}" if under_codes else readable(str(source))
        try:
            studies = find_studies(source, limits=limits)
        except OSError as error:
            planned.append(Entry(shown, fault=unreadable(shown, error)))
        except LvsegError as error:
            hidden = under_codes and str(source) in str(error)
            fault = type(error)(str(error).replace(str(source), shown)) if hidden else error
            planned.append(Entry(shown, fault=fault))
        except Exception as error:
            planned.append(Entry(shown, fault=error))
        else:
            alone = len(studies) == 1
            if under_codes:
                studies, shown = tuple(map(coded, studies)), coded(studies[0]).name
            planned += [
                Entry(
                    shown if alone else each.location or shown, study=Waiting.of(each), alone=alone
                )
                for each in studies
            ]
    if pair is not None:
        ref = coded(pair_ref(*pair)) if under_codes else pair_ref(*pair)
        planned.append(Entry(ref.location, study=Waiting.of(ref)))
    names = told_apart([_parts(entry) for entry in planned])
    return [
        replace(entry, name=name, folder=root / name if entry.study else None)
        for entry, name in zip(planned, names, strict=True)
    ]


def _parts(entry: Entry) -> tuple[str, ...]:
    """The parts of the path that name a study, found or not: it keeps its name when it is."""
    from lvseg.read.studies import source_parts

    if entry.study is not None:
        return entry.study.parts or (entry.study.name,)
    try:
        return source_parts(Path(entry.source))
    except OSError:  # a folder that may not be looked into, a name that is too long
        return Path(entry.source).absolute().parts[1:] or ("",)


def code_table(planned: Iterable[Entry]) -> str:
    """Which code stands for which source, as CSV: code, source, Study Instance UID."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("code", "source", "study_instance_uid"))
    for entry in planned:
        if entry.study is not None:
            study = entry.study.ref()
            writer.writerow((entry.name, study.origin, study.study_uid or ""))
    return text.getvalue()


def open_root(root: Path) -> None:
    """Make the output folder, and put back or remove what runs that were killed left in it.

    :raises UsageError: it is a file, or cannot be made or written.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            pass
        recover(root)
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
