"""What `lvseg segment` writes for a study, by the names of ``--formats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from lvseg.errors import UsageError
from lvseg.issues import Issue

if TYPE_CHECKING:
    from lvseg.read import StudyRef
    from lvseg.results import StudyResult

__all__ = ["WRITERS", "Wanted", "chosen_formats", "write_formats"]

#: What a writer noticed, e.g. that no single affine fits the stack.
Findings = tuple[Issue, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to write.

    :param names: of :data:`WRITERS`; None = what the source allows.
    :param seg_phases: one DICOM SEG of the whole cine, or one of each of ED and ES.
    :param fractional: the SEG holds probabilities instead of a mask.
    """

    names: tuple[str, ...] | None = None
    seg_phases: Literal["all", "ed-es"] = "all"
    fractional: bool = False


@dataclass(frozen=True, eq=False)
class _Job:
    """One study on its way to disk."""

    result: StudyResult
    folder: Path
    wanted: Wanted
    headers: Callable[[], Mapping[str, Any]]  # of the source images
    written: list[Path] = field(default_factory=list)  # DICOM SEGs, for the SR to refer to


def _nifti(job: _Job) -> Findings:
    from lvseg.write import write_mask

    cine, path = job.result.cine, job.folder / "segmentation.nii.gz"
    return write_mask(job.result.mask, path, cine.source, times_ms=cine.times_ms)


def _contours(job: _Job) -> Findings:
    from lvseg.write import write_contours

    write_contours(job.result.mask, job.result.cine, job.folder / "contours.json")
    return ()


def _sunnybrook(job: _Job) -> Findings:
    from lvseg.write import write_contour_text

    folder, originals = job.folder / "contours", job.headers()
    return write_contour_text(job.result.mask, job.result.cine, folder, originals)[1]


def _png(job: _Job) -> Findings:
    from lvseg.write import write_mask, write_overlay

    result, folder = job.result, job.folder
    cine, mask, source = result.cine, result.mask, result.cine.source
    if source.format == "picture":
        write_mask(mask, folder / f"{source.name}_mask.png", source)
        write_overlay(cine, mask, folder / f"{source.name}_overlay.png")
        return ()
    phases = result.measurements.phases
    found = {"ed": phases.end_diastole, "es": phases.end_systole}
    named = {name: phase for name, phase in found.items() if phase is not None}
    titles = {"ed": "end-diastole", "es": "end-systole"}
    for name, phase in (named or {"phase0": 0}).items():
        path = folder / "overlays" / f"{name}.png"
        write_overlay(cine, mask, path, phase=phase, title=titles.get(name, ""))
    return ()


def _segmentation(job: _Job) -> Findings:
    from lvseg.write import SegOptions, write_segmentations

    options = SegOptions(phases=job.wanted.seg_phases, fractional=job.wanted.fractional)
    paths, noticed = write_segmentations(job.result, job.folder, job.headers(), options)
    job.written.extend(paths)
    return noticed


def _structured_report(job: _Job) -> Findings:
    from lvseg.write import write_structured_report

    path = job.folder / "report.dcm"
    return write_structured_report(job.result, path, job.headers(), job.written)


def _report(job: _Job) -> Findings:
    from lvseg.atomic import write_text
    from lvseg.report import to_html

    write_text(job.folder / "report.html", to_html(job.result))
    return ()


#: name -> the function that writes it into a study folder, in the order of writing: the two
#: reports come last and tell what the others noticed.
WRITERS: Mapping[str, Callable[[_Job], Findings]] = MappingProxyType(
    {
        "nifti": _nifti,
        "png": _png,
        "contours": _contours,
        "sunnybrook": _sunnybrook,
        "dicom-seg": _segmentation,
        "dicom-sr": _structured_report,
        "report": _report,
    }
)
#: What each kind of source gets without a choice.
DEFAULTS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "picture": ("png",),
        "dicom": ("nifti", "png", "contours", "dicom-seg", "dicom-sr", "report"),
    }
)
_OTHERS = ("nifti", "png", "contours", "report")
#: Formats that need more than some sources have, and what that is.
_NEEDS_PLACE = ("nifti",)
_NEEDS_DICOM = ("dicom-seg", "dicom-sr")


def chosen_formats(text: str | None) -> tuple[str, ...] | None:
    """Parse ``--formats``; None = not given: what the source allows.

    :raises UsageError: an unknown name.
    """
    if text is None:
        return None
    names = {part.strip().lower() for part in text.split(",") if part.strip()}
    for name in sorted(names - set(WRITERS)):
        raise UsageError(f"expected --formats from {', '.join(WRITERS)}, found {name!r}")
    return tuple(name for name in WRITERS if name in names)


def write_formats(
    result: StudyResult,
    folder: Path,
    wanted: Wanted | None = None,
    study: StudyRef | Path | None = None,
) -> Findings:
    """Write the chosen formats; without a choice what the source allows.

    :param study: where the result comes from; DICOM objects take their patient and study from it.
    :returns: what the writers noticed.
    :raises UsageError: a format that the source cannot have.
    """
    wanted, kind = wanted or Wanted(), result.cine.source.format
    if wanted.names is not None:
        _check(wanted.names, kind)
    names = DEFAULTS.get(kind, _OTHERS) if wanted.names is None else wanted.names
    noticed: Findings = ()

    @cache
    def headers() -> Mapping[str, Any]:
        from lvseg.read import original_headers

        return {} if study is None else original_headers(study, result.cine)

    job = _Job(result, folder, wanted, headers)
    for name in names:
        told = {*job.result.issues}  # SEG and SR notice the same things in the source
        found = tuple(issue for issue in WRITERS[name](job) if issue not in told)
        noticed += found
        job = replace(job, result=replace(job.result, issues=(*job.result.issues, *found)))
    return noticed


def _check(names: tuple[str, ...], kind: str) -> None:
    for name in names:
        if kind == "picture" and name in _NEEDS_PLACE:
            raise UsageError("--formats nifti needs a place in space, a picture has none; use png")
        if kind != "dicom" and name in _NEEDS_DICOM:
            raise UsageError(f"--formats {name} needs a DICOM source, found a {kind}")
