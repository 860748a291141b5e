"""Data set folder of any folder of images and any folder of masks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from lvseg.datasets.folder import ImagePair, PrepareReport, Progress, first_names, write_dataset
from lvseg.datasets.sunnybrook import to_8_bit
from lvseg.errors import DatasetError, UsageError
from lvseg.issues import Issue
from lvseg.labels import Label
from lvseg.manifest import DatasetFacts, Sample, split_by_patient
from lvseg.read import picture_labels, read_picture

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
DEFAULT_FRACTIONS: Mapping[str, float] = MappingProxyType(
    {"training": 0.7, "validation": 0.15, "test": 0.15}
)
_MASK_ENDING = re.compile(r"[-_]mask$", re.IGNORECASE)
_LAST_GROUP = re.compile(r"[-_. ]+[^-_. ]*$")


def patient_of(stem: str, pattern: re.Pattern[str] | None = None) -> str | None:
    """Patient id of a file name without suffix; None where the pattern does not match.

    :param pattern: its first group (or, without groups, the whole match) is the patient id.
        Default: everything before the last group of characters set off by ``- _ .`` or a space;
        a name without such a group is one patient by itself.

    >>> patient_of("p03_slice7"), patient_of("p03")
    ('p03', 'p03')
    """
    if pattern is None:
        return _LAST_GROUP.sub("", stem) or stem
    match = pattern.search(stem)
    if match is None:
        return None
    return (match.group(1) if pattern.groups else match.group(0)) or None


def mask_values(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Mask to store of our labels [Y, X]: a cavity alone as 0 and 255, several as they are."""
    if labels.max(initial=0) > Label.LV_CAVITY:
        return labels
    return np.where(labels > 0, 255, 0).astype(np.uint8)


