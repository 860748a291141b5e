"""Writing a data set folder: images, masks, outlines, ``manifest.csv`` and ``dataset.json``."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.atomic import atomic_folder
from lvseg.errors import DatasetError
from lvseg.issues import Issue
from lvseg.json_text import jsonable
from lvseg.manifest import MANIFEST, DatasetFacts, Sample, write_dataset_facts, write_manifest
from lvseg.outlines import Outline, outlines_path, write_outlines
from lvseg.write.pictures import write_picture

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class ImagePair:
    """One image with its mask, on disk (copied byte for byte) or in memory (uint8 [Y, X]).

    :param outlines: the polygons behind the mask; None = not known.
    """

    sample: Sample
    image: Path | NDArray[np.uint8]
    mask: Path | NDArray[np.uint8]
    outlines: tuple[Outline, ...] | None = None


@dataclass(frozen=True, slots=True)
class PrepareReport:
    """What a data set folder was made of.

    :param layout: how the source was understood.
    :param empty: images whose mask is empty on purpose (true negatives).
    :param splits: split -> number of images.
    :param with_spacing: patients whose pixel spacing is known.
    """

    dataset: Path
    layout: str
    images: int
    patients: int
    empty: int
    with_spacing: int
    splits: Mapping[str, int]
    issues: tuple[Issue, ...] = field(default=())

    def document(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        values: dict[str, object] = jsonable(self)
        issues = values.pop("issues")
        return values | {"findings": issues}


def first_names(names: Iterable[str], most: int = 10) -> str:
    """The first names in order, as text, and how many more there are.

    >>> first_names(["b", "c", "a"], 2)
    'a, b and 1 more'
    """
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def _place(source: Path | NDArray[np.uint8], target: Path) -> None:
    if isinstance(source, Path):
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise DatasetError(
                f"expected a readable picture, found none at {source}: {error.strerror}"
            ) from error
    else:
        write_picture(target, source)


def write_dataset(
    dataset: Path,
    pairs: Sequence[ImagePair],
    *,
    layout: str,
    facts: DatasetFacts,
    issues: tuple[Issue, ...] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Write a data set folder, sorted by file name, whole or not at all.

    :param layout: how the source was understood. :param facts: what the data set says of itself.
    :raises DatasetError: no pairs, one file name twice, or a source that cannot be read.
    :raises UsageError: the folder exists (see :func:`lvseg.atomic.atomic_folder`).
    """
    if not pairs:
        raise DatasetError("expected at least one image with a mask, found none")
    ordered = sorted(pairs, key=lambda pair: pair.sample.file)
    names = Counter(pair.sample.file for pair in ordered)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DatasetError(f"expected one image a file name, found {twice[0]} more than once")
    with atomic_folder(dataset, MANIFEST, overwrite=overwrite) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for index, pair in enumerate(ordered):
            _place(pair.image, folder / "images" / pair.sample.file)
            _place(pair.mask, folder / "masks" / pair.sample.file)
            if pair.outlines is not None:
                write_outlines(pair.outlines, outlines_path(folder, pair.sample.file))
            if progress is not None:
                progress(index + 1, len(ordered))
        write_manifest([pair.sample for pair in ordered], folder)
        write_dataset_facts(facts, folder)
    samples = [pair.sample for pair in ordered]
    return PrepareReport(
        dataset=Path(dataset),
        layout=layout,
        images=len(samples),
        patients=len({sample.patient_id for sample in samples}),
        empty=sum(("empty", "1") in sample.extra for sample in samples),
        with_spacing=len({sample.patient_id for sample in samples if sample.pixel_spacing_mm}),
        splits=dict(sorted(Counter(sample.split for sample in samples).items())),
        issues=issues,
    )
