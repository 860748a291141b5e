"""What `lvseg segment` writes for a study, by the names of ``--formats``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from lvseg.errors import UsageError
from lvseg.findings import Finding

if TYPE_CHECKING:
    from lvseg.results import StudyResult

__all__ = ["LATER", "WRITERS", "chosen_formats", "write_formats"]

#: What a writer noticed, e.g. that no single affine fits the stack.
Findings = tuple[Finding, ...]
#: Promised by the file-format contract, not written by this version.
LATER = ("dicom-seg", "dicom-sr", "report")


def _nifti(result: StudyResult, folder: Path) -> Findings:
    from lvseg.write import write_mask

    cine, path = result.cine, folder / "segmentation.nii.gz"
    return write_mask(result.mask, path, cine.source, times_ms=cine.times_ms)


def _contours(result: StudyResult, folder: Path) -> Findings:
    from lvseg.write import write_contours

    write_contours(result.mask, result.cine, folder / "contours.json")
    return ()


def _png(result: StudyResult, folder: Path) -> Findings:
    from lvseg.write import write_mask, write_overlay

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


#: name -> the function that writes it into a study folder.
WRITERS: Mapping[str, Callable[[StudyResult, Path], Findings]] = MappingProxyType(
    {"nifti": _nifti, "png": _png, "contours": _contours}
)


def chosen_formats(text: str | None) -> tuple[str, ...] | None:
    """Parse ``--formats``; None = not given: what the source allows.

    :raises UsageError: an unknown name, or one of a later version.
    """
    if text is None:
        return None
    names = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    known = ", ".join(WRITERS)
    for name in names:
        if name in LATER:
            raise UsageError(f"--formats {name} is not available in this version; it has {known}")
        if name not in WRITERS:
            raise UsageError(f"expected --formats from {known}, found {name!r}")
    return names


def write_formats(result: StudyResult, folder: Path, formats: tuple[str, ...] | None) -> Findings:
    """Write the chosen formats; without a choice a picture gets PNG and the rest gets all.

    :returns: what the writers noticed.
    :raises UsageError: a NIfTI is asked for a picture, which has no place in space.
    """
    picture = result.cine.source.format == "picture"
    if picture and "nifti" in (formats or ()):
        raise UsageError("--formats nifti needs a place in space, a picture has none; use png")
    noticed: Findings = ()
    for name in formats or (("png",) if picture else tuple(WRITERS)):
        noticed += WRITERS[name](result, folder)
    return noticed
