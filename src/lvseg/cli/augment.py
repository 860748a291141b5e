"""`lvseg augment`: a data set enlarged by moved copies."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import DatasetFolder, NewDataset, ReplaceDataset
from lvseg.cli.output import Output, staged

if TYPE_CHECKING:
    from lvseg.reproduction.offline_augmentation import AugmentReport


class Fill(StrEnum):
    """What comes in from beyond the border of a moved picture."""

    nearest = "nearest"
    zero = "zero"


@command("augment", example="lvseg augment dataset -o dataset-3500 --total 3500")
def augment_dataset(
    out: Output,
    dataset: DatasetFolder,
    output: NewDataset,
    total: Annotated[int, typer.Option(help="Images to end with, originals included.")],
    rotation: Annotated[float, typer.Option(metavar="DEGREES", help="Drawn from +- this.")] = 180.0,
    flips: Annotated[bool, typer.Option(help="Left-right and top-bottom, by chance.")] = True,
    zoom: Annotated[float, typer.Option(metavar="SHARE", help="Size drawn from 1 +- this.")] = 0.0,
    width_shift: Annotated[
        float, typer.Option(metavar="SHARE", help="+- this share of the width.")
    ] = 0.0,
    height_shift: Annotated[
        float, typer.Option(metavar="SHARE", help="+- this share of the height.")
    ] = 0.0,
    fill: Annotated[Fill, typer.Option(help="What comes in from the border.")] = Fill.nearest,
    split: Annotated[str, typer.Option(help="Splits that get copies, joined by '+'.")] = "all",
    seed: Annotated[int, typer.Option(help="Decides every copy.")] = 0,
    overwrite: ReplaceDataset = False,
) -> int:
    """Enlarge a data set by moved copies.

    Image and mask move together. A copy keeps its patient and split; the column 'original' of the
    manifest names the picture it was made of. The same seed gives the same bytes.
    """
    from lvseg.reproduction.offline_augmentation import OfflineOptions, augment

    ranges = OfflineOptions(rotation, flips, flips, zoom, width_shift, height_shift, fill.value)
    with out.progress("augmenting") as bar:
        report = augment(
            dataset,
            output,
            total,
            ranges,
            split=split,
            seed=seed,
            overwrite=overwrite,
            progress=staged(bar),
        )
    out.result(report.document(), augment_text(report))
    return 0


def augment_text(report: AugmentReport) -> str:
    """Tell people what was added."""
    splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
    return (
        f"{report.dataset}: {report.originals + report.copies} images of {report.patients} "
        f"patients ({splits}), {report.originals} originals and {report.copies} copies"
    )