def _by_stem(folder: Path, *, masks: bool) -> dict[str, Path]:
    if not folder.is_dir():
        raise DatasetError(f"expected a folder of pictures, found none at {folder}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        stem = _MASK_ENDING.sub("", path.stem) if masks else path.stem
        if stem in found:
            raise DatasetError(
                f"expected one picture a name, found {found[stem].name} and {path.name} in {folder}"
            )
        found[stem] = path
    if not found:
        raise DatasetError(f"expected pictures ({', '.join(SUFFIXES)}), found none in {folder}")
    return found


def _pairs(images: Path, masks: Path) -> dict[str, tuple[Path, Path]]:
    """Stem -> (image, mask); an ending _mask of a mask does not count."""
    if images.resolve() == masks.resolve():
        raise UsageError("expected images and masks in two folders, found one folder for both")
    image_of, mask_of = _by_stem(images, masks=False), _by_stem(masks, masks=True)
    unmatched = sorted(set(image_of) ^ set(mask_of))
    if unmatched:
        lone = [image_of[s].name for s in unmatched if s in image_of]
        orphans = [mask_of[s].name for s in unmatched if s in mask_of]
        parts = []
        if lone:
            parts.append(f"{len(lone)} image(s) without a mask: {first_names(lone)}")
        if orphans:
            parts.append(f"{len(orphans)} mask(s) without an image: {first_names(orphans)}")
        raise DatasetError(
            f"expected one mask an image of the same name (with or without _mask), found "
            f"{'; '.join(parts)}: add or remove these files"
        )
    return {stem: (image_of[stem], mask_of[stem]) for stem in sorted(image_of)}


def _eight_bit(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Whole numbers in 0..255 stay as they are; anything else is scaled by its range."""
    if pixels.min() >= 0 and pixels.max() <= 255 and (pixels == np.round(pixels)).all():
        return pixels.astype(np.uint8)
    return to_8_bit(pixels)


def _read_pair(
    stem: str, image: Path, mask: Path, label_values: Mapping[int, Label] | None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], bool]:
    """Image and mask as 8 bit, and whether the mask was cut from more than two values."""
    pixels, grey = read_picture(image), read_picture(mask)
    if pixels.shape != grey.shape:
        raise DatasetError(
            f"expected a mask of the size {pixels.shape[::-1]} of its image, found "
            f"{grey.shape[::-1]} for {stem}: export the mask at full size"
        )
    labels = picture_labels(grey, mask, label_values)
    cut = label_values is None and len(np.unique(grey)) > 2 and grey.max() > max(Label)
    return _eight_bit(pixels), mask_values(labels), bool(cut)


def prepare_images(
    images: Path,
    masks: Path,
    dataset: Path,
    *,
    patient: str | None = None,
    fractions: Mapping[str, float] = DEFAULT_FRACTIONS,
    seed: int = 0,
    spacing_mm: float | None = None,
    facts: DatasetFacts | None = None,
    label_values: Mapping[int, Label] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Make a data set folder of images and their masks, split by patient.

    Images are written anew as grey 8-bit PNG, so metadata in the source files does not follow.
    Masks: our labels as they are, or by ``label_values``; a black-and-white one from grey 128 on.

    :param images: folder of PNG, JPEG or TIFF images.
    :param masks: folder of masks with the same names; an ending ``_mask`` or ``-mask`` is ignored.
    :param patient: regular expression on the name without suffix; its first group (or the whole
        match) is the patient. Default: the name up to its last ``- _ .`` or space.
    :param fractions: split name -> its share of the patients.
    :param seed: which patients go to which split.
    :param spacing_mm: pixel spacing of all images; None = unknown.
    :param facts: what is known of the data set; None = nothing.
    :param label_values: what the values of masks of another tool mean; others are background.
    :raises DatasetError: unmatched files (listed), sizes that differ, a name the pattern misses.
    :raises UsageError: a broken pattern, or the data set folder exists.
    :raises ReadError: an image that cannot be read, or is in colour; a mask with values that
        nobody explained.
    """
    if spacing_mm is not None and not spacing_mm > 0:
        raise UsageError(f"expected a positive pixel spacing in mm, found {spacing_mm}")
    pairs = _pairs(Path(images), Path(masks))
    samples = split_by_patient(
        _named_samples(list(pairs), patient, spacing_mm), fractions, seed=seed, stratify=False
    )
    made: list[ImagePair] = []
    grey: list[str] = []
    for index, (sample, (stem, (image, mask))) in enumerate(
        zip(samples, pairs.items(), strict=True)
    ):
        pixels, labels, many = _read_pair(stem, image, mask, label_values)
        made.append(ImagePair(sample, pixels, labels))
        if many:
            grey.append(mask.name)
        if progress is not None:
            progress(index + 1, 2 * len(pairs))
    issues = _issues(samples, grey)
    return write_dataset(
        dataset,
        made,
        layout="images",
        facts=facts or DatasetFacts(),
        issues=issues,
        overwrite=overwrite,
        progress=None if progress is None else _second_half(progress),
    )


def _second_half(progress: Progress) -> Progress:
    return lambda done, total: progress(total + done, 2 * total)


def _named_samples(stems: list[str], patient: str | None, spacing_mm: float | None) -> list[Sample]:
    try:
        pattern = None if patient is None else re.compile(patient)
    except re.error as error:
        raise UsageError(f"expected a regular expression for the patient: {error}") from error
    ids = {stem: patient_of(stem, pattern) for stem in stems}
    missed = [stem for stem, found in ids.items() if found is None]
    if missed:
        raise DatasetError(
            f"expected a patient in every file name, found none in {len(missed)} of {len(ids)}: "
            f"{first_names(missed)}; correct the pattern"
        )
    return [
        Sample(f"{stem}.png", str(found), "unassigned", pixel_spacing_mm=spacing_mm)
        for stem, found in ids.items()
    ]


def _issues(samples: tuple[Sample, ...], grey: list[str]) -> tuple[Issue, ...]:
    issues = []
    if len(samples) > 1 and len({sample.patient_id for sample in samples}) == len(samples):
        issues.append(
            Issue(
                "one-image-a-patient",
                "warning",
                "every image became a patient of its own: if several images belong to one "
                "patient, say so with a pattern for the patient",
            )
        )
    if grey:
        issues.append(
            Issue(
                "mask-values",
                "warning",
                f"{len(grey)} mask(s) held more than two values and were cut at 128: "
                + first_names(grey),
            )
        )
    return tuple(issues)
