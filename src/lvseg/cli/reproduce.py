"""`lvseg reproduce`: the paper's networks and its split, then one change at a time to ours."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli.app import command
from lvseg.cli.options import DatasetOption, Device, DeviceOption, optional_libraries
from lvseg.cli.output import Output, table

if TYPE_CHECKING:
    from lvseg.reproduction.plan import Plan


class Size(StrEnum):
    """How large."""

    small = "small"
    paper = "paper"


@command("reproduce", example="lvseg reproduce --data dataset -o study --scale small")
def reproduce(
    out: Output,
    data: DatasetOption,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the reproduction.")],
    scale: Annotated[
        Size, typer.Option(help="small = two processor cores; paper = the paper's size, a GPU.")
    ] = Size.small,
    device: DeviceOption = Device.auto,
    only: Annotated[
        list[str] | None, typer.Option(metavar="STEP", help="Run this step only; repeatable.")
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Steps to run at once on a CPU.  [default: one a processor]"),
    ] = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Show the steps and the time they take; run nothing.")
    ] = False,
) -> int:
    """Run the paper behind lvseg again, honestly.

    Trains the paper's four networks on its own leaking split and on one by patient, then changes
    one thing at a time, and says what each bought. The same command goes on with a stopped run.
    Writes report.html, report.md and study.json. Needs the optional part 'train'.
    """
    with optional_libraries():
        from lvseg.reproduction.ladder import SCALES
        from lvseg.reproduction.plan import make_plan
        from lvseg.reproduction.run import reproduce as run

    size, names = SCALES[scale.value], tuple(only or ())
    if plan:
        with optional_libraries(), out.progress("measuring a few steps"):
            found = make_plan(data, size, names, device.value, jobs)
        out.result(found.document(), plan_text(found))
        return 0
    try:
        with optional_libraries(), out.progress("reproducing") as bar:
            document = run(
                data,
                output,
                size,
                device=device.value,
                only=names,
                jobs=jobs,
                report=bar,
                note=out.note,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt("(the same command goes on)") from None
    out.result(document, text(document, output))
    return 0


def plan_text(found: Plan) -> str:
    """The plan for people: a line a step, and the sum."""
    rows = [("step", "split", "steps", "s a step", "minutes")]
    rows += [
        (
            step.key,
            step.split,
            str(step.options.epochs * step.options.steps_per_epoch),
            f"{each.step_s:.3f}",
            f"{each.total_s / 60:.1f}",
        )
        for step, each in zip(found.steps, found.estimates, strict=True)
    ]
    words = f"about {found.total_s / 3600:.1f} hours on {found.device}, alone on it"
    return f"{table(rows)}\n{words}, {found.jobs} steps at once"


def text(document: dict[str, Any], output: Path) -> str:
    """The outcome for people: mean Dice of each step, and where the report is."""
    parts = ("training", "validation", "test")
    rows = [("step", *(f"{part} Dice" for part in parts))]
    for step in document["steps"]:
        means = [step["scores"][part]["dice"]["mean"] for part in parts]
        rows.append((step["key"], *("-" if mean is None else f"{mean:.4f}" for mean in means)))
    lines = [table(rows)]
    if document["missing"]:
        lines.append(f"not run yet: {', '.join(document['missing'])}")
    return "\n".join([*lines, f"report: {output / 'report.html'}"])
