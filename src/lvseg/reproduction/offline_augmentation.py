"""Offline augmentation of the paper: a larger data set folder, made before any training.

The paper turns 805 pairs into 3500: rotation drawn from +-180 degrees, horizontal and vertical
flip; zoom, width and height shift are parameters set to 0. Where it leaves a choice, ours is:
each flip has chance 1/2; one resampling does all of a move, linear for the image, and for the mask
linear and cut at 1/2; beyond the border the nearest pixel is repeated, as the generator of Keras
does by default, whose parameters have these names (``fill="zero"`` is the other choice).
"""

from __future__ import annotations

import hashlib
import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from lvseg.atomic import atomic_folder
from lvseg.datasets.folder import Progress
from lvseg.errors import DatasetError, UsageError
from lvseg.labels import Label
from lvseg.manifest import (
    MANIFEST,
    ORIGINAL,
    Sample,
    image_path,
    mask_path,
    patients,
    read_dataset_facts,
    read_manifest,
    select,
    write_dataset_facts,
    write_manifest,
)
from lvseg.read import read_mask, read_picture
from lvseg.write.pictures import write_picture

#: Draws until the cavity stays in the picture.
ATTEMPTS = 100
_MODES = {"nearest": "nearest", "zero": "grid-constant"}


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """Ranges to draw from; the defaults are the paper's.

    :param rotation_degrees: +- this about the picture's centre, 0 to 180.
    :param horizontal_flip, vertical_flip: mirror left and right, top and bottom, each by chance.
    :param zoom: size of the content 1 +- this, below 1; rows and columns alike.
    :param width_shift, height_shift: +- this share of the width and height, below 1.
    :param fill: what comes in from beyond the border.
    :raises UsageError: a value outside these limits.
    """

    rotation_degrees: float = 180.0
    horizontal_flip: bool = True
    vertical_flip: bool = True
    zoom: float = 0.0
    width_shift: float = 0.0
    height_shift: float = 0.0
    fill: Literal["nearest", "zero"] = "nearest"

    def __post_init__(self) -> None:
        if not 0 <= self.rotation_degrees <= 180:
            raise UsageError(
                f"expected a rotation of 0 to 180 degrees, found {self.rotation_degrees}"
            )
        for name in ("zoom", "width_shift", "height_shift"):
            if not 0 <= getattr(self, name) < 1:
                words = name.replace("_", " ")
                raise UsageError(
                    f"expected a {words} from 0 to below 1, found {getattr(self, name)}"
                )


@dataclass(frozen=True, slots=True)
class Move:
    """What happens to one pair, in this order, about the centre of the picture.

    :param rotation_degrees: anticlockwise as seen. :param zoom: factor of size.
    :param mirrored: left and right swapped; :param upside_down: top and bottom swapped.
    :param right, down: shift as a share of the width and of the height.
    """

    rotation_degrees: float = 0.0
    zoom: float = 1.0
    mirrored: bool = False
    upside_down: bool = False
    right: float = 0.0
    down: float = 0.0


def draw(options: OfflineOptions, generator: np.random.Generator) -> Move:
    """Draw one move; every call takes the same numbers from the generator, whatever the options."""
    angle, zoom, right, down = (float(value) for value in generator.uniform(-1, 1, 4))
    mirrored, upside_down = (bool(value) for value in generator.random(2) < 0.5)
    return Move(
        rotation_degrees=angle * options.rotation_degrees,
        zoom=1 + zoom * options.zoom,
        mirrored=mirrored and options.horizontal_flip,
        upside_down=upside_down and options.vertical_flip,
        right=right * options.width_shift,
        down=down * options.height_shift,
    )


def move_image(
    image: NDArray[np.uint8], move: Move, fill: Literal["nearest", "zero"] = "nearest"
) -> NDArray[np.uint8]:
    """Move a picture [Y, X], linear between pixels, same size."""
    moved = np.rint(_resampled(image, move, fill))
    result: NDArray[np.uint8] = np.clip(moved, 0, 255).astype(np.uint8)
    return result


def move_mask(
    inside: NDArray[np.bool_], move: Move, fill: Literal["nearest", "zero"] = "nearest"
) -> NDArray[np.bool_]:
    """Move a mask [Y, X]: what is at least half inside is inside."""
    result: NDArray[np.bool_] = _resampled(inside.astype(np.uint8), move, fill) >= 0.5
    return result


