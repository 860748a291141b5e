"""`lvseg prepare`, `lvseg augment`, `lvseg check`: data set folders, made, enlarged, audited."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli.app import command, prepare_app
from lvseg.cli.output import Output, finding_lines, staged
from lvseg.errors import UsageError

if TYPE_CHECKING:
    from lvseg.datasets import PrepareReport
    from lvseg.datasets.audit import Audit
    from lvseg.reproduction.offline_augmentation import AugmentReport

__all__ = ["Fill", "augment_dataset", "check_dataset", "images", "sunnybrook"]

DATASET_HELP = "Data set folder to make."


@command("sunnybrook", example="lvseg prepare sunnybrook sunnybrook -o dataset", group=prepare_app)
def sunnybrook(
    out: Output,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="The PNG pairs with manifest, or the official layout."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=DATASET_HELP)],
    dicom: Annotated[
        Path | None, typer.Option(help="DICOM folders by patient: spacings, empty frames.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set.")] = False,
) -> int:
    """Make a data set of the Sunnybrook data.

    The splits are its official sets. DICOM folders supply spacings and frames without a cavity.
    """
    from lvseg.datasets import prepare_sunnybrook

    with out.progress("preparing") as bar:
        report = prepare_sunnybrook(
            source, output, dicom=dicom, overwrite=overwrite, progress=staged(bar)
        )
    out.result(report.document(), report_text(report))
    return 0


@command("images", example="lvseg prepare images images masks -o dataset", group=prepare_app)
def images(
    out: Output,
    pictures: Annotated[Path, typer.Argument(metavar="IMAGES", help="Folder of pictures.")],
    masks: Annotated[
        Path, typer.Argument(metavar="MASKS", help="Folder of masks with the same names.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help=DATASET_HELP)],
    patient: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Finds the patient in a file name."),
    ] = None,
    splits: Annotated[
        str | None, typer.Option(metavar="LIST", help="As training=0.7,test=0.3; by patient.")
    ] = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="Pixel spacing of all images.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides which patient goes where.")] = 0,
    name: Annotated[str | None, typer.Option(metavar="TEXT", help="Name of the data set.")] = None,
    licence: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Its licence, as CC0-1.0.")
    ] = None,
    citation: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Publication to cite for it.")
    ] = None,
    centre: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Where the images were acquired.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="SENTENCE", help="What the data do not cover; may be repeated."),
    ] = None,
    outline_rule: Annotated[
        str | None, typer.Option(metavar="TEXT", help="How a contour became a mask.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set.")] = False,
) -> int:
    """Make a data set of pictures and masks.

    The splits are by patient, never by image. What is said of the data set goes to dataset.json and
    from there to the card of every model trained on it; what is not said is "unknown".
    """
    from lvseg.datasets import prepare_images
    from lvseg.manifest import DatasetFacts

    said = {"name": name, "licence": licence, "citation": citation, "centre": centre}
    said |= {"outline_rule": outline_rule}
    facts = DatasetFacts.from_dict({**said, "limits": limit or []})
    chosen: dict[str, Any] = {} if splits is None else {"fractions": fractions(splits)}
    chosen |= {"patient": patient, "spacing_mm": spacing, "seed": seed, "overwrite": overwrite}
    chosen |= {"facts": facts}
    with out.progress("preparing") as bar:
        report = prepare_images(pictures, masks, output, progress=staged(bar), **chosen)
    out.result(report.document(), report_text(report))
    return 0


def fractions(text: str) -> dict[str, float]:
    """Parse ``name=share,name=share``.

    :raises UsageError: anything else.

    >>> fractions("training=0.7, test=0.3")
    {'training': 0.7, 'test': 0.3}
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise UsageError(f"expected --splits as training=0.7,test=0.3, found {text!r}") from error


def report_text(report: PrepareReport) -> str:
    """Tell people what was made."""
    splits = ", ".join(f"{name} {count}" for name, count in report.splits.items())
    head = (
        f"{report.dataset}: {report.images} images of {report.patients} patients ({splits}), "
        f"{report.empty} empty, {report.with_spacing} patients with spacing"
    )
    return "\n".join([head, *finding_lines(report.issues)])


class Fill(StrEnum):
    """What comes in from beyond the border of a moved picture."""

    nearest = "nearest"
    zero = "zero"


@command("augment", example="lvseg augment dataset -o dataset-3500 --total 3500")
def augment_dataset(
    out: Output,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Data set folder.")],
    output: Annotated[Path, typer.Option("--output", "-o", help=DATASET_HELP)],
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
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a data set.")] = False,
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


@command("check", example="lvseg check dataset")
def check_dataset(
    out: Output,
    dataset: Annotated[Path, typer.Argument(metavar="DATASET", help="Data set folder.")],
) -> int:
    """Audit a data set folder.

    Looks at pairing, empty or broken masks, identifiers left in files, duplicates, patients on
    both sides of a split, the balance by pathology, sex and age, and unknown facts (licence,
    citation, ...). Errors end with status 3.
    """
    from lvseg.datasets import check

    with out.progress("checking") as bar:
        audit = check(dataset, progress=staged(bar))
    out.result(audit.document(), audit_text(audit))
    if not audit.ok:
        faults = [each for each in audit.issues if each.severity == "error"]
        out.warn(f"{dataset}: {len(faults)} kind(s) of error found, first: {faults[0].text}")
    return audit.exit_code


def audit_text(audit: Audit) -> str:
    """Show people the audit: sizes, balance by split, findings."""
    head = f"{audit.dataset}: {audit.images} images of {audit.patients} patients"
    lines = [f"{head}, {audit.empty} empty masks, {'ok' if audit.ok else 'NOT ok'}"]
    for split, part in audit.balance.items():
        facts = part.document()
        lines.append(f"  {split}: " + ", ".join(f"{key} {value}" for key, value in facts.items()))
    return "\n".join([*lines, *finding_lines(audit.issues)])
