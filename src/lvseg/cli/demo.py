"""`lvseg demo`: the main job on a simulated heart with known volumes."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from lvseg.atomic import atomic_folder
from lvseg.cli import batch
from lvseg.cli.app import command
from lvseg.cli.options import Model, Runtime, RuntimeOption, load_predictor, load_settings
from lvseg.cli.output import Output, table

#: Figures the demo compares: key, name for people, unit.
COMPARED = (
    ("edv_ml", "end-diastolic volume", "ml"),
    ("esv_ml", "end-systolic volume", "ml"),
    ("ef_percent", "ejection fraction", "%"),
)


@command("demo", example="lvseg demo -o demo")
def demo(
    out: Output,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the files.")] = None,
    model: Model = None,
    runtime: RuntimeOption = Runtime.auto,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old demo.")] = False,
) -> int:
    """Run the main job on a simulated heart.

    Writes a DICOM study with known volumes, segments it and compares.
    """
    started = perf_counter()
    predictor = load_predictor(model, runtime, None)
    with tempfile.TemporaryDirectory(prefix="lvseg-demo-") as temporary:
        root = Path(temporary) if output is None else output
        batch.open_root(root)
        study = root / "input" / "phantom"
        truth = simulate(out, study, overwrite=overwrite)
        work = batch.Batch(out, predictor, load_settings(None), overwrite=overwrite, tell=False)
        (entry,) = work.run(list(batch.plan([study], root)))
    if entry.exit:
        out.result({"error": entry.error, "exit": entry.exit}, "")
        return entry.exit
    document = demo_document(entry, truth, perf_counter() - started, kept=output is not None)
    out.result(document, demo_text(document))
    return 0


def simulate(out: Output, folder: Path, *, overwrite: bool) -> dict[str, float]:
    """Write the phantom as a DICOM series; returns the true figures of :data:`COMPARED`."""
    from lvseg.phantom import beating_ventricle
    from lvseg.phantom.dicom_export import write_dicom_cine

    with out.progress("simulating a heart"):
        cine, _, truth = beating_ventricle()
        with atomic_folder(folder, None, overwrite=overwrite) as building:
            write_dicom_cine(cine, building)
    return {key: float(getattr(truth, key)) for key, _, _ in COMPARED}


def demo_document(
    entry: batch.Entry, truth: dict[str, float], seconds: float, *, kept: bool
) -> dict[str, Any]:
    """Put true and measured figures side by side."""
    values = entry.measurements or {}
    return {
        "folder": entry.folder if kept else None,
        "true": truth,
        "measured": {key: values.get(key) for key in truth},
        "verdict": values.get("quality", {}).get("verdict"),
        "seconds": round(seconds, 2),
    }


def demo_text(document: dict[str, Any]) -> str:
    """Show people the comparison."""
    rows: list[tuple[str, str, str]] = [("", "true", "measured")]
    for key, name, unit in COMPARED:
        measured = document["measured"][key]
        text = "unknown" if measured is None else f"{measured:.1f} {unit}"
        rows.append((name, f"{document['true'][key]:.1f} {unit}", text))
    lines = [table(rows), f"{document['seconds']:.1f} seconds"]
    if document["folder"] is not None:
        lines.append(f"files: {document['folder']}")
    return "\n".join(lines)
