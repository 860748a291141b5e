"""Lines of text about a study's results, for a terminal."""

from __future__ import annotations

from pathlib import Path

from lvseg.issues import finding_lines
from lvseg.results import LVMeasurements, StudyResult


def volumes_text(values: LVMeasurements) -> str:
    """EDV, ESV and EF with their units and intervals; what is not known says so.

    The mass stands there where it is known.
    """
    parts = []
    for name, value, unit, interval in (
        ("EDV", values.edv_ml, "ml", values.edv_ml_interval),
        ("ESV", values.esv_ml, "ml", values.esv_ml_interval),
        ("EF", values.ef_percent, "%", values.ef_percent_interval),
        ("mass", values.mass_g, "g", values.mass_g_interval),
    ):
        if value is None:
            parts += [] if name == "mass" else [f"{name} unknown"]
            continue
        where = "" if interval is None else f" ({interval[0]:.1f} to {interval[1]:.1f})"
        parts.append(f"{name} {value:.1f} {unit}{where}")
    return ", ".join(parts)


def summary_lines(result: StudyResult, folder: Path) -> str:
    """One study for people: its size, volumes, verdict and place, then what to look at."""
    phases, slices = result.cine.shape[:2]
    head = (
        f"{folder.name}: {slices} slices x {phases} phases, {volumes_text(result.measurements)}, "
        f"{result.verdict}, {folder}"
    )
    return "\n".join([head, *finding_lines(result.issues, all_of_them=False)])