def _resampled(pixels: NDArray[np.uint8], move: Move, fill: str) -> NDArray[np.float32]:
    """Look each pixel up where it came from: centre + inverse matrix (pixel - centre - shift)."""
    angle = math.radians(move.rotation_degrees)
    # Rows run down, so anticlockwise turns (row, column) to (row cos - column sin, ...).
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    flips = np.array([-1.0 if move.upside_down else 1.0, -1.0 if move.mirrored else 1.0])
    inverse = (turn.T * flips) / move.zoom
    sides = np.array(pixels.shape)
    centre = (sides - 1) / 2
    offset = centre - inverse @ (centre + (move.down, move.right) * sides)
    moved: NDArray[np.float32] = ndimage.affine_transform(
        pixels, inverse, offset, order=1, mode=_MODES[fill], output=np.float32
    )
    return moved


@dataclass(frozen=True, slots=True)
class AugmentReport:
    """What a larger data set was made of: originals and copies, by split."""

    dataset: Path
    originals: int
    copies: int
    patients: int
    splits: Mapping[str, int]
    seed: int
    options: OfflineOptions

    def document(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        return {
            "dataset": str(self.dataset),
            "images": self.originals + self.copies,
            "originals": self.originals,
            "copies": self.copies,
            "patients": self.patients,
            "splits": dict(self.splits),
            "seed": self.seed,
            "options": asdict(self.options),
        }


def augment(
    dataset: Path,
    output: Path,
    total: int,
    options: OfflineOptions | None = None,
    *,
    split: str = "all",
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> AugmentReport:
    """Write a data set folder of ``total`` pairs: the originals byte for byte, and moved copies.

    A copy keeps patient, split and all else of its original's line in the manifest, whose name
    stands in the column ``original``; a zoom changes its pixel spacing. Copies are dealt evenly.
    A copy depends on the seed, the name of its original and its number only, so a larger total
    adds copies and changes none. A move that takes the whole cavity out of the picture is drawn
    again; one that changes nothing copies the bytes.

    :param total: originals and copies together.
    :param split: which splits get copies (``a+b``, ``all``); the others are taken over.
    :raises UsageError: ``total`` below the number of originals, or above it with nothing to copy;
        the output folder exists; a negative seed.
    :raises DatasetError: the data set holds copies already, or pictures of more than 8 bits.
    :raises PatientLeakError: a patient in more than one split.
    """
    chosen = options or OfflineOptions()
    samples = tuple(sorted(read_manifest(dataset), key=lambda sample: sample.file))
    _check(samples, dataset, output, total, seed)
    copies = _deal(select(samples, split), total - len(samples), seed)
    made: list[Sample] = []
    with atomic_folder(output, MANIFEST, overwrite=overwrite) as folder:
        for sample in samples:
            _copy_bytes(dataset, sample, folder, sample)
            made.append(sample)
            if progress is not None:
                progress(len(made), total)
        for sample, number in copies:
            made.append(_write_copy(dataset, sample, number, folder, chosen, seed))
            if progress is not None:
                progress(len(made), total)
        write_manifest(sorted(made, key=lambda sample: sample.file), folder)
        write_dataset_facts(read_dataset_facts(dataset), folder)
    return AugmentReport(
        dataset=Path(output),
        originals=len(samples),
        copies=len(copies),
        patients=len(patients(made)),
        splits=dict(sorted(Counter(sample.split for sample in made).items())),
        seed=seed,
        options=chosen,
    )


def _check(samples: Sequence[Sample], dataset: Path, output: Path, total: int, seed: int) -> None:
    copied = [sample.file for sample in samples if dict(sample.extra).get(ORIGINAL)]
    if copied:
        raise DatasetError(
            f"expected originals only in {dataset}, found {len(copied)} copies, first {copied[0]}: "
            "augment the data set they were made of"
        )
    if total < len(samples):
        raise UsageError(
            f"expected a total of at least the {len(samples)} originals of {dataset}, found {total}"
        )
    if seed < 0:
        raise UsageError(f"expected a seed from 0 on, found {seed}")
    if Path(output).resolve() == Path(dataset).resolve():
        raise UsageError(f"expected another folder than the data set itself, found {output}")


def _deal(samples: Sequence[Sample], copies: int, seed: int) -> list[tuple[Sample, int]]:
    """(case, number from 1) of each copy: round after round in one shuffled order."""
    order = np.random.default_rng(seed).permutation(len(samples))
    dealt = [(samples[int(order[i % len(samples)])], i // len(samples) + 1) for i in range(copies)]
    names = {sample.file for sample in samples}
    taken = [name for name in (_copy_name(*each) for each in dealt) if name in names]
    if taken:
        raise DatasetError(f"expected free names for the copies, found an original {taken[0]}")
    return dealt


def _copy_name(sample: Sample, number: int) -> str:
    return f"{sample.file.rpartition('.')[0] or sample.file}_copy{number}.png"


def _copy_bytes(dataset: Path, sample: Sample, folder: Path, target: Sample) -> None:
    for path in (image_path, mask_path):
        source, place = path(dataset, sample), path(folder, target)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(source, place)
        except OSError as error:
            raise DatasetError(
                f"expected a readable picture, found none at {source}: {error.strerror}"
            ) from error


def _write_copy(
    dataset: Path, sample: Sample, number: int, folder: Path, options: OfflineOptions, seed: int
) -> Sample:
    image, inside = _read_pair(dataset, sample)
    move, mask = _draw_inside(sample, number, inside, options, seed)
    spacing = sample.pixel_spacing_mm
    copy = replace(
        sample,
        file=_copy_name(sample, number),
        pixel_spacing_mm=None if spacing is None else spacing / move.zoom,
        extra=(*(each for each in sample.extra if each[0] != ORIGINAL), (ORIGINAL, sample.file)),
    )
    if move == Move():
        _copy_bytes(dataset, sample, folder, copy)
    else:
        write_picture(image_path(folder, copy), move_image(image, move, options.fill))
        write_picture(mask_path(folder, copy), np.where(mask, 255, 0).astype(np.uint8))
    return copy


def _read_pair(dataset: Path, sample: Sample) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    image = read_picture(image_path(dataset, sample))
    inside = read_mask(mask_path(dataset, sample)).labels[0, 0] == Label.LV_CAVITY
    if image.shape != inside.shape:
        raise DatasetError(f"expected image and mask of one size, found two for {sample.file}")
    if image.min() < 0 or image.max() > 255:
        raise DatasetError(
            f"expected pictures of 8 bits, found values up to {image.max():g} in {sample.file}: "
            "make the data set with  lvseg prepare"
        )
    return image.astype(np.uint8), inside


def _draw_inside(
    sample: Sample, number: int, inside: NDArray[np.bool_], options: OfflineOptions, seed: int
) -> tuple[Move, NDArray[np.bool_]]:
    """Draw the move of a copy and its mask; again while the whole cavity would be lost."""
    name = int.from_bytes(hashlib.sha256(sample.file.encode()).digest()[:8], "big")
    generator = np.random.default_rng([seed, name, number])
    for _ in range(ATTEMPTS):
        move = draw(options, generator)
        mask = move_mask(inside, move, options.fill)
        if mask.any() or not inside.any():
            return move, mask
    raise UsageError(
        f"expected moves that keep the cavity in the picture, found none in {ATTEMPTS} for "
        f"{sample.file}: use smaller shifts"
    )


def paper_counts(images: int) -> dict[str, int]:
    """Sizes of the paper's split: 20 % test, 20 % of the rest validation, both rounded up.

    >>> paper_counts(3500)
    {'training': 2240, 'validation': 560, 'test': 700}
    """
    test = math.ceil(images / 5)
    validation = math.ceil((images - test) / 5)
    return {"training": images - test - validation, "validation": validation, "test": test}


def image_level_split(
    samples: Sequence[Sample], counts: Mapping[str, int], seed: int = 0
) -> tuple[Sample, ...]:
    """LEAKS: give each picture a split at random, as the paper does, to show what that hides.

    Copies of one picture and slices of one patient land on both sides, so every score on such a
    split is too good, and no manifest may hold it. The order of samples is kept; their old splits
    are replaced.

    :param counts: split name -> number of pictures, together as many as there are samples.
    :raises UsageError: other counts.
    """
    if sum(counts.values()) != len(samples) or min(counts.values(), default=0) < 0:
        raise UsageError(f"expected counts that sum to {len(samples)}, found {dict(counts)}")
    names = [name for name, count in counts.items() for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(samples))
    return tuple(
        replace(sample, split=names[int(place)])
        for sample, place in zip(samples, order, strict=True)
    )
