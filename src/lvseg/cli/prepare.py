"""`lvseg prepare`: raw data become a data set folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli.app import command, prepare_app
from lvseg.cli.options import LabelValues, NewDataset, ReplaceDataset, label_values
from lvseg.cli.output import Output, staged
from lvseg.errors import UsageError
from lvseg.issues import finding_lines

if TYPE_CHECKING:
    from lvseg.datasets import PrepareReport


@command("sunnybrook", example="lvseg prepare sunnybrook sunnybrook -o dataset", group=prepare_app)
def sunnybrook(
    out: Output,
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="The PNG pairs with manifest, or the official layout."
        ),
    ],
    output: NewDataset,
    dicom: Annotated[
        Path | None, typer.Option(help="DICOM folders by patient: spacings, empty frames.")
    ] = None,
    as_distributed: Annotated[
        bool,
        typer.Option(
            "--as-distributed", help="Keep the public masks, which are too large by their line."
        ),
    ] = False,
    overwrite: ReplaceDataset = False,
) -> int:
    """Make a data set of the Sunnybrook data.

    The splits are its official sets. Masks are filled from the experts' outlines. DICOM folders
    supply spacings and frames without a cavity.
    """
    from lvseg.datasets import prepare_sunnybrook

    with out.progress("preparing") as bar:
        report = prepare_sunnybrook(
            source,
            output,
            dicom=dicom,
            as_distributed=as_distributed,
            overwrite=overwrite,
            progress=staged(bar),
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
    output: NewDataset,
    patient: Annotated[
        str | None, typer.Option(metavar="REGEX", help="Finds the patient in a file name.")
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
    label: LabelValues = None,
    overwrite: ReplaceDataset = False,
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
    chosen |= {"facts": facts, "label_values": label_values(label)}
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
