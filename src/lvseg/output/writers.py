"""Writers of the output formats, by the names of :data:`lvseg.formats.FORMATS`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from lvseg.atomic import write_text
from lvseg.cine import Mask
from lvseg.issues import Issue

if TYPE_CHECKING:
    from lvseg.results import StudyResult


@dataclass(frozen=True, eq=False)
class WriteContext:
    """One study on its way to disk.

    :param folder: where its files go.
    :param seg_phases: one DICOM SEG of the whole cine, or one of each of ED and ES.
    :param fractional: the SEG holds probabilities instead of a mask.
    :param headers: gives SOP Instance UID -> header of the source images.
    :param segmentations: DICOM SEGs written so far, for the SR to refer to.
    """

    result: StudyResult
    folder: Path
    seg_phases: Literal["all", "ed-es"]
    fractional: bool
    headers: Callable[[], Mapping[str, Any]]
    segmentations: list[Path] = field(default_factory=list)


#: Writes one format; returns what it noticed, e.g. that no single affine fits the stack.
Writer = Callable[[WriteContext], tuple[Issue, ...]]


def _nifti(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_mask

    cine, path = context.result.cine, context.folder / "segmentation.nii.gz"
    mask, noticed = _of_all_phases(context.result)
    return noticed + write_mask(mask, path, cine.source, times_ms=cine.times_ms)


def _of_all_phases(result: StudyResult) -> tuple[Mask, tuple[Issue, ...]]:
    """The mask with every phase of its cine, which a file like the cine must have."""
    mask, phases = result.mask, result.cine.shape[0]
    if mask.phases == tuple(range(phases)):
        return mask, ()
    labels = np.zeros(result.cine.shape, np.uint8)
    labels[list(mask.phases)] = mask.labels
    text = (
        f"{len(mask.phases)} of {phases} phases are outlined: the others are empty in "
        "segmentation.nii.gz, and are no part of the volumes"
    )
    filled = replace(mask, labels=labels, phases=tuple(range(phases)))
    return filled, (Issue("phases-not-outlined", "info", text),)


def _seg_nrrd(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_seg_nrrd

    return write_seg_nrrd(context.result, context.folder / "segmentation.seg.nrrd")


def _label_description(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_label_description

    write_label_description(context.folder / "segmentation.label")
    return ()


def _contours(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_contours

    write_contours(context.result.mask, context.result.cine, context.folder / "contours.json")
    return ()


def _sunnybrook(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_contour_text

    folder, source_headers = context.folder / "contours", context.headers()
    return write_contour_text(context.result.mask, context.result.cine, folder, source_headers)[1]


def _png(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write import write_mask, write_overlay

    result, folder = context.result, context.folder
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


def _segmentation(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write.segmentation import SegOptions, write_segmentations

    options = SegOptions(phases=context.seg_phases, fractional=context.fractional)
    paths, noticed = write_segmentations(context.result, context.folder, context.headers(), options)
    context.segmentations.extend(paths)
    return noticed


def _structured_report(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.write.structured_report import write_structured_report

    path = context.folder / "report.dcm"
    return write_structured_report(context.result, path, context.headers(), context.segmentations)


def _report(context: WriteContext) -> tuple[Issue, ...]:
    from lvseg.report import to_html

    write_text(context.folder / "report.html", to_html(context.result))
    return ()


#: Format -> its writer.
WRITERS: Mapping[str, Writer] = MappingProxyType(
    {
        "nifti": _nifti,
        "seg-nrrd": _seg_nrrd,
        "itk-snap": _label_description,
        "png": _png,
        "contours": _contours,
        "sunnybrook": _sunnybrook,
        "dicom-seg": _segmentation,
        "dicom-sr": _structured_report,
        "report": _report,
    }
)
