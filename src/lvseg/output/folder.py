"""Study folders: the formats chosen for a result, written together under one name."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

from lvseg.atomic import atomic_folder, check_replaceable, write_text
from lvseg.errors import UsageError
from lvseg.formats import FORMATS, MEASUREMENTS, result_names
from lvseg.issues import Issue
from lvseg.output.checksums import write_manifest
from lvseg.output.writers import WRITERS, WriteContext

if TYPE_CHECKING:
    from lvseg.read import StudyRef
    from lvseg.results import StudyResult


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """What to write.

    :param names: of :data:`lvseg.formats.FORMATS`; None = what the source allows.
    :param seg_phases: one DICOM SEG of the whole cine, or one of each of ED and ES.
    :param fractional: the SEG holds probabilities instead of a mask.
    """

    names: tuple[str, ...] | None = None
    seg_phases: Literal["all", "ed-es"] = "all"
    fractional: bool = False


def chosen_formats(text: str | None) -> tuple[str, ...] | None:
    """Parse ``--formats``; None = not given: what the source allows.

    :raises UsageError: an unknown name.
    """
    if text is None:
        return None
    known = [each.name for each in FORMATS]
    names = {part.strip().lower() for part in text.split(",") if part.strip()}
    for name in sorted(names - set(known)):
        raise UsageError(f"expected --formats from {', '.join(known)}, found {name!r}")
    return tuple(name for name in known if name in names)


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse to write a study where something else is, or an earlier result is to stay.

    :raises UsageError: see :func:`lvseg.atomic.check_replaceable`.
    """
    check_replaceable(folder, MEASUREMENTS, overwrite=overwrite)


def write_study(
    result: StudyResult,
    folder: Path,
    options: OutputOptions | None = None,
    study: StudyRef | Path | None = None,
    *,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write one study folder, whole or not at all; returns the content of measurements.json.

    Files of the user in an earlier result are carried over; the manifest does not name them.

    :param study: where the result comes from; DICOM objects take their patient and study from it,
        or its code where it goes by one.
    :raises UsageError: a format that the source cannot have, or a folder that may not be replaced.
    """
    from lvseg.report import to_json

    started = perf_counter()
    owned = result_names(result.cine.source.name)
    replacing = atomic_folder(folder, MEASUREMENTS, overwrite=overwrite, owned=owned)
    with replacing as building, _no_collections():
        issues = (*result.issues, *_write(result, building, options or OutputOptions(), study))
        seconds = {**result.seconds, "write": perf_counter() - started}
        timed = replace(result, issues=issues, seconds=seconds)
        write_text(building / MEASUREMENTS, to_json(timed))
        write_manifest(building)
    return timed.to_dict()


def _write(
    result: StudyResult, folder: Path, options: OutputOptions, study: StudyRef | Path | None
) -> tuple[Issue, ...]:
    """Write every format; returns what the writers noticed and nobody had noticed before."""

    @cache
    def headers() -> Mapping[str, Any]:
        from lvseg.read import StudyRef, read_source_headers

        if study is None:
            return {}
        found = read_source_headers(study, result.cine)
        if not (isinstance(study, StudyRef) and study.origin):
            return found
        from lvseg.write.dicom import under_code

        return under_code(found, study.name)

    context = WriteContext(result, folder, options.seg_phases, options.fractional, headers)
    noticed: tuple[Issue, ...] = ()
    for name in _names(options, result.cine.source.format):
        known = {*context.result.issues}  # SEG and SR notice the same things in the source
        found = tuple(issue for issue in WRITERS[name](context) if issue not in known)
        noticed += found
        issues = (*context.result.issues, *found)
        context = replace(context, result=replace(context.result, issues=issues))
    return noticed


def _names(options: OutputOptions, source: str) -> tuple[str, ...]:
    """The formats to write for a kind of source, in the order of writing."""
    if options.names is None:
        return tuple(each.name for each in FORMATS if source in each.default)
    for each in FORMATS:
        if each.name in options.names and source not in each.sources:
            raise UsageError(f"--formats {each.name} needs {each.needs}, found a {source}")
    return tuple(each.name for each in FORMATS if each.name in options.names)


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
