"""`lvseg assess`: a mask that a person drew or edited becomes a full result."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.cli.app import command
from lvseg.cli.options import (
    MASK_HELP,
    Age,
    BodySheet,
    BsaOption,
    Formats,
    Height,
    LabelValues,
    ReferenceRanges,
    SegPhases,
    SegPhasesOption,
    SettingsFile,
    SexOption,
    Weight,
    body_options,
    label_values,
    load_settings,
    with_body,
)
from lvseg.cli.output import Output
from lvseg.errors import UsageError
from lvseg.names import readable
from lvseg.output import OutputOptions, check_free, chosen_formats, write_study

if TYPE_CHECKING:
    from lvseg.results import Authorship

#: Longest name of a reader and of an organisation (PS3.5 6.2: VR LO, a component group of VR PN).
LONGEST_NAME = 63


@command(
    "assess", example='lvseg assess edited.nii.gz --cine dicom_folder -o out --reader "A. Ray"'
)
def assess(
    out: Output,
    mask: Annotated[Path, typer.Argument(metavar="MASK", help=MASK_HELP)],
    cine: Annotated[Path, typer.Option(metavar="STUDY", help="The study of the mask.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Gets the folder of the study.")],
    reader: Annotated[
        str, typer.Option(metavar="NAME", help="Who answers for the mask; stands in SEG and SR.")
    ] = "",
    verify: Annotated[
        str,
        typer.Option(
            metavar="ORGANISATION", help="The reader verifies the report, for this organisation."
        ),
    ] = "",
    predecessor: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Earlier result that was edited.  [default: the folder of the mask]",
        ),
    ] = None,
    label: LabelValues = None,
    formats: Formats = None,
    seg_phases: SegPhasesOption = SegPhases.all,
    settings: SettingsFile = None,
    reference_ranges: ReferenceRanges = None,
    bsa: BsaOption = None,
    covariates: BodySheet = None,
    sex: SexOption = None,
    age: Age = None,
    height_cm: Height = None,
    weight_kg: Weight = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result.")
    ] = False,
) -> int:
    """Measure and check an edited mask, and write everything that segment writes.

    SEG and SR name the reader and the earlier objects; the SR stays unverified without --verify.
    """
    from lvseg.pipeline import assess as assess_mask
    from lvseg.read import read_mask_on, read_predecessor
    from lvseg.report.lines import summary_lines

    out.blank |= {"studies": []}
    chosen, values_of = load_settings(settings), label_values(label)
    person = body_options(reference_ranges, bsa, covariates, sex, age, height_cm, weight_kg)
    chosen = with_body(chosen, person)
    author = _author(reader, verify)
    options = OutputOptions(chosen_formats(formats), seg_phases.value)
    started = perf_counter()
    with out.progress("reading"):
        image, drawn = read_mask_on(mask, cine, label_values=values_of, limits=chosen.reading)
    folder = output / image.source.name
    check_free(folder, overwrite=overwrite)
    read = perf_counter() - started
    earlier, noticed = read_predecessor(mask, predecessor, study_uid=image.source.study_uid)
    author = replace(author, predecessor=earlier)
    result = assess_mask(image, drawn, settings=chosen, authorship=author)
    result = replace(result, issues=(*result.issues, *noticed))
    seconds = {"read": read, "measure": perf_counter() - started - read}
    result = replace(result, seconds=seconds)
    document = write_study(result, folder, options, cine, overwrite=overwrite)
    entry = {
        "source": readable(str(cine)),
        "folder": str(folder),
        "exit": 0,
        "error": None,
        "measurements": document,
    }
    out.result({"studies": [entry]}, summary_lines(result, folder))
    return 0


def _author(reader: str, verify: str) -> Authorship:
    """Who answers for the mask.

    :raises UsageError: a name of blanks or too long, or a verification by nobody.
    """
    from lvseg.results import Authorship

    for option, text in (("--reader", reader), ("--verify", verify)):
        if len(text) > LONGEST_NAME or (text and not text.strip()) or not text.isprintable():
            raise UsageError(
                f"expected {option} with a name of 1 to {LONGEST_NAME} characters that can be "
                f"printed, found {len(text)} characters"
            )
    if verify and not reader:
        raise UsageError("expected --reader beside --verify: nobody is named who verifies")
    now = f"{datetime.now().astimezone():%Y%m%d%H%M%S.%f}"
    return Authorship(reader.strip(), verify.strip(), read_at=now)
