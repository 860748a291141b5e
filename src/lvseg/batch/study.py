"""One study of a batch, from its files to its folder; a failure is an outcome, never raised."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from lvseg.batch.waiting import Waiting
from lvseg.errors import LabelMapError, StudyLimitError
from lvseg.failures import explain, unreadable
from lvseg.output import OutputOptions, check_free, write_study
from lvseg.settings import Settings

if TYPE_CHECKING:
    from lvseg.pipeline import Progress
    from lvseg.predict import Predictor, Runtime


@dataclass(frozen=True, slots=True)
class Work:
    """What every study of a batch shares; a worker gets it once.

    :param model: model folder. :param threads: of one worker; None = all cores.
    :param options: what to write of each study.
    :param memory_limit_bytes: that a worker may take; None = no limit.
    """

    model: Path
    runtime: Runtime = "auto"
    threads: int | None = None
    settings: Settings = field(default_factory=Settings)
    options: OutputOptions = field(default_factory=OutputOptions)
    spacing_mm: float | None = None
    overwrite: bool = False
    memory_limit_bytes: int | None = None
    debug: bool = False


@dataclass(frozen=True, slots=True)
class Task:
    """One study to do.

    :param place: in the plan. :param source: how messages name it.
    :param alone: its source holds no other study: a label map is an error then.
    :param replace: an earlier result in its folder goes.
    :param digest: take the fingerprint of its bytes.
    """

    place: int
    study: Waiting
    folder: Path
    source: str
    alone: bool = True
    replace: bool = False
    digest: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a study ended.

    :param exit: exit status; ``error`` says why it is not 0, or why the study was left out.
    :param lines: what to tell people. :param trace: where the error came from.
    :param content: fingerprint of the bytes of its source.
    """

    place: int
    exit: int = 0
    error: str | None = None
    measurements: dict[str, Any] | None = None
    left_out: bool = False
    lines: str = ""
    trace: str = ""
    content: str | None = None
    seconds: float | None = None


def open_worker(work: Work) -> Callable[[Task], Outcome]:
    """Load the model, once; returns what does a study with it.

    :raises ModelError: missing, altered or broken.
    """
    from lvseg.predict import load_model

    predictor = load_model(work.model, runtime=work.runtime, threads=work.threads)
    return lambda task: do_study(task, work, predictor)


def do_study(
    task: Task, work: Work, predictor: Predictor, progress: Progress | None = None
) -> Outcome:
    """Read a study, segment it, write its folder."""
    from lvseg.pipeline import run
    from lvseg.read import byte_fingerprint
    from lvseg.report.lines import summary_lines

    started = perf_counter()
    try:
        check_free(task.folder, overwrite=task.replace)
        ref = task.study.ref()
        how: dict[str, Any] = {"spacing_mm": work.spacing_mm, "name": task.folder.name}
        result = run(ref, predictor, work.settings, progress=progress, **how)
        content = byte_fingerprint(ref) if task.digest else None
        document = write_study(result, task.folder, work.options, ref, overwrite=task.replace)
    except Exception as failure:
        return _failed(task, work, failure, perf_counter() - started)
    return Outcome(
        task.place,
        measurements=document,
        lines=summary_lines(result, task.folder),
        content=content,
        seconds=perf_counter() - started,
    )


def _failed(task: Task, work: Work, failure: Exception, seconds: float) -> Outcome:
    if isinstance(failure, LabelMapError) and not task.alone:
        return Outcome(task.place, error=explain(failure)[0], left_out=True)
    told: Exception = failure
    if isinstance(failure, OSError):  # of the study: it is no defect of ours
        told = unreadable(task.source, failure)
    elif isinstance(failure, MemoryError):
        told = StudyLimitError.memory(task.source, work.memory_limit_bytes)
    text, status = explain(told)
    trace = "".join(traceback.format_exception(failure))
    return Outcome(task.place, status, text, trace=trace, seconds=seconds)
