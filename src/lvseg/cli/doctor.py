"""`lvseg doctor`: what is installed and found on this machine."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path
from typing import Any

from lvseg.cli.app import command
from lvseg.cli.options import found_models
from lvseg.cli.output import Output, table


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
