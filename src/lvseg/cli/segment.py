"""`lvseg segment`: the main job, for one study or many."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli import batch
from lvseg.cli.app import command
from lvseg.cli.formats import Wanted, chosen_formats, write_formats
from lvseg.cli.output import Output, finding_lines
from lvseg.errors import UsageError

if TYPE_CHECKING:
    from lvseg.predict import Predictor
    from lvseg.read import StudyRef
    from lvseg.results import LVMeasurements, StudyResult

__all__ = [
    "MODEL_HELP",
    "Runtime",
    "Work",
    "batch_line",
    "load_predictor",
    "segment",
    "summary_line",
    "volumes_text",
    "write_study",
]

MODEL_HELP = "Name of a shipped model, or a model folder."


class Runtime(StrEnum):
    """Inference engines."""

    auto = "auto"
    onnxruntime = "onnxruntime"
    openvino = "openvino"


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


def load_predictor(model: str | None, runtime: Runtime, threads: int | None) -> Predictor:
    """Load the model by shipped name or folder; None = the default one.

    :raises ModelError: missing, altered or broken.
    """
    from lvseg import weights
    from lvseg.predict import load_model

    folder = weights.locate(weights.DEFAULT if model is None else model)
    return load_model(folder, runtime=runtime.value, threads=threads)


@command("segment", example="lvseg segment dicom_folder -o out")
def segment(
    out: Output,
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="DICOM, zip, NIfTI, picture, or folders."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Gets one folder a study.")],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    spacing: Annotated[
        float | None, typer.Option(metavar="MM", help="In-plane spacing of pictures.")
    ] = None,
    formats: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="From nifti, png, contours, sunnybrook, dicom-seg, dicom-sr, report; "
            "default: what fits.",
        ),
    ] = None,
    seg_phases: Annotated[
        SegPhases, typer.Option(help="DICOM SEG of the whole cine, or one each of ED and ES.")
    ] = SegPhases.all,
    seg_type: Annotated[
        SegType, typer.Option(help="DICOM SEG as a mask, or with probabilities.")
    ] = SegType.binary,
    runtime: Annotated[Runtime, typer.Option(help="Inference engine.")] = Runtime.auto,
    engine: Annotated[Engine, typer.Option(help="Where a batch runs.")] = Engine.local,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace earlier results.")
    ] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="Processor threads.")] = None,
) -> int:
    """Segment and measure the left ventricle.

    Every study of the sources gets a folder with its masks, measurements.json, contours, pictures,
    report.html and, from DICOM, a SEG and an SR. A study that fails does not stop the others.
    """
    out.blank["studies"] = []
    if engine is Engine.ray:
        raise UsageError("--engine ray is not available in this version; use --engine local")
    if spacing is not None and not 0 < spacing < float("inf"):
        raise UsageError(f"expected --spacing above 0 mm, found {spacing:g}")
    fractional = seg_type is SegType.fractional
    wanted = Wanted(chosen_formats(formats), seg_phases.value, fractional)
    batch.open_root(output)
    predictor = load_predictor(model, runtime, threads)
    with out.progress("looking for studies"):
        planned = list(batch.plan(sources, output))
    work = Work(out, predictor, wanted, spacing, overwrite)
    entries = []
    for entry, error in planned:
        entries.append(work.finish(entry, error))
        out.blank["studies"].append(entries[-1].document())  # an interrupted batch tells these
    out.result({"studies": [entry.document() for entry in entries]}, batch_line(entries))
    return batch.status_of(entries)


@dataclass(frozen=True, slots=True)
class Work:
    """What every study of a batch shares; ``tell``: print a line about each."""

    out: Output
    predictor: Predictor
    wanted: Wanted = field(default_factory=Wanted)
    spacing_mm: float | None = None
    overwrite: bool = False
    tell: bool = True

    def finish(self, entry: batch.Entry, error: Exception | None = None) -> batch.Entry:
        """Do one study and tell how it went; a failure is recorded, never raised."""
        try:
            if error is not None:
                raise error
            return self._do(entry)
        except Exception as failure:
            failure = batch.as_read_error(entry, failure)
            text, status = self.out.failed(failure, where=entry.label)
            return replace(entry, folder=None, error=text, exit=status)

    def _do(self, entry: batch.Entry) -> batch.Entry:
        from lvseg.pipeline import Settings, run

        assert entry.study is not None  # noqa: S101 - for mypy
        assert entry.folder is not None  # noqa: S101 - for mypy
        batch.check_free(entry.folder, overwrite=self.overwrite)
        with self.out.progress(entry.folder.name) as bar:
            settings = Settings(keep_probabilities=self.wanted.fractional)
            result = run(
                entry.study, self.predictor, settings, spacing_mm=self.spacing_mm, progress=bar
            )
            document = write_study(result, entry.folder, self.wanted, entry.study)
        if self.tell:
            self.out.say(summary_line(result, entry.folder))
        return replace(entry, measurements=document)


def write_study(
    result: StudyResult, folder: Path, wanted: Wanted, study: StudyRef | None = None
) -> dict[str, Any]:
    """Write one study folder, whole or not at all; returns the content of measurements.json.

    :param study: where the result comes from.
    """
    from lvseg.report import measurements_document, to_json
    from lvseg.write import write_text

    started = perf_counter()
    with batch.study_folder(folder) as building, _no_collections():
        findings = (*result.findings, *write_formats(result, building, wanted, study))
        seconds = {**result.seconds, "write": perf_counter() - started}
        timed = replace(result, findings=findings, seconds=seconds)
        write_text(building / batch.MEASUREMENTS, to_json(timed))
    return measurements_document(timed)


@contextmanager
def _no_collections() -> Iterator[None]:
    """Put off the search for cycles, which would walk the many small DICOM objects often."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


def batch_line(entries: Sequence[batch.Entry]) -> str:
    """How a batch went; nothing for one study, whose own line says it."""
    failed = [entry.label for entry in entries if entry.exit]
    if len(entries) < 2:
        return ""
    text = f"{len(entries)} studies: {len(entries) - len(failed)} done, {len(failed)} failed"
    return f"{text}: {', '.join(failed)}" if failed else text


def summary_line(result: StudyResult, folder: Path) -> str:
    """One study for people: its size, volumes, verdict and place, then what to look at."""
    values = result.measurements
    phases, slices = result.cine.shape[:2]
    head = (
        f"{folder.name}: {slices} slices x {phases} phases, {volumes_text(values)}, "
        f"{result.verdict}, {folder}"
    )
    return "\n".join([head, *finding_lines(result.findings, all_of_them=False)])


def volumes_text(values: LVMeasurements) -> str:
    """EDV, ESV and EF with their units; what is not known says so."""
    parts = []
    for name, value, unit in (
        ("EDV", values.edv_ml, "ml"),
        ("ESV", values.esv_ml, "ml"),
        ("EF", values.ef_percent, "%"),
    ):
        parts.append(f"{name} unknown" if value is None else f"{name} {value:.1f} {unit}")
    return ", ".join(parts)
