"""Existing masks: NIfTI label images, DICOM Segmentations, label and black-and-white pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryMismatchError, ReadError
from lvseg.labels import Label
from lvseg.read.sources import HEAD_BYTES, Blob, Files, sniff

#: Labels that went through floating point may be off by rounding.
LABEL_TOLERANCE = 1e-3
#: In a black-and-white picture everything from here up is white (JPEG blurs the edge).
WHITE = 128


def read_mask(path: Path, *, like: Cine | None = None) -> Mask:
    """Read a mask of the left ventricle, 1 = cavity (:class:`lvseg.labels.Label`).

    NIfTI of two to four dimensions with our labels; DICOM Segmentation of any type; a picture of
    our labels, or of 0 and 255 = cavity. An empty mask is read as such.

    :param like: the cine that the mask belongs to; its geometry is taken over, its sizes must fit.
        A mask of one phase counts as phase 0 of it, but a DICOM Segmentation says itself which
        image each frame was drawn on.
    :raises ReadError: unreadable, or other labels. GeometryMismatchError: it does not fit.
    :raises UnsupportedEncodingError: no decoder for the pixels of a DICOM Segmentation.
    """
    if path.is_dir():
        raise ReadError(f"expected a mask file, found a folder at {path}: name the file")
    blob = Blob(path)
    with Files() as files:
        content = files.read(blob)
    kind = sniff(content[:HEAD_BYTES], blob.name)
    if kind == "dicom":
        from lvseg.read.segmentation import mask_from_segmentation

        return mask_from_segmentation(content, path, like)
    if kind is None:
        raise ReadError(
            f"expected a NIfTI, DICOM SEG or picture mask, found something else at {path}"
        )
    mask = _from_picture(content, path) if kind == "picture" else _from_nifti(content, path)
    return mask if like is None else _fitted(mask, like, path)


def _from_nifti(content: bytes, path: Path) -> Mask:
    from lvseg.read.nifti import cine_from_nifti

    volume = cine_from_nifti(content, name=path.name, location=str(path))
    labels = np.rint(volume.frames)
    found = np.unique(labels).tolist()
    if np.abs(labels - volume.frames).max() > LABEL_TOLERANCE or not set(found) <= set(Label):
        shown = ", ".join(f"{value:g}" for value in np.unique(volume.frames)[:6])
        ours = " and ".join(f"{label:d} ({label.word})" for label in Label if label)
        raise ReadError(
            f"expected the labels 0 and {ours}, found {shown} in {path}: keep these only"
        )
    return Mask(labels.astype(np.uint8), tuple(range(labels.shape[0])), volume.grid)


def _from_picture(content: bytes, path: Path) -> Mask:
    from lvseg.read.picture import decode

    values, _ = decode(content, str(path))
    return Mask(labels=_labels(values)[None, None], phases=(0,))


def _labels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Our labels as they are; anything brighter is black and white."""
    if values.max() <= max(Label):
        return values.clip(min=0).astype(np.uint8)
    return np.where(values >= WHITE, Label.LV_CAVITY, Label.BACKGROUND).astype(np.uint8)


def _fitted(mask: Mask, like: Cine, path: Path) -> Mask:
    phases = mask.labels.shape[0]
    if mask.labels.shape[1:] != like.shape[1:] or phases not in (1, like.shape[0]):
        raise GeometryMismatchError(
            f"expected a mask of {like.shape} [phase, slice, row, column] like the cine, found "
            f"{mask.labels.shape} in {path}: use the mask of this cine"
        )
    return replace(mask, grid=like.grid)
