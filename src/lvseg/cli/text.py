"""Results in words, as several commands print them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lvseg.cli.output import one_line, table

if TYPE_CHECKING:
    from lvseg.results import LVMeasurements


def evaluation_text(document: dict[str, Any]) -> str:
    """Show people the table of an evaluation, the agreement of EF and what was noticed."""
    from lvseg.evaluate import table as rows_of

    ef = document["ef"]
    lines = [
        f"{document['n_images']} images of {document['n_patients']} patients",
        table(rows_of(document)),
    ]
    if ef.get("bias") is not None:
        known = [key for key in ("bias", "sd", "mae", "r") if ef[key] is not None]
        figures = ", ".join(f"{key} {ef[key]:.2f}" for key in known)
        lines.append(f"EF, percentage points: {figures}")
    notes = [each for each in document["findings"] if each["severity"] != "info"]
    lines += [f"  {each['severity']}: {one_line(each['text'])}" for each in notes]
    return "\n".join(lines)


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
