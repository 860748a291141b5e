"""Duplicate images of a data set, exact or nearly so."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lvseg.issues import Issue
from lvseg.manifest import Sample

#: Between patients of the Sunnybrook set (45, 819 images) likeness never exceeds 0.83; one image
#: saved again as JPEG, at half size, shifted by a pixel, with noise or gamma 0.8 stays above 0.98.
NEAR_CORRELATION = 0.97
_EDGE = 24
_ROWS_AT_ONCE = 512


@dataclass(frozen=True, slots=True, eq=False)
class Thumbnail:
    """An image boiled down: a digest of its pixels, and 24 x 24 means of zero mean and length 1.

    A constant image has all-zero means and resembles nothing.
    """

    digest: str
    means: NDArray[np.float32]


def thumbnail(image: NDArray[np.float32]) -> Thumbnail:
    """Boil an image [Y, X] down; the means ignore scale and shift of the grey values."""
    digest = hashlib.sha256(str(image.shape).encode() + image.tobytes()).hexdigest()
    blocks = image.astype(np.float64)
    for axis in (0, 1):
        edges = np.linspace(0, image.shape[axis], min(_EDGE, image.shape[axis]) + 1)[:-1]
        starts = np.floor(edges).astype(np.intp)
        sizes = np.diff([*starts, image.shape[axis]])
        shape = (-1, 1) if axis == 0 else (1, -1)
        blocks = np.add.reduceat(blocks, starts, axis=axis) / sizes.reshape(shape)
    means = np.zeros(_EDGE * _EDGE)
    means[: blocks.size] = (blocks - blocks.mean()).ravel()
    length = float(np.linalg.norm(means))
    if length < 1e-9:
        means[:] = 0
    else:
        means /= length
    return Thumbnail(digest, means.astype(np.float32))


def repeated(samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]) -> list[Issue]:
    """Equal images anywhere, and nearly equal images of two different patients.

    Neighbouring slices and phases of one patient resemble each other and are not compared. A
    repetition across splits is an error, within one split a warning.
    """
    known = [sample for sample in samples if sample.file in thumbnails]
    if not known:
        return []
    issues = _exact(known, thumbnails)
    near = _near_pairs(known, thumbnails)
    for across in (True, False):
        pairs = [(a, b) for a, b in near if (a.split != b.split) == across]
        if pairs:
            named = "; ".join(f"{a.file} and {b.file}" for a, b in pairs[:5])
            where = "in two splits" if across else "in one split"
            issues.append(
                Issue(
                    "near-duplicates",
                    "error" if across else "warning",
                    f"{len(pairs)} pair(s) of nearly equal pictures of two patients {where}: "
                    f"{named}",
                )
            )
    return issues


def _exact(samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]) -> list[Issue]:
    groups: dict[str, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(thumbnails[sample.file].digest, []).append(sample)
    issues = []
    for group in groups.values():
        if len(group) < 2:
            continue
        people = len({sample.patient_id for sample in group})
        across = len({sample.split for sample in group}) > 1
        files = ", ".join(sample.file for sample in group[:5])
        issues.append(
            Issue(
                "same-pixels-two-patients" if people > 1 else "same-pixels",
                "error" if across else "warning",
                f"{len(group)} pictures of {people} patient(s) have the same pixels: {files}",
            )
        )
    return issues


def _near_pairs(
    samples: Sequence[Sample], thumbnails: Mapping[str, Thumbnail]
) -> list[tuple[Sample, Sample]]:
    means = np.stack([thumbnails[sample.file].means for sample in samples])
    pairs = []
    for start in range(0, len(samples), _ROWS_AT_ONCE):
        likeness = means[start : start + _ROWS_AT_ONCE] @ means.T
        for row, column in np.argwhere(likeness > NEAR_CORRELATION):
            first, second = samples[start + int(row)], samples[int(column)]
            exact = thumbnails[first.file].digest == thumbnails[second.file].digest
            if start + row < column and first.patient_id != second.patient_id and not exact:
                pairs.append((first, second))
    return pairs
