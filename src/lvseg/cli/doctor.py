"""`lvseg doctor`: what is installed and found on this machine, and whether results are intact."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lvseg.cli.app import command
from lvseg.cli.options import found_models
from lvseg.cli.output import Output, table
from lvseg.errors import LvsegError, UsageError
from lvseg.failures import explain

if TYPE_CHECKING:
    from lvseg.dependencies import Package

#: Exit status: of several results some are not as they were written, as in a batch.
SOME_ALTERED = 4


@command("doctor", example="lvseg doctor out")
def doctor(
    out: Output,
    results: Annotated[
        Path | None,
        typer.Argument(metavar="OUT", help="A folder of results to hold to its manifests."),
    ] = None,
    sbom: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write what is installed as a bill of materials (CycloneDX JSON)."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an old bill.")] = False,
) -> int:
    """Show what is installed and found here, or check results.

    Versions, cores, engines, models, data (LVSEG_DATA), what is missing, optional parts and what
    they are for. With OUT: whether the files of its studies are those that were written.
    """
    if results is not None and sbom is not None:
        raise UsageError("expected OUT or --sbom, found both: give one after the other")
    if results is not None:
        return check_results(out, results)
    if sbom is not None:
        return write_sbom(out, sbom, overwrite=overwrite)
    return check_installation(out)


def check_installation(out: Output) -> int:
    """Tell what is here; 2 where something is missing that everybody needs, 5 for a bad model."""
    from lvseg import dependencies
    from lvseg.predict import available_runtimes, usable_cores
    from lvseg.version import __version__

    parts = dependencies.optional_parts()
    document: dict[str, Any] = {
        "lvseg": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "runtimes": list(available_runtimes()),
        "models": {each["name"]: each["verified"] for each in found_models()},
        "data": data_found(),
        "missing": list(dependencies.missing()),
        "extras": {each.name: not each.missing for each in parts},
        "purposes": {each.name: each.purpose for each in parts},
        "packages": dependencies.versions(),
    }
    out.result(document, installation_text(document))
    if document["missing"]:
        return UsageError.exit_code
    return 0 if document["runtimes"] and all(document["models"].values()) else 5


def installation_text(document: dict[str, Any]) -> str:
    """Show people the facts; what everybody needs apart from what only some do."""
    facts = ("lvseg", "python", "system", "cores", "runtimes", "models", "data")
    missing = ", ".join(document["missing"])
    needed = f"MISSING: {missing}; install lvseg again" if missing else "all installed"
    rows = [*((key, _fact(document[key])) for key in facts), ("needed packages", needed)]
    optional = [
        (f"  {name}", "yes" if there else "no", _purpose(name, document, there=there))
        for name, there in document["extras"].items()
    ]
    packages = sorted(document["packages"].items())
    versions = [(f"  {name}", version or "not installed") for name, version in packages]
    return "\n".join(
        [table(rows)]
        + (["optional parts, for those who want them:", table(optional)] if optional else [])
        + (["packages:", table(versions)] if versions else [])
    )


def _purpose(name: str, document: dict[str, Any], *, there: bool) -> str:
    purpose = document["purposes"][name]
    return purpose if there else f"{purpose}; pip install 'lvseg[{name}]'".removeprefix("; ")


def _fact(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {'yes' if good else 'NO'}" for key, good in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value) or "-"
    return "-" if value is None else str(value)


def data_found() -> list[str] | None:
    """Folders below the one that LVSEG_DATA names; None without it."""
    place = os.environ.get("LVSEG_DATA")
    if not place:
        return None
    folder = Path(place)
    return (
        sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    )


def check_results(out: Output, root: Path) -> int:
    """Hold every study folder to its manifest; each that differs is told in one line.

    Returns 0, the status of a lone folder that differs (3), or 4 where some of several do.
    """
    from lvseg.output import check_manifest, study_folders

    out.blank |= {"results": []}
    statuses = []
    for folder in study_folders(root):
        entry: dict[str, Any] = {"folder": str(folder), "exit": 0, "error": None}
        entry |= {"files": None, "changed": [], "missing": [], "extra": []}
        try:
            found = check_manifest(folder)
            entry["files"] = found.files
            entry |= {key: list(getattr(found, key)) for key in ("changed", "missing", "extra")}
            found.require_good()
        except (LvsegError, OSError) as error:
            text, entry["exit"] = explain(error)
            entry["error"] = text if str(folder) in text else f"{folder}: {text}"
            out.failed_as(entry["error"], "".join(traceback.format_exception(error)))
        out.blank["results"].append(entry)
        statuses.append(entry["exit"])
    bad = sum(status != 0 for status in statuses)
    text = f"{len(statuses)} results: {len(statuses) - bad} as they were written, {bad} not"
    out.result(out.blank, text)
    if len(statuses) == 1:
        return int(statuses[0])
    return SOME_ALTERED if bad else 0


def write_sbom(out: Output, path: Path, *, overwrite: bool) -> int:
    """Write the bill of materials and tell the licences."""
    from lvseg import dependencies, model_store
    from lvseg.atomic import write_text
    from lvseg.json_text import json_text
    from lvseg.sbom import ShippedWeights, cyclonedx

    if path.exists() and not overwrite:
        raise UsageError(
            f"expected a free place, found {path}; use --overwrite to replace it, or choose another"
        )
    packages = dependencies.installed()
    cards = [model_store.verify(each.folder) for each in model_store.shipped()]
    weights = [ShippedWeights(each.name, each.version, each.sha256, each.licence) for each in cards]
    write_text(path, json_text(cyclonedx(packages, weights), indent=1) + "\n")
    unlisted = [each.name for each in packages if not each.allowed]
    document = {
        "sbom": str(path),
        "packages": len(packages),
        "models": len(weights),
        "licences": {each.name: each.licence for each in packages},
        "unlisted": unlisted,
    }
    out.result(document, licences_text(packages, str(path)))
    for name in unlisted:
        out.warn(
            f"the licence of {name} is not on the list of lvseg: read it before you pass it on"
        )
    return 0


def licences_text(packages: Sequence[Package], path: str) -> str:
    """Show people the packages and their licences."""
    rows = [("package", "version", "licence", "needed by")]
    for each in packages[1:]:
        by = "optional parts" if each.optional else "everybody"
        rows.append((each.name, each.version, each.licence or "not stated", by))
    return f"{table(rows)}\n{len(packages)} packages: {path}"
