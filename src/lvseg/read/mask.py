"""Existing masks: NIfTI label images, DICOM Segmentations, contours, pictures of labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lvseg.bounds import USUAL, ReadingLimits
from lvseg.cine import Cine, Mask
from lvseg.contour_files import numbered_contours
from lvseg.errors import GeometryMismatchError, ReadError, UsageError
from lvseg.issues import Issue
from lvseg.labels import Label, remap
from lvseg.read.nifti import HEADER_BYTES, cine_from_nifti, stated_bytes
from lvseg.read.nifti_geometry import PLACES_DISAGREE
from lvseg.read.nrrd import is_nrrd, mask_from_seg_nrrd
from lvseg.read.sources import HEAD_BYTES, Files, blob_of, sniff
from lvseg.resampling import onto_grid

#: Labels that went through floating point may be off by rounding.
LABEL_TOLERANCE = 1e-3
#: In a black-and-white picture everything from here up is white (JPEG blurs the edge).
WHITE = 128
#: The value of white: beside 0 alone it is the cavity in a file of any kind.
PURE_WHITE = 255
#: An array of two to this many values holds labels; no image of a scanner has so few greys.
MOST_LABEL_VALUES = 5
#: So many values are named in a message.
SHOWN_VALUES = 8
#: So many pixels, spread over an image, tell nearly always that it is no label map.
SAMPLE_PIXELS = 4096
#: Where it does not, so many are looked at at a time.
_PART_PIXELS = 2**20


def read_mask(
    path: Path,
    *,
    like: Cine | None = None,
    label_values: Mapping[int, Label] | None = None,
    source_headers: Mapping[str, Any] | None = None,
    limits: ReadingLimits = USUAL,
) -> Mask:
    """Read a mask of the left ventricle, 1 = cavity, 2 = myocardium (:class:`lvseg.labels.Label`).

    NIfTI of two to four dimensions with our labels, or of 0 and 255 = cavity; DICOM Segmentation
    of any type; ``.seg.nrrd`` of 3D Slicer; ``contours.json``; contour files of the Sunnybrook
    kind, one or a folder of them; a picture of our labels, or a black-and-white one. An empty mask
    is read as such.

    :param like: the cine that the mask belongs to. Where both know their place the mask is
        brought onto its grid (:func:`lvseg.resampling.onto_grid`), else pixels are taken as they
        are counted and the sizes must fit. A mask of one phase counts as phase 0, but a DICOM
        Segmentation, a ``.seg.nrrd`` of ours and contours say themselves which phases they hold.
        Contour files need it.
    :param label_values: what the values of another tool's NIfTI or picture mean; all others are
        background. A DICOM Segmentation says itself what its segments are.
    :param source_headers: of a DICOM cine, for the numbers of contour files
        (:func:`lvseg.read.read_mask_on` reads them).
    :raises LimitError: larger than the limits allow.
    :raises ReadError: unreadable, or other labels. GeometryMismatchError: it does not fit.
    :raises UnsupportedEncodingError: no decoder for the pixels of a DICOM Segmentation.
    """
    if path.is_dir() or numbered_contours([path]):
        return _from_contour_files(path, like, source_headers)
    blob = blob_of(path)
    numbered = False
    with Files(limits) as files:
        head = files.head(blob, HEADER_BYTES)
        kind = sniff(head[:HEAD_BYTES], blob.name)
        ours = is_nrrd(head) or head.lstrip()[:1] == b"{"
        if kind is None and not ours:
            raise ReadError(
                "expected a NIfTI, DICOM SEG, .seg.nrrd, contours.json or picture mask, found "
                f"something else at {path}"
            )
        stated = stated_bytes(head, limits, str(path)) if kind == "nifti" else None
        content = files.read(blob, stated)
    if kind == "dicom":
        from lvseg.read.segmentation import mask_from_segmentation

        return mask_from_segmentation(content, path, like, limits)
    if is_nrrd(content):
        mask, numbered = mask_from_seg_nrrd(content, path, limits)
    elif kind is None:
        from lvseg.read.contours import mask_from_contours

        mask, numbered = mask_from_contours(content, path, limits), True
    elif kind == "picture":
        mask = _from_picture(content, path, label_values, limits)
    else:
        mask = _from_nifti(content, path, label_values, like)
    return mask if like is None else _fitted(mask, like, path, numbered=numbered)


def _from_contour_files(
    path: Path, like: Cine | None, source_headers: Mapping[str, Any] | None
) -> Mask:
    from lvseg.read.contours import has_contour_files, mask_from_contour_files

    if path.is_dir() and not has_contour_files(path):
        raise ReadError(f"expected a mask file, found a folder at {path}: name the file")
    if like is None:
        raise ReadError(
            "expected the cine beside contours of single images, which state no place, found none "
            f"for {path}: give it (--cine)"
        )
    if like.source.instances is not None and not source_headers:
        raise UsageError(
            f"expected the headers of the cine beside contours of single images ({path}): read "
            "both by lvseg.read.read_mask_on"
        )
    return mask_from_contour_files(path, like, source_headers)


def label_map_values(values: NDArray[np.float32]) -> tuple[float, ...]:
    """The values of an array that can only be a label map: two to five; else none.

    >>> label_map_values(np.array([0, 3, 3, 1], np.float32))
    (0.0, 1.0, 3.0)
    """
    flat = values.reshape(-1)
    found = np.unique(flat[:: max(1, flat.size // SAMPLE_PIXELS)])
    for start in range(0, flat.size, _PART_PIXELS):
        if found.size > MOST_LABEL_VALUES:
            return ()
        found = np.union1d(found, flat[start : start + _PART_PIXELS])
    return tuple(found.tolist()) if 2 <= found.size <= MOST_LABEL_VALUES else ()


def shown(values: Iterable[float]) -> str:
    """The first values for a message."""
    texts = [f"{value:g}" for value in islice(values, SHOWN_VALUES + 1)]
    return ", ".join(texts[:SHOWN_VALUES]) + (", ..." if len(texts) > SHOWN_VALUES else "")


def _from_nifti(
    content: bytes, path: Path, label_values: Mapping[int, Label] | None, like: Cine | None
) -> Mask:
    source = None if like is None else like.source
    volume = cine_from_nifti(content, name=path.name, location=str(path), like=source)
    values = np.rint(volume.frames)
    if np.abs(values - volume.frames).max() > LABEL_TOLERANCE:
        raise ReadError(
            f"expected whole numbers as labels, found {shown(np.unique(volume.frames))} in {path}: "
            "save the mask without interpolation, and probabilities cut at one half"
        )
    labels = _labels(values, path, label_values)
    return Mask(labels, tuple(range(labels.shape[0])), volume.grid, volume.issues)


def _from_picture(
    content: bytes, path: Path, label_values: Mapping[int, Label] | None, limits: ReadingLimits
) -> Mask:
    from lvseg.read.picture import decode

    values, _ = decode(content, str(path), limits)
    return Mask(labels=picture_labels(values, path, label_values)[None, None], phases=(0,))


def picture_labels(
    values: NDArray[np.float32], path: Path, label_values: Mapping[int, Label] | None = None
) -> NDArray[np.uint8]:
    """Labels ``[Y, X]`` of the greys of a picture, by the table given, or as our own.

    :param path: for the message. :raises ReadError: values that nobody explained.
    """
    if label_values is None and _is_black_and_white(values):
        values = np.where(values >= WHITE, np.float32(PURE_WHITE), np.float32(0))
    return _labels(values, path, label_values)


def _is_black_and_white(values: NDArray[np.float32]) -> bool:
    """One grey below white and one above, or so many as only a blurred edge makes."""
    return bool(values.max() >= WHITE) and len(label_map_values(values)) < 3


def _labels(
    values: NDArray[np.float32], path: Path, label_values: Mapping[int, Label] | None
) -> NDArray[np.uint8]:
    """Our labels of the values of a file, by the table given or as they are."""
    if label_values is not None:
        return remap(values, label_values)
    found = set(np.unique(values).tolist())
    if found <= set(Label):
        return values.astype(np.uint8)
    if found <= {0, PURE_WHITE}:
        return remap(values, {PURE_WHITE: Label.LV_CAVITY})
    ours = ", ".join(f"{label:d} ({label.word})" for label in Label if label)
    word = Label.LV_CAVITY.word
    raise ReadError(
        f"expected the labels 0, {ours}, found {shown(sorted(found))} in {path}: "
        f"say which value is the {word} with --label {word}=VALUE"
    )


def _fitted(mask: Mask, like: Cine, path: Path, *, numbered: bool) -> Mask:
    """The mask on the grid of a cine; what was noticed about lengths of its own is moot.

    :param numbered: the file says which phases of the cine it holds.
    """
    phases = mask.labels.shape[0]
    placed = mask.planes is not None and like.planes is not None
    fits = placed or mask.labels.shape[1:] == like.shape[1:]
    known = max(mask.phases) < like.shape[0] if numbered else phases in (1, like.shape[0])
    if not fits or not known:
        raise GeometryMismatchError(
            f"expected a mask of {like.shape} [phase, slice, row, column] like the cine, found "
            f"{mask.labels.shape} in {path}: use the mask of this cine"
        )
    if not placed:
        text = "the mask or its cine states no place: pixels are matched as they are counted"
        noticed = () if mask.planes is like.planes else (Issue("place-unknown", "info", text),)
        return replace(mask, grid=like.grid, issues=noticed)
    try:
        about_place = tuple(each for each in mask.issues if each.code == PLACES_DISAGREE)
        return onto_grid(replace(mask, issues=about_place), like.grid)
    except GeometryMismatchError as error:
        raise GeometryMismatchError(f"{error} ({path})") from error
