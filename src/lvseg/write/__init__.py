"""Results on disk. Every file appears whole or not at all (:mod:`lvseg.atomic`)."""

from __future__ import annotations

from pathlib import Path

from lvseg.cine import Mask, Source
from lvseg.errors import UsageError
from lvseg.issues import Issue
from lvseg.write.contour_text import write_contour_text
from lvseg.write.contours import write_contours
from lvseg.write.dicom import write_dicom_cine
from lvseg.write.nifti import write_cine_nifti, write_nifti_mask
from lvseg.write.pictures import write_overlay, write_picture_mask
from lvseg.write.segmentation import SegOptions, write_segmentations
from lvseg.write.structured_report import write_structured_report

__all__ = [
    "SegOptions",
    "write_cine_nifti",
    "write_contour_text",
    "write_contours",
    "write_dicom_cine",
    "write_mask",
    "write_overlay",
    "write_picture_mask",
    "write_segmentations",
    "write_structured_report",
]


def write_mask(
    mask: Mask, path: Path, source: Source, *, times_ms: tuple[float, ...] | None = None
) -> tuple[Issue, ...]:
    """Write a mask in the format the suffix names: ``.nii``, ``.nii.gz`` or ``.png``.

    :param source: of the cine the mask was made from; a NIfTI source gives shape and affine.
    :param times_ms: of the cine, for the time step of a 4D NIfTI.
    :returns: what the format could not hold (:func:`lvseg.write.nifti.write_nifti_mask`).
    :raises UsageError: another suffix.
    :raises GeometryMismatchError: a mask that does not fit the source, or more than one picture.
    """
    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        return write_nifti_mask(mask, path, source, times_ms)
    if name.endswith(".png"):
        write_picture_mask(mask, path)
        return ()
    raise UsageError(f"expected a mask name ending in .nii.gz, .nii or .png, found {path.name}")
