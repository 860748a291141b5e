"""`lvseg measure`: volumes, phases and ejection fraction of a mask that exists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import MASK_HELP, LabelValues, SettingsFile, label_values, load_settings
from lvseg.cli.output import Output
from lvseg.issues import Issue, finding_lines

if TYPE_CHECKING:
    from lvseg.results import LVMeasurements


@command("measure", example="lvseg measure out/study/segmentation.nii.gz --cine dicom_folder")
def measure(
    out: Output,
    mask: Annotated[Path, typer.Argument(metavar="MASK", help=MASK_HELP)],
    cine: Annotated[
        Path | None, typer.Option(help="The study of the mask: its geometry and times.")
    ] = None,
    label: LabelValues = None,
    settings: SettingsFile = None,
) -> int:
    """Measure an existing mask, of any tool.

    In a NIfTI or picture 0 and 1, or 0 and 255, are background and cavity; other values need
    --label. With --cine STUDY the mask takes its spacing and times from the study it was drawn on,
    and is checked against its images.
    """
    from lvseg.intervals import with_intervals
    from lvseg.measurement import measure as measure_mask
    from lvseg.pipeline import assess
    from lvseg.read import read_mask, read_mask_on
    from lvseg.results import mask_document

    chosen, values_of = load_settings(settings), label_values(label)
    with out.progress("reading"):
        limits = chosen.reading
        if cine is None:
            like, labels = None, read_mask(mask, label_values=values_of, limits=limits)
        else:
            like, labels = read_mask_on(mask, cine, label_values=values_of, limits=limits)
    if like is None:
        values, _ = with_intervals(measure_mask(labels, chosen.measurement), None, ())
        noticed = values.issues
    else:
        result = assess(like, labels, settings=chosen)
        values, noticed = result.measurements, result.issues
    document = mask_document(str(mask), labels, values, noticed)
    out.result(document, measure_text(values, noticed))
    if cine is None and values.edv_ml is None:
        out.note(
            "--cine STUDY, the study of the mask, gives the spacing and times that are missing"
        )
    return 0


def measure_text(values: LVMeasurements, noticed: tuple[Issue, ...]) -> str:
    """Show people the volumes, the phases, the curve and what was noticed."""
    from lvseg.report.lines import volumes_text

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
    if values.wall_thickness_mm is not None:
        known = ("-" if each is None else f"{each:.1f}" for each in values.wall_thickness_mm)
        lines.append("wall thickness by slice at end-diastole, mm: " + " ".join(known))
    return "\n".join([*lines, *finding_lines(noticed)])
