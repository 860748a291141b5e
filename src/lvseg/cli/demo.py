"""`lvseg demo`: the main job on a simulated heart with known volumes and mass."""

from __future__ import annotations

import tempfile
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.atomic import atomic_folder
from lvseg.cli.app import command
from lvseg.cli.options import Model, Runtime, RuntimeOption, locate_model
from lvseg.cli.output import Output, table

if TYPE_CHECKING:
    from lvseg.batch import Entry

#: Figures the demo compares: key, name for people, unit.
COMPARED = (
    ("edv_ml", "end-diastolic volume", "ml"),
    ("esv_ml", "end-systolic volume", "ml"),
    ("ef_percent", "ejection fraction", "%"),
    ("mass_g", "mass", "g"),
)
#: How far a figure may lie from the true one to be called good: as far as expert readers of seven
#: laboratories lay from their consensus (Suinesiaputra et al., J Cardiovasc Magn Reson 2015;17:63).
LIMITS = MappingProxyType({"edv_ml": 14.7, "esv_ml": 13.2, "ef_percent": 4.2, "mass_g": 17.5})
#: What a model that does not know the myocardium reports.
WITHOUT_MASS = "no-myocardium"


@command("demo", example="lvseg demo -o demo")
def demo(
    out: Output,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Keep the files.")] = None,
    model: Model = None,
    runtime: RuntimeOption = Runtime.auto,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old demo.")] = False,
) -> int:
    """Run the main job on a simulated heart.

    Writes a DICOM study with known volumes and mass, segments it, compares and judges.
    """
    from lvseg import batch

    started = perf_counter()
    work = batch.Work(locate_model(model), runtime.value, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="lvseg-demo-") as temporary:
        root = Path(temporary) if output is None else output
        batch.open_root(root)
        study = root / "input" / "phantom"
        truth = simulate(out, study, overwrite=overwrite)
        with out.progress("segmenting") as bar:
            (entry,) = batch.Batch(root, work).run(batch.plan([study], root), bar)
    if entry.exit:
        out.failed_as(entry.error or "", entry.trace)
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
    entry: Entry, truth: dict[str, float], seconds: float, *, kept: bool
) -> dict[str, Any]:
    """Put true and measured figures side by side.

    ``good`` says whether every figure lies within its limit; the mass does not count for a model
    that does not know it (``not_measured``).
    """
    values = entry.measurements or {}
    quality = values.get("quality", {})
    measured: dict[str, Any] = {key: values.get(key) for key in truth}
    told = {finding["code"] for finding in quality.get("findings", ())}
    absent = [key for key in ("mass_g",) if measured[key] is None and WITHOUT_MASS in told]
    return {
        "folder": entry.folder if kept else None,
        "true": truth,
        "measured": measured,
        "limits": dict(LIMITS),
        "not_measured": absent,
        "good": not any(
            measured[key] is None or abs(measured[key] - true) > LIMITS[key]
            for key, true in truth.items()
            if key not in absent
        ),
        "verdict": quality.get("verdict"),
        "seconds": round(seconds, 2),
    }


def demo_text(document: dict[str, Any]) -> str:
    """Show people the comparison."""
    rows: list[tuple[str, ...]] = [("", "true", "measured", "difference", "limit")]
    beyond = []
    for key, name, unit in COMPARED:
        true, measured, limit = document["true"][key], document["measured"][key], LIMITS[key]
        cells = [name, f"{true:.1f} {unit}", "unknown", "", f"{limit:.1f}"]
        if key in document["not_measured"]:
            cells[2:] = ["not measured by this model", "", ""]
        elif measured is None:
            beyond.append(name)
        else:
            cells[2:4] = [f"{measured:.1f} {unit}", f"{measured - true:+.1f}"]
            beyond += [name] if abs(measured - true) > limit else []
        rows.append(tuple(cells))
    within = "as far as expert readers lie from their consensus"
    judgement = f"good: every difference is within its limit, {within}"
    if beyond:
        judgement = f"not good: beyond the limit ({within}): {', '.join(beyond)}"
    lines = [table(rows), judgement, f"{document['seconds']:.1f} seconds"]
    if document["folder"] is not None:
        lines.append(f"files: {document['folder']}")
    return "\n".join(lines)
