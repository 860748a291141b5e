"""`lvseg demo`, `lvseg models`, `lvseg doctor`: does it work here, and with what."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from lvseg.atomic import atomic_folder
from lvseg.cli import batch
from lvseg.cli.app import command
from lvseg.cli.output import Output, table
from lvseg.cli.segment import MODEL_HELP, Runtime, load_predictor
from lvseg.cli.work import Work
from lvseg.errors import LvsegError

__all__ = ["demo", "doctor", "models"]

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
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    runtime: Annotated[Runtime, typer.Option(help="Inference engine.")] = Runtime.auto,
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
        work = Work(out, predictor, overwrite=overwrite, tell=False)
        ((planned, error),) = batch.plan([study], root)
        entry = work.finish(planned, error)
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


def found_models() -> list[dict[str, Any]]:
    """Every shipped model with what its card says, and whether its weights are the card's."""
    from lvseg import model_store

    rows = []
    for each in model_store.shipped():
        row: dict[str, Any] = {"name": each.name, "folder": each.folder, "verified": True}
        try:
            card = model_store.verify(each.folder)
            row |= {"version": card.version, "parameters": card.parameters, "sha256": card.sha256}
            row |= {"licence": card.licence, "scores": card.scores, "error": None}
        except LvsegError as error:
            row |= {"verified": False, "error": str(error)}
        rows.append(row)
    return rows


@command("models", example="lvseg models")
def models(out: Output) -> int:
    """Show and verify the shipped models."""
    found = found_models()
    rows = [("name", "verified", "parameters", "folder")]
    for each in found:
        verdict = "yes" if each["verified"] else f"NO: {each['error']}"
        rows.append((each["name"], verdict, str(each.get("parameters", "?")), str(each["folder"])))
    out.result({"models": found}, table(rows) if found else "no models are shipped")
    return 0 if all(each["verified"] for each in found) else 5


@command("doctor", example="lvseg doctor --json")
def doctor(out: Output) -> int:
    """Show what is installed and found here.

    Versions, cores, engines, optional parts, models and data (LVSEG_DATA).
    """
    from lvseg.predict import available_runtimes, usable_cores
    from lvseg.version import __version__

    document: dict[str, Any] = {
        "lvseg": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "runtimes": list(available_runtimes()),
        "packages": package_versions(),
        "extras": extras_present(),
        "models": {each["name"]: each["verified"] for each in found_models()},
        "data": data_found(),
    }
    out.result(document, doctor_text(document))
    return 0 if document["runtimes"] and all(document["models"].values()) else 5


def doctor_text(document: dict[str, Any]) -> str:
    """Show people the facts, one a line."""
    rows = [(key, _fact(value)) for key, value in document.items() if key != "packages"]
    packages = sorted(document["packages"].items())
    rows += [(name, version or "not installed") for name, version in packages]
    return table(rows)


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {'yes' if good else 'NO'}" for key, good in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    return "-" if value is None else str(value)


def requirements() -> list[tuple[str, str]]:
    """Every package that lvseg asks for, as (name, extra or "")."""
    found = []
    for line in metadata.requires("lvseg") or []:
        name = re.match(r"[\w.-]+", line)
        extra = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", line)
        if name is not None and name[0] != "lvseg":
            found.append((name[0], extra[1] if extra else ""))
    return found


def package_versions() -> dict[str, str | None]:
    """Installed versions of what lvseg needs without extras, and of the optional parts."""
    versions: dict[str, str | None] = {}
    for name, _ in requirements():
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def extras_present() -> dict[str, bool]:
    """Tell of each optional part whether everything it needs is installed."""
    versions = package_versions()
    present: dict[str, bool] = {}
    for name, extra in requirements():
        if extra and extra != "all":
            present[extra] = present.get(extra, True) and versions[name] is not None
    return present


def data_found() -> list[str] | None:
    """Folders below the one that LVSEG_DATA names; None without it."""
    place = os.environ.get("LVSEG_DATA")
    if not place:
        return None
    folder = Path(place)
    return (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )
