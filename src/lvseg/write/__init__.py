"""Writers of result files; every file appears whole or not at all (:mod:`lvseg.atomic`).

DICOM is written by :mod:`lvseg.write.segmentation` and :mod:`lvseg.write.structured_report`, which
load pydicom and highdicom and are therefore not imported here.
"""

from __future__ import annotations

from pathlib import Path

from lvseg.cine import Mask, Source
from lvseg.errors import UsageError
from lvseg.issues import Issue
from lvseg.write.contours import write_contour_text, write_contours
from lvseg.write.nifti import write_cine_nifti, write_nifti_mask
from lvseg.write.nrrd import write_label_description, write_seg_nrrd
from lvseg.write.pictures import write_overlay, write_picture_mask

__all__ = [
    "write_cine_nifti",
    "write_contour_text",
    "write_contours",
    "write_label_description",
    "write_mask",
    "write_overlay",
    "write_picture_mask",
    "write_seg_nrrd",
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
