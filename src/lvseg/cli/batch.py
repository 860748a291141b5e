"""Many studies, one after the other: names that never collide, folders that appear whole.

A study folder is built under a temporary name beside its place and moved there when everything in
it is written. A study that fails is recorded and the next one begins.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvseg.errors import ReadError, UsageError

if TYPE_CHECKING:
    from lvseg.read import StudyRef

__all__ = [
    "BATCH_FAILED",
    "Entry",
    "open_root",
    "plan",
    "safe_name",
    "status_of",
]

#: Exit status of a batch in which some studies failed.
BATCH_FAILED = 4
#: File systems stop at 255 bytes; suffixes and a number must fit too.
LONGEST_NAME = 100
#: Names that Windows keeps for devices.
RESERVED = frozenset(
    {"con", "prn", "aux", "nul"} | {f"{device}{i}" for device in ("com", "lpt") for i in range(10)}
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of a batch: what was asked, where it goes, how it ended.

    :param source: the source as the user wrote it.
    :param study: None when nothing could be found in the source; ``error`` says why.
    :param exit: exit status of this study alone.
    """

    source: str
    study: StudyRef | None = None
    folder: Path | None = None
    exit: int = 0
    error: str | None = None
    measurements: dict[str, Any] | None = None

    @property
    def label(self) -> str:
        """The source, and which study of it where its name does not tell."""
        name = "" if self.study is None else self.study.name
        return self.source if name in self.source else f"{self.source} ({name})"

    def document(self) -> dict[str, Any]:
        """Give the entry as ``segment --json`` prints it."""
        return {
            "source": self.source,
            "folder": None if self.folder is None else str(self.folder),
            "exit": self.exit,
            "error": self.error,
            "measurements": self.measurements,
        }


def safe_name(name: str) -> str:
    """Make a name that every file system takes as one path component.

    Letters and digits of any script, ``.``, ``_`` and ``-`` stay; the rest becomes ``_``. Dots at
    either end go, so a name is never hidden, ``.`` or ``..``. An empty name becomes ``study``.

    >>> safe_name("../My study: 1")
    '_My_study_1'
    """
    text = re.sub(r"[^\w.-]+", "_", name)[:LONGEST_NAME].strip(".")
    if text.strip("_-") == "":
        return "study"
    return f"{text}_" if text.split(".")[0].casefold() in RESERVED else text


def unique(name: str, taken: set[str]) -> str:
    """Return the name, or the name with -2, -3, ... if it is taken in any letter case; takes it.

    >>> taken = {"a"}
    >>> unique("A", taken), unique("a", taken)
    ('A-2', 'a-3')
    """
    candidate, number = name, 1
    while candidate.casefold() in taken:
        number += 1
        candidate = f"{name}-{number}"
    taken.add(candidate.casefold())
    return candidate


def plan(sources: Iterable[Path], root: Path) -> Iterator[tuple[Entry, Exception | None]]:
    """Every study of every source with the folder it will get, in the order given.

    A source in which nothing is found gives one entry with its error, and the exception.
    """
    from lvseg.read import find_studies

    taken: set[str] = set()
    for source in sources:
        try:
            studies = find_studies(source)
        except OSError as error:
            yield Entry(str(source)), unreadable(source, error)
        except Exception as error:
            yield Entry(str(source)), error
        else:
            for study in studies:
                folder = root / unique(safe_name(study.name), taken)
                shown = str(source) if len(studies) == 1 else study.location or str(source)
                yield Entry(shown, study, folder), None


def unreadable(source: object, error: OSError) -> ReadError:
    """Say as an error of ours why the system does not open a source."""
    reason = error.strerror or str(error)
    return ReadError(f"expected a readable source, found {source}: {reason}; check its permissions")


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


def as_read_error(entry: Entry, error: Exception) -> Exception:
    """Blame a system error while reading a study on the study: it is no defect of ours."""
    if isinstance(error, OSError):
        return unreadable(entry.source, error)
    return error
