"""Makers of sources that must be refused, one a row of the table."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

Maker = Callable[[Path, Path], Path]


def text_named_dcm(folder: Path, heart: Path) -> Path:
    """A text file with a DICOM suffix."""
    path = folder / "notes.dcm"
    path.write_text("these are notes, not pixels\n" * 20)
    return path


def truncated_dicom(folder: Path, heart: Path) -> Path:
    """A DICOM file of which only the first part was copied."""
    whole = next(iter(sorted(heart.iterdir()))).read_bytes()
    path = folder / "cut.dcm"
    path.write_bytes(whole[: len(whole) // 3])
    return path


def _changed(folder: Path, heart: Path, change: Callable[[pydicom.Dataset, int], bool]) -> Path:
    target = folder / "series"
    target.mkdir()
    for number, path in enumerate(sorted(heart.iterdir())):
        dataset = copy.deepcopy(pydicom.dcmread(path))
        if change(dataset, number):
            dataset.save_as(target / path.name)
    return target


def ct_series(folder: Path, heart: Path) -> Path:
    """The same pictures, but of a CT scanner, over space only."""

    def change(dataset: pydicom.Dataset, number: int) -> bool:
        dataset.Modality = "CT"
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = CT_IMAGE_STORAGE
        return True

    return _changed(folder, heart, change)


def long_axis_cine(folder: Path, heart: Path) -> Path:
    """A two-chamber view: one position over time, called what scanners call it."""
    positions: list[tuple[float, ...]] = []

    def change(dataset: pydicom.Dataset, number: int) -> bool:
        place = tuple(float(value) for value in dataset.ImagePositionPatient)
        if place not in positions:
            positions.append(place)
        dataset.SeriesDescription = "cine_trufi_2-chamber"
        # The plane holds the long axis, which runs to the left, front and down.
        dataset.ImageOrientationPatient = [0.57, -0.57, -0.59, -0.44, 0.39, -0.81]
        return positions.index(place) == 0

    return _changed(folder, heart, change)


def empty_folder(folder: Path, heart: Path) -> Path:
    """A folder with nothing in it."""
    path = folder / "empty"
    path.mkdir()
    return path


def label_map(folder: Path, heart: Path) -> Path:
    """A mask of four labels in the place of an image."""
    values = np.arange(64, dtype=np.uint8)[:, None] // 16 * np.ones(48, np.uint8)
    Image.fromarray(values).save(folder / "labels.png")
    return folder / "labels.png"


def label_maps(folder: Path, heart: Path) -> Path:
    """A folder of one mask."""
    path = folder / "masks"
    path.mkdir()
    return label_map(path, heart).parent


def colour_photo(folder: Path, heart: Path) -> Path:
    """A photograph."""
    pixels = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / "photo.png")
    return folder / "photo.png"


def nifti_of_nans(folder: Path, heart: Path) -> Path:
    """A volume without a single number in it."""
    import nibabel

    data = np.full((32, 30, 4, 3), np.nan, np.float32)
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.9, 1.7, 8.0, 1.0])), folder / "nan.nii.gz")
    return folder / "nan.nii.gz"


def one_pixel(folder: Path, heart: Path) -> Path:
    """A picture of one pixel."""
    Image.fromarray(np.array([[7]], np.uint8)).save(folder / "dot.png")
    return folder / "dot.png"


def nothing_there(folder: Path, heart: Path) -> Path:
    """A path that does not exist."""
    return folder / "missing"


MAKERS: Iterable[Maker] = (
    text_named_dcm,
    truncated_dicom,
    ct_series,
    long_axis_cine,
    empty_folder,
    colour_photo,
    label_map,
    label_maps,
    nifti_of_nans,
    nothing_there,
)
__all__ = ["MAKERS", "Maker", "one_pixel"]
