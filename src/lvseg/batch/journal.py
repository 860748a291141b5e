"""Journal of a batch: what began and how it ended, JSON lines that are only ever appended.

Events, each with a time (``at``):

- ``run``: a batch began; its ``key`` and the ``studies`` it is to do.
- ``start``: a study began; its ``fingerprint`` and what was in its folder ``before``.
- ``done``: its folder stands; the ``result`` is that of :func:`result_of`.
- ``failed``: ``exit``, ``error``, ``seconds``.
- ``end``: the batch has tried every study.

A process may be killed between any two bytes. A line cut off is no event. A folder that stands
without its ``done`` is known by its ``start``: it is another result than the one ``before``.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from types import TracebackType
from typing import Any, Self

from lvseg.errors import UsageError
from lvseg.formats import MEASUREMENTS
from lvseg.json_text import json_text

#: Its name in the output folder.
JOURNAL = "journal.jsonl"
#: Seconds to wait for the workers of a run that was killed; they end with it.
WAIT_S = 5.0
_LOOK_S = 0.05

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What a result depends on, as hashes.

    :param source: names, sizes and times of the files; :param content: their bytes, where taken.
    """

    source: str
    model: str
    settings: str
    content: str | None = None

    def differs(self, other: Fingerprint) -> str:
        """What is not the same, as a word: model, settings or source; empty where all is.

        Files that were copied have other times: then their bytes decide, where both are known.
        """
        if self.model != other.model:
            return "model"
        if self.settings != other.settings:
            return "settings"
        same_bytes = self.content is not None and self.content == other.content
        return "" if self.source == other.source or same_bytes else "source"


@dataclass(slots=True)
class History:
    """What the events of a journal say about each study.

    :param done: study -> fingerprint and result. :param began: study -> fingerprint and the result
        ``before``, of studies that began and of which no end is told.
    :param failed: study -> its last event, if that tells of a failure; of studies that the last
        batch was to do, and of single ones after it.
    :param key: of the last run; :param ended: it tried all of its studies; :param since: those that
        began in it.
    """

    done: dict[str, tuple[Fingerprint, str]] = field(default_factory=dict)
    began: dict[str, tuple[Fingerprint, str | None]] = field(default_factory=dict)
    failed: dict[str, Event] = field(default_factory=dict)
    key: str = ""
    ended: bool = True
    since: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Self:
        """Replay a journal; an event that lacks what it should have is as if it were not there."""
        history = cls()
        for event in events:
            try:
                history._add(event)
            except (KeyError, TypeError, ValueError):
                continue
        return history

    def _add(self, event: Event) -> None:
        kind = event["event"]
        if kind == "run":
            self.key, studies = str(event["key"]), set(event["studies"])
            self.ended, self.since = False, set()
            if len(studies) > 1:  # what a whole batch leaves out is no longer wanted
                self.failed = {name: each for name, each in self.failed.items() if name in studies}
        elif kind == "end":
            self.ended = True
        elif kind == "start":
            name, fingerprint = str(event["study"]), Fingerprint(**event["fingerprint"])
            self.began[name] = fingerprint, event["before"]
            self.since.add(name)
            self.failed.pop(name, None)
        elif kind == "done":
            name, fingerprint = str(event["study"]), Fingerprint(**event["fingerprint"])
            self.done[name] = fingerprint, str(event["result"])
            self.began.pop(name, None)
        elif kind == "failed":
            name = str(event["study"])
            self.failed[name] = event | {"exit": int(event["exit"]), "error": str(event["error"])}
            self.began.pop(name, None)

    def made_by(self, name: str, result: str | None) -> Fingerprint | None:
        """What the result that is in the folder of a study now was made from; None = not known.

        :param result: see :func:`result_of`.
        """
        if result is None:
            return None
        fingerprint, before = self.began.get(name, (None, result))
        if before != result:
            return fingerprint
        fingerprint, known = self.done.get(name, (None, ""))
        return fingerprint if known == result else None


def parse(content: bytes) -> list[Event]:
    """The events of a journal; what is no JSON object on a line of its own is left out."""
    events = []
    for line in content.split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:  # cut off, or bytes that are no text
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def read_history(root: Path) -> History:
    """What the journal of an output folder says; without a journal, nothing."""
    try:
        return History.of(parse((root / JOURNAL).read_bytes()))
    except FileNotFoundError:
        return History()


def result_of(folder: Path) -> str | None:
    """SHA-256 of the measurements in a study folder; None = there are none."""
    try:
        return hashlib.sha256((folder / MEASUREMENTS).read_bytes()).hexdigest()
    except (FileNotFoundError, NotADirectoryError):
        return None


def key_of(fingerprints: Mapping[str, Fingerprint], *, overwrite: bool) -> str:
    """What tells that the same command was given again."""
    lines = [f"{name} {each.source}" for name, each in sorted(fingerprints.items())]
    shared = sorted({f"{each.model} {each.settings}" for each in fingerprints.values()})
    return hashlib.sha256("\n".join([f"{overwrite}", *shared, *lines]).encode()).hexdigest()


class Journal:
    """The journal of an output folder, open and locked: no other run writes there meanwhile.

    :raises UsageError: another run has it, or the system refuses.
    """

    def __init__(self, root: Path) -> None:
        path = root / JOURNAL
        try:
            self._file = path.open("ab+")
            try:
                _lock(self._file.fileno(), root)
                self._file.seek(0)
                content = self._file.read()
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise UsageError(
                f"expected a journal that can be written, found {path}: {error.strerror}; choose "
                "another output folder"
            ) from error
        self.history = History.of(parse(content))
        self._torn = content[-1:] not in (b"", b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def fileno(self) -> int:
        """The descriptor that holds the lock; a worker that inherits it holds the lock too."""
        return self._file.fileno()

    def run(self, key: str, studies: Iterable[str]) -> None:
        """A batch begins."""
        self._append("run", key=key, studies=list(studies))

    def start(self, study: str, fingerprint: Fingerprint, before: str | None) -> None:
        """A study begins."""
        self._append("start", study=study, fingerprint=asdict(fingerprint), before=before)

    def done(self, study: str, fingerprint: Fingerprint, result: str) -> None:
        """The folder of a study stands."""
        self._append("done", study=study, fingerprint=asdict(fingerprint), result=result)

    def failed(self, study: str, status: int, error: str, seconds: float | None) -> None:
        """A study has no result."""
        self._append("failed", study=study, exit=status, error=error, seconds=seconds)

    def end(self) -> None:
        """Every study was tried."""
        self._append("end")

    def _append(self, event: str, **more: Any) -> None:
        """One line, on disk before this returns; after a line cut off, one of its own."""
        found = {"event": event, "at": datetime.now(UTC).isoformat(timespec="seconds"), **more}
        line = json_text(found).encode() + b"\n"
        try:
            self._file.write(b"\n" + line if self._torn else line)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise UsageError(
                f"cannot write the journal {self._file.name}: {error.strerror}; check the space "
                "there, and give the same command again"
            ) from error
        self._torn = False
        self.history._add(json.loads(line))


def _lock(descriptor: int, root: Path) -> None:
    """Take the lock of a journal (flock), which ends with the processes that hold it.

    :raises UsageError: another run has it, and keeps it for :data:`WAIT_S`.
    """
    try:
        import fcntl
    except ImportError:  # a system without
        return
    until = monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if monotonic() > until:
                raise UsageError(
                    f"expected {root} to itself, found another run of lvseg that writes there: "
                    "wait for its end, or choose another output folder with -o"
                ) from error
        except OSError:  # a file system without
            return
        sleep(_LOOK_S)
