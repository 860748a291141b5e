"""`lvseg list`, `lvseg measure`, `lvseg compare`: look at studies and masks that exist."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.learn import evaluation_text
from lvseg.cli.output import Output, finding_lines, staged, table
from lvseg.cli.work import volumes_text
from lvseg.errors import ReadError
from lvseg.issues import Issue

if TYPE_CHECKING:
    from lvseg.cine import SeriesSummary
    from lvseg.results import LVMeasurements

__all__ = ["compare", "list_source", "measure"]


@command("list", example="lvseg list dicom_folder")
def list_source(
    out: Output,
    source: Annotated[
        Path, typer.Argument(metavar="SOURCE", help="DICOM, zip, NIfTI, picture, or a folder.")
    ],
) -> int:
    """Show the series of a source.

    The short-axis cine of each study is marked, and every line says why.
    """
    from lvseg.read import list_series

    with out.progress("reading"):
        found = list_series(source)
    out.result({"source": source, "series": found}, series_table(found))
    if any(each.chosen for each in found):
        return 0
    raise ReadError(f"expected a short-axis cine, found none among {len(found)} series of {source}")


def series_table(found: tuple[SeriesSummary, ...]) -> str:
    """One line a series; the chosen one is marked."""
    head = ("", "series", "modality", "files", "size", "slices x phases", "spacing mm", "why")
    rows = [
        (
            "*" if each.chosen else "",
            each.description or each.series_uid,
            each.modality,
            each.files,
            f"{each.rows} x {each.columns}",
            f"{each.slices} x {each.phases}",
            spacing_text(each),
            each.reason,
        )
        for each in found
    ]
    return table([head, *rows])


def spacing_text(each: SeriesSummary) -> str:
    """In-plane and slice spacing; ``?`` for what is not known."""
    known = each.pixel_spacing_mm
    plane = "?" if known is None else " x ".join(f"{value:.2f}" for value in known)
    depth = "?" if each.slice_spacing_mm is None else f"{each.slice_spacing_mm:.1f}"
    return f"{plane}, {depth} apart"


@command("compare", example="lvseg compare expert.nii.gz out/study/segmentation.nii.gz")
def compare(
    out: Output,
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="A mask, or a folder of masks.")
    ],
    prediction: Annotated[
        Path, typer.Argument(metavar="PREDICTION", help="Another, matched by file name.")
    ],
) -> int:
    """Measure how two masks agree.

    Takes two mask files, or two folders matched by file name: the output of any tool.
    """
    from lvseg import evaluate as judging

    with out.progress("comparing") as bar:
        found = judging.compare(reference, prediction, staged(bar))
        document = judging.document(found)
    out.result(document, evaluation_text(document))
    return 0


@command("measure", example="lvseg measure out/study/segmentation.nii.gz --cine dicom_folder")
def measure(
    out: Output,
    mask: Annotated[Path, typer.Argument(metavar="MASK", help="NIfTI, DICOM SEG or picture.")],
    cine: Annotated[
        Path | None, typer.Option(help="The study of the mask: its geometry and times.")
    ] = None,
) -> int:
    """Measure an existing mask."""
    from lvseg import quality
    from lvseg.measurement import measure as measure_mask
    from lvseg.read import read_mask, read_study
    from lvseg.report import mask_document

    with out.progress("reading"):
        like = None if cine is None else read_study(cine).short_axis()
        labels = read_mask(mask, like=like)
    known = None if like is None else (like.times_ms, like.heart_rate_bpm)
    times_ms, heart_rate_bpm = known or (None, None)
    values = measure_mask(labels, times_ms=times_ms, heart_rate_bpm=heart_rate_bpm)
    noticed = values.issues
    if like is not None:
        noticed = quality.check(quality.Evidence(like, labels, values))
    document = mask_document(str(mask), labels, values, noticed)
    out.result(document, measure_text(values, noticed))
    return 0


def measure_text(values: LVMeasurements, noticed: tuple[Issue, ...]) -> str:
    """Show people the volumes, the phases, the curve and what was noticed."""
    ends = values.phases
    lines = [volumes_text(values)]
    if ends.end_diastole is not None and ends.end_systole is not None:
        lines.append(
            f"end-diastole: phase {ends.end_diastole}, end-systole: phase {ends.end_systole}"
        )
    for name, value, unit in (
        ("cardiac output", values.cardiac_output_l_min, "l/min"),
        ("peak ejection rate", values.peak_ejection_rate_ml_s, "ml/s"),
        ("peak filling rate", values.peak_filling_rate_ml_s, "ml/s"),
    ):
        if value is not None:
            lines.append(f"{name}: {value:.1f} {unit}")
    if values.volume_ml is not None:
        lines.append("ml by phase: " + " ".join(f"{volume:.1f}" for volume in values.volume_ml))
    return "\n".join([*lines, *finding_lines(noticed)])
