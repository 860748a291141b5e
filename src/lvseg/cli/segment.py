"""`lvseg segment`: the main job, for one study or many."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lvseg.atomic import write_text
from lvseg.cli.app import command
from lvseg.cli.options import (
    Age,
    BsaOption,
    CovariatesSheet,
    Flips,
    Formats,
    Height,
    Model,
    ReferenceRanges,
    Runtime,
    RuntimeOption,
    SegPhases,
    SegPhasesOption,
    SettingsFile,
    SexOption,
    Threads,
    Weight,
    body_options,
    load_settings,
    locate_model,
    optional_libraries,
    pair_files,
    with_body,
)
from lvseg.cli.output import Bar, Output
from lvseg.errors import UsageError
from lvseg.formats import REPORT

if TYPE_CHECKING:
    from lvseg.batch import Batch, Entry


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
    formats: Formats = None,
    seg_phases: SegPhasesOption = SegPhases.all,
    seg_type: Annotated[
        SegType, typer.Option(help="DICOM SEG as a mask, or with probabilities.")
    ] = SegType.binary,
    runtime: RuntimeOption = Runtime.auto,
    flips: Flips = None,
    settings: SettingsFile = None,
    reference_ranges: ReferenceRanges = None,
    bsa: BsaOption = None,
    sex: SexOption = None,
    age: Age = None,
    height_cm: Height = None,
    weight_kg: Weight = None,
    engine: Annotated[
        Engine, typer.Option(help="Where a batch runs: here, or on Ray (extra ray).")
    ] = Engine.local,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Studies at once.  [default: by cores and memory]")
    ] = None,
    study_timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="A study that takes longer has failed.  [default: 900]"
        ),
    ] = None,
    memory_limit: Annotated[
        float | None,
        typer.Option(
            metavar="GB", help="So may one that needs more.  [default: its part of what is free]"
        ),
    ] = None,
    covariates: CovariatesSheet = None,
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
    report.html and, from DICOM, a SEG and an SR. A study that fails does not stop the others. Two
    or more get a table, cohort.csv, and a page, cohort.html. The same command given again goes on
    where it was stopped: finished studies are skipped.
    """
    from lvseg import batch
    from lvseg.body import states_body
    from lvseg.cohort import by_name, joined, read_covariates
    from lvseg.output import OutputOptions, chosen_formats

    out.blank |= {"studies": [], "findings": []}
    for name, value, unit in (
        ("--spacing", spacing, "mm"),
        ("--study-timeout", study_timeout, "s"),
        ("--memory-limit", memory_limit, "GB"),
    ):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"expected {name} above 0 {unit}, found {value:g}")
    if code_table is not None and not deidentify:
        raise UsageError("expected --deidentify with --code-table, found it alone")
    pair_of = pair_files(pair)
    if not sources and pair_of is None:
        raise UsageError("expected a SOURCE, or --pair ED=FILE --pair ES=FILE, found neither")
    fractional = seg_type is SegType.fractional
    sheet = None if covariates is None else read_covariates(covariates)
    bodies = covariates if sheet is None or states_body(sheet) else None
    person = body_options(reference_ranges, bsa, bodies, sex, age, height_cm, weight_kg)
    chosen = with_body(load_settings(settings, flips=flips), person)
    work = batch.Work(
        locate_model(model),
        runtime.value,
        threads,
        replace(chosen, keep_probabilities=fractional or chosen.keep_probabilities),
        OutputOptions(chosen_formats(formats), seg_phases.value, fractional),
        spacing,
        overwrite,
        debug=out.debug,
    )
    limits = batch.Limits(
        jobs, study_timeout, None if memory_limit is None else int(memory_limit * 1e9)
    )
    batch.open_root(output)
    with out.progress("looking for studies"):
        hide = {"under_codes": deidentify}
        planned = batch.plan(sources or (), output, pair_of, chosen.reading, **hide)
    if code_table is not None:
        write_text(code_table, batch.code_table(planned))
    if sheet is not None and len(planned) < 2:
        if bodies is None:
            raise UsageError(
                "expected two or more studies for --covariates without body size, found one: see "
                "lvseg table"
            )
        sheet = None  # one study makes no table
    studies = batch.Batch(output, work, limits, engine.value, sheet)
    with optional_libraries():
        entries = tell(out, studies, planned)
    finished = batch.studies_of(entries)
    lines = [batch_line(entries)]
    if sheet is not None:
        both = joined(by_name(batch.collect(output).values()), sheet)
        out.blank |= {"without_row": both.without_row, "without_study": both.without_study}
        lines += both.lines(sheet.name)
    out.result(out.blank, "\n".join(lines))
    return batch.status_of(finished)


def tell(out: Output, studies: Batch, planned: Sequence[Entry]) -> list[Entry]:
    """Run a batch and tell how each study went, as they end; returns them in the order given."""
    place = {entry.name: index for index, entry in enumerate(planned)}
    entries: list[Entry] = []
    shown: list[Bar] = []
    running = studies.run(planned, lambda stage, done, total: shown[-1](stage, done, total))
    with closing(running):
        while len(entries) < len(planned):
            title = planned[0].name if len(planned) == 1 else "studies"
            with out.progress(title) as bar:
                shown.append(bar)
                if len(planned) > 1:
                    bar(f"{len(entries)} of {len(planned)}", len(entries), len(planned))
                entry = next(running)
            entries.append(entry if out.as_json else replace(entry, measurements=None))
            entries.sort(key=lambda each: place[each.name])
            # an interrupted batch tells these
            out.blank["studies"] = [each.document() for each in entries if not each.left_out]
            out.blank["findings"] = [each.document() for each in entries if each.left_out]
            if entry.exit:
                out.failed_as(entry.error or "", entry.trace)
            elif entry.lines:
                out.say(entry.lines)
        with out.progress("table"):
            next(running, None)
    return entries


def batch_line(entries: Sequence[Entry]) -> str:
    """How a batch went, and what to open; one study alone has a line of its own."""
    failed = [entry.label for entry in entries if entry.exit]
    maps = [entry.source for entry in entries if entry.left_out]
    before = sum(entry.skipped for entry in entries)
    studies = len(entries) - len(maps)
    lines = report_line([each.folder for each in entries if each.folder and not each.exit])
    if studies > 1 or before:
        done = f"{studies - len(failed)} done" + (f", {before} of them before" if before else "")
        noun = "study" if studies == 1 else "studies"
        text = f"{studies} {noun}: {done}, {len(failed)} failed"
        lines.append(f"{text}: {', '.join(failed)}" if failed else text)
    if maps:
        lines.append(f"label maps, not images, left out: {len(maps)} (first: {maps[0]})")
    return "\n".join(lines)


def report_line(folders: Sequence[Path]) -> list[str]:
    """Say which page to open in a browser; nothing where no study has one."""
    pages = [folder / REPORT for folder in folders if (folder / REPORT).is_file()]
    if not pages:
        return []
    more = f", and {REPORT} of each other study" if len(pages) > 1 else ""
    return [f"open {pages[0]} in a browser{more}"]
