"""`lvseg segment`: the main job, for one study or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lvseg.atomic import write_text
from lvseg.cli import batch
from lvseg.cli.app import command
from lvseg.cli.options import (
    Flips,
    Model,
    Runtime,
    RuntimeOption,
    SettingsFile,
    Threads,
    load_predictor,
    load_settings,
    pair_files,
)
from lvseg.cli.output import Output
from lvseg.errors import UsageError
from lvseg.formats import FORMATS
from lvseg.output import OutputOptions, chosen_formats


class SegPhases(StrEnum):
    """Which phases a DICOM SEG holds."""

    all = "all"
    ed_es = "ed-es"


class SegType(StrEnum):
    """What a DICOM SEG holds."""

    binary = "binary"
    fractional = "fractional"


class Engine(StrEnum):
    """Where a batch runs."""

    local = "local"
    ray = "ray"


@command("segment", example="lvseg segment dicom_folder -o out")
def segment(
    out: Output,
    output: Annotated[Path, typer.Option("--output", "-o", help="Gets one folder a study.")],
    sources: Annotated[
        list[Path] | None,
        typer.Argument(metavar="SOURCE", help="DICOM, archive, NIfTI, picture, or folders."),
    ] = None,
    pair: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PHASE=FILE",
            help="Two NIfTI files of one heart: --pair ED=FILE --pair ES=FILE.",
        ),
    ] = None,
    model: Model = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="In-plane spacing of pictures.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help=f"From {', '.join(each.name for each in FORMATS)}; default: what fits.",
        ),
    ] = None,
    seg_phases: Annotated[
        SegPhases, typer.Option(help="DICOM SEG of the whole cine, or one each of ED and ES.")
    ] = SegPhases.all,
    seg_type: Annotated[
        SegType, typer.Option(help="DICOM SEG as a mask, or with probabilities.")
    ] = SegType.binary,
    runtime: RuntimeOption = Runtime.auto,
    flips: Flips = None,
    settings: SettingsFile = None,
    engine: Annotated[Engine, typer.Option(help="Where a batch runs.")] = Engine.local,
    deidentify: Annotated[
        bool,
        typer.Option("--deidentify", help="Codes for the names of patients, folders and files."),
    ] = False,
    code_table: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="With --deidentify: which code is whose, as CSV."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results.")
    ] = False,
    threads: Threads = None,
) -> int:
    """Segment and measure the left ventricle.

    Every study of the sources gets a folder with its masks, measurements.json, contours, pictures,
    report.html and, from DICOM, a SEG and an SR. A study that fails does not stop the others.
    """
    out.blank |= {"studies": [], "findings": []}
    if engine is Engine.ray:
        raise UsageError("--engine ray is not available in this version; use --engine local")
    if spacing is not None and not 0 < spacing < float("inf"):
        raise UsageError(f"expected --spacing above 0 mm, found {spacing:g}")
    if code_table is not None and not deidentify:
        raise UsageError("expected --deidentify with --code-table, found it alone")
    both = pair_files(pair)
    if not sources and both is None:
        raise UsageError("expected a SOURCE, or --pair ED=FILE --pair ES=FILE, found neither")
    fractional = seg_type is SegType.fractional
    options = OutputOptions(chosen_formats(formats), seg_phases.value, fractional)
    chosen = load_settings(settings, flips=flips)
    chosen = replace(chosen, keep_probabilities=fractional or chosen.keep_probabilities)
    batch.open_root(output)
    predictor = load_predictor(model, runtime, threads)
    with out.progress("looking for studies"):
        hide = {"under_codes": deidentify}
        planned = batch.plan(sources or (), output, both, chosen.reading, **hide)
    if code_table is not None:
        write_text(code_table, batch.code_table(planned))
    studies = batch.Batch(out, predictor, chosen, options, spacing, overwrite)
    entries: list[batch.Entry] = []
    for entry in studies.run(planned):
        entries.append(entry)
        key = "findings" if entry.left_out else "studies"
        out.blank[key].append(entry.document())  # an interrupted batch tells these
    finished = batch.studies_of(entries)
    out.result(out.blank, batch_line(entries))
    return batch.status_of(finished)


def batch_line(entries: Sequence[batch.Entry]) -> str:
    """How a batch went; nothing for one study alone, whose own line says it."""
    failed = [entry.label for entry in entries if entry.exit]
    maps = [entry.source for entry in entries if entry.left_out]
    studies = len(entries) - len(maps)
    lines = []
    if studies > 1:
        text = f"{studies} studies: {studies - len(failed)} done, {len(failed)} failed"
        lines.append(f"{text}: {', '.join(failed)}" if failed else text)
    if maps:
        lines.append(f"label maps, not images, left out: {len(maps)} (first: {maps[0]})")
    return "\n".join(lines)
