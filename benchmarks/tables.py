"""Put the tables of the README and the docs between their marks, from the files in ``results``.

Usage: ``python benchmarks/tables.py [--check]``; ``--check`` changes nothing and ends with 1
where a table is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable
from typing import Any

from header import RESULTS, ROOT


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def online(document: dict[str, Any]) -> str:
    """Agreement per slice, per patient, by region and by pathology."""
    result = document["result"]

    def cells(name: str, group: dict[str, Any]) -> list[str]:
        low, high = group["dice"]["ci95"]
        return [
            name,
            str(group.get("n_images", group["n_patients"])),
            f"{group['dice']['mean']:.3f} ({low:.3f} to {high:.3f})",
            f"{group['jaccard']['mean']:.3f}",
            "" if group["dice"].get("median") is None else f"{group['dice']['median']:.3f}",
        ]

    rows = [cells("all slices", result), cells("mean per patient", result["per_patient_mean"])]
    rows += [cells(name, group) for name, group in result["by_region"].items()]
    rows += [cells(name, group) for name, group in result["by_pathology"].items()]
    ef = result["ef"]
    sentence = (
        f"EF from areas against the experts', {ef['n']} patients: bias {ef['bias']:+.1f} points, "
        f"SD {ef['sd']:.1f}, mean absolute error {ef['mae']:.1f}, r {ef['r']:.3f}."
    )
    head = ["over", "n", "Dice (95 % interval)", "Jaccard", "median Dice"]
    return markdown(head, rows) + "\n\n" + sentence


def studies(document: dict[str, Any]) -> str:
    """Three rows."""
    rows = []
    for row in document["studies"]:
        experts, ours, same = row["experts"], row["ours"], row["ours_on_the_experts_frames"]
        rows.append(
            [
                row["study"],
                f"{experts['edv_ml']:.0f} / {experts['esv_ml']:.0f}",
                f"{ours['edv_ml']:.0f} / {ours['esv_ml']:.0f}",
                f"{experts['ef_percent']:.1f}",
                f"{ours['ef_percent']:.1f}",
                f"{same['ef_percent']:.1f}",
                f"{row['edv_difference_percent']:+.1f} %",
            ]
        )
    head = ["study", "EDV / ESV ml, experts", "ours", "EF %, experts", "ours"]
    head += ["ours on the experts' frames", "EDV difference"]
    return markdown(head, rows)


def segment_time(document: dict[str, Any]) -> str:
    """One row an engine."""
    rows = []
    for name, row in document["engines"].items():
        stages = row["stages_s"]
        rows.append(
            [
                name,
                f"{row['wall_s']['median']:.1f} ({row['wall_s']['min']:.1f} to "
                f"{row['wall_s']['max']:.1f})",
                f"{row['cpu_s']:.1f}",
                f"{row['peak_memory_mb']:.0f}",
                ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in stages.items()),
            ]
        )
    frames = next(iter(document["engines"].values()))["frames"]
    machine = document["machine"]
    note = (
        f"{document['study']}, {frames} frames, {machine['cores']} cores ({machine['processor']})."
    )
    if "outputs" in document:
        added = document["outputs"]["seg_sr_report_add_s"]
        note += (
            f" Of this, DICOM SEG, SR and report take {added['median']:.1f} s "
            f"({added['min']:.1f} to {added['max']:.1f})."
        )
    return markdown(["engine", "seconds", "CPU s", "peak MB", "stages s"], rows) + "\n\n" + note


def installed_size(document: dict[str, Any]) -> str:
    """A sentence."""
    seconds = ", ".join(f"{value:.1f}" for value in document["demo_s"])
    return (
        f"{document['installed_mb']:.0f} MB in a fresh environment, everything that comes with it "
        "included "
        f"(written by `{document['command']}`); `lvseg demo` took {seconds} seconds there, "
        "three times in a row."
    )


def calibration(document: dict[str, Any]) -> str:
    """Agreement of expected and true Dice, and what the limits flag."""
    groups = {"cross_validation": "patients in cross-validation", "test": "test patients"}
    rows = []
    for name, label in groups.items():
        for unit in ("slices", "studies"):
            if name not in document:
                continue
            row = document[name][unit]
            flagged = "none to find" if row["sensitivity"] is None else f"{row['sensitivity']:.0%}"
            rows.append(
                [
                    f"{len(document[name]['per_patient'])} {label}, {unit}",
                    str(row["n"]),
                    f"{row['expected_mean']:.3f} / {row['true_mean']:.3f}",
                    f"{row['mae']:.3f}",
                    f"{row['r']:.2f}",
                    f"{row['failures']} (below {row['failure_below']:.2f})",
                    flagged,
                    f"{row['false_alarm_rate']:.0%}",
                ]
            )
    head = ["group", "n", "expected / true Dice", "mean absolute error", "r", "failures"]
    return markdown([*head, "failures flagged", "false alarms"], rows)


def study(document: dict[str, Any]) -> str:
    """The tables of the study's own report, as ``lvseg reproduce`` writes them."""
    from lvseg.train.reproduce.tables import budget_words, tables

    parts = [f"{budget_words(document)} All of it took {document['core_hours']} hours of one core."]
    for table in tables(document):
        rows = markdown([*table.header], [[*row] for row in table.rows])
        parts += [f"### {table.title}", rows, table.words]
    return "\n\n".join(parts)


#: Page -> its tables.
PAGES: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "README.md": {
        "online": online,
        "studies": studies,
        "segment-time": segment_time,
        "installed-size": installed_size,
    },
    "docs/quality.md": {"calibration": calibration},
    "docs/study.md": {"study-small": study},
}


def filled(page: str) -> str:
    """A page with every table made anew."""
    text = (ROOT / page).read_text("utf-8")
    for name, make in PAGES[page].items():
        document = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
        block = f"<!-- table:{name} -->\n{make(document)}\n<!-- end -->"
        pattern = re.compile(rf"<!-- table:{re.escape(name)} -->.*?<!-- end -->", re.DOTALL)
        text, count = pattern.subn(lambda _, block=block: block, text)
        if count != 1:
            raise SystemExit(f"expected one place for the table {name} in {page}, found {count}")
    return text


def main() -> None:
    """Fill or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    for page in PAGES:
        new = filled(page)
        if check and new != (ROOT / page).read_text("utf-8"):
            raise SystemExit(f"{page} is out of date: run  python benchmarks/tables.py")
        (ROOT / page).write_text(new, "utf-8")


if __name__ == "__main__":
    main()
