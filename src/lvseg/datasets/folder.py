"""A data set folder (``images``, ``masks``, ``manifest.csv``) appears whole or not at all."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvseg.cases import MANIFEST, Case, write_manifest
from lvseg.errors import DatasetError
from lvseg.findings import Finding
from lvseg.write.files import whole_folder
from lvseg.write.pictures import write_picture

__all__ = ["Picture", "PrepareReport", "Progress", "write_dataset"]

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image with its mask, on disk (copied byte for byte) or in memory (uint8 [Y, X])."""

    case: Case
    image: Path | NDArray[np.uint8]
    mask: Path | NDArray[np.uint8]


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
    findings: tuple[Finding, ...] = field(default=())

    def document(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        return {
            "dataset": str(self.dataset),
            "layout": self.layout,
            "images": self.images,
            "patients": self.patients,
            "empty": self.empty,
            "with_spacing": self.with_spacing,
            "splits": dict(self.splits),
            "findings": [
                {"code": f.code, "severity": f.severity, "text": f.text} for f in self.findings
            ],
        }


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
    pictures: Sequence[Picture],
    *,
    layout: str,
    findings: tuple[Finding, ...] = (),
    overwrite: bool = False,
    progress: Progress | None = None,
) -> PrepareReport:
    """Write a data set folder, sorted by file name.

    :raises DatasetError: no pictures, one file name twice, or a source that cannot be read.
    :raises UsageError: the folder exists (see :func:`lvseg.write.whole_folder`).
    """
    if not pictures:
        raise DatasetError("expected at least one image with a mask, found none")
    ordered = sorted(pictures, key=lambda picture: picture.case.file)
    names = Counter(picture.case.file for picture in ordered)
    twice = [name for name, count in names.items() if count > 1]
    if twice:
        raise DatasetError(f"expected one image a file name, found {twice[0]} more than once")
    with whole_folder(dataset, MANIFEST, overwrite=overwrite) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        for index, picture in enumerate(ordered):
            _place(picture.image, folder / "images" / picture.case.file)
            _place(picture.mask, folder / "masks" / picture.case.file)
            if progress is not None:
                progress(index + 1, len(ordered))
        write_manifest([picture.case for picture in ordered], folder)
    cases = [picture.case for picture in ordered]
    return PrepareReport(
        dataset=Path(dataset),
        layout=layout,
        images=len(cases),
        patients=len({case.patient_id for case in cases}),
        empty=sum(("empty", "1") in case.extra for case in cases),
        with_spacing=len({case.patient_id for case in cases if case.pixel_spacing_mm}),
        splits=dict(sorted(Counter(case.split for case in cases).items())),
        findings=findings,
    )
