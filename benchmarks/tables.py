"""Put the tables of the README and the docs between their marks, from the files in ``results``.

Usage: ``python benchmarks/tables.py [--check]``; ``--check`` changes nothing and ends with 1
where a table is out of date.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
from collections.abc import Callable
from typing import Any

from provenance import RESULTS, ROOT

#: A slice with less overlap counts as missed.
MISSED_BELOW = 0.5


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """A table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


#: How pictures were judged, for people.
MODES = {
    "alone": "every picture alone",
    "by_patient": "a patient's pictures as a study",
    "public_masks": "the same, against the public masks, drawn with their line as they were",
}


def protocol(document: dict[str, Any]) -> str:
    """Agreement per slice in every mode; per patient, region and pathology as a study."""

    def cells(name: str, group: dict[str, Any]) -> list[str]:
        low, high = group["dice"]["ci95"]
        distance = group["apd_px"]
        return [
            name,
            str(group.get("n_images", group["n_patients"])),
            f"{group['dice']['mean']:.3f} ({low:.3f} to {high:.3f})",
            f"{group['jaccard']['mean']:.3f}",
            "" if group["dice"].get("median") is None else f"{group['dice']['median']:.3f}",
            f"{distance['mean']:.2f}",
        ]

    rows = [cells(words, document[mode]) for mode, words in MODES.items() if mode in document]
    study = document["by_patient"]
    rows.append(cells("as a study, mean per patient", study["per_patient_mean"]))
    for kind in ("by_region", "by_pathology"):
        rows += [cells(f"as a study, {name}", group) for name, group in study[kind].items()]
    head = ["over", "n", "Dice (95 % interval)", "Jaccard", "median Dice", "APD px"]
    ef = study["ef"]
    words = (
        f"As a study: Dice below {MISSED_BELOW} in {study['n_below_half']} of {study['n_images']} "
        f"slices. EF from areas against the experts', {ef['n']} patients: bias {ef['bias']:+.1f} "
        f"points, SD {ef['sd']:.1f}, mean absolute error {ef['mae']:.1f}, r {ef['r']:.3f}."
    )
    return "\n\n".join([markdown(head, rows), by_phase(study["by_phase"]), words])


#: Structures, for people.
STRUCTURES = {"LV_CAVITY": "cavity", "LV_MYOCARDIUM": "myocardium"}


def by_phase(groups: dict[str, Any]) -> str:
    """Slices, whole phases and volumes of each structure."""
    rows = [
        [
            f"{STRUCTURES[label]} at {phase}",
            str(group["n_patients"]),
            f"{group['dice']['mean']:.3f}",
            f"{group['dice_3d']['mean']:.3f}",
            spread(group["volume_ratio"]),
        ]
        for phase, labels in groups.items()
        for label, group in labels.items()
    ]
    return markdown(["as a study", "patients", "Dice of slices", "3D Dice", "volume ratio"], rows)


def spread(summary: dict[str, Any]) -> str:
    """Mean and standard deviation."""
    return f"{summary['mean']:.3f} +- {summary['sd']:.3f}"


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
    """One row a kind of run."""
    rows = []
    for row in document["runs"]:
        wall = row["wall_s"]
        rows.append(
            [
                row["engine"],
                row["model"],
                row["outputs"],
                f"{wall['median']:.1f} ({wall['min']:.1f} to {wall['max']:.1f})",
                f"{row['cpu_s']:.1f}",
                f"{row['peak_memory_mb']:.0f}",
                ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in row["stages_s"].items()),
            ]
        )
    frames, machine = document["runs"][0]["frames"], document["machine"]
    note = (
        f"{document['study']}, {frames} frames, {machine['cores']} cores ({machine['processor']})."
    )
    head = ["engine", "model", "outputs", "seconds", "CPU s", "peak MB", "stages s"]
    return markdown(head, rows) + "\n\n" + note


def batch(document: dict[str, Any]) -> str:
    """A sentence for each part that was measured."""
    lines = []
    if pairs := document.get("pairs"):
        lines.append(
            f"- {pairs['copies']} copies of a real study by two workers take "
            f"{pairs['median_ratio']:.2f} of the time of one (pairs: "
            f"{', '.join(f'{each:.2f}' for each in pairs['ratios'])}); a command for each takes "
            f"{pairs['seconds_a_command_each']:.0f} s, two workers "
            f"{statistics.median(pairs['seconds_two_workers']):.0f} s."
        )
    if many := document.get("many"):
        quarters = ", ".join(f"{each:.0f}" for each in many["peak_memory_mb_by_quarter"])
        lines.append(
            f"- {many['done']} of {many['studies']} phantom studies in one batch: "
            f"{many['studies_an_hour']} an hour; at most {many['peak_memory_mb']:.0f} MB for all "
            f"processes together ({quarters} MB in each quarter)."
        )
    if kills := document.get("kills"):
        lines.append(
            f"- Killed at a random moment and given again: {kills['survived']} of "
            f"{kills['tries']} batches ended as if nobody had killed them, half of them replacing "
            "earlier results."
        )
    for key, where in (("worker_kills", "here"), ("ray_kills", "on Ray")):
        if found := document.get(key):
            lines.append(
                f"- One worker {where} killed at a random moment: {found['survived']} of "
                f"{found['tries']} batches ended as if nobody had."
            )
    machine = document["machine"]
    return "\n".join([*lines, "", f"{machine['cores']} cores ({machine['processor']})."])


def training_curve(document: dict[str, Any]) -> str:
    """Every look of every curve as a row."""
    ours, peers = document["lvseg"], document["nnunet"]
    named = [("lvseg", ours), *(("nnU-Net v2 2D", peer) for peer in peers)]
    rows = [
        [
            name,
            str(each["batch_size"]),
            f"{row['minutes']:.1f}",
            str(row["steps"]),
            f"{row['dice']:.3f}",
        ]
        for name, each in named
        for row in each["curve"]
    ]
    words = (
        f"nnU-Net's own plan for these pictures: {peers[0]['parameters'] / 1e6:.0f} M parameters, "
        f"{peers[0]['batch_size']} frames of {peers[0]['patch_px'][0]} pixels a step. Judged: "
        f"{len(peers[0]['files'])} pictures of the {peers[0]['judged']} patients."
    )
    head = ["", "frames a step", "minutes of one core", "steps", "Dice"]
    return markdown(head, rows) + "\n\n" + words


def installed_size(document: dict[str, Any]) -> str:
    """A sentence."""
    seconds = ", ".join(f"{value:.1f}" for value in document["demo_s"])
    extra = document["extra"]
    parts = f"with the optional part {extra}" if extra else "without optional parts"
    return (
        f"{document['installed_mb']:.0f} MB in a fresh environment {parts}, everything that comes "
        "with it included "
        f"(written by `{document['command']}`); `lvseg demo` took {seconds} seconds there, "
        "three times in a row."
    )


def calibration(document: dict[str, Any]) -> str:
    """Agreement of expected and true Dice, and what the limits flag."""
    groups = {"held_out": "patients, held out", "test": "online patients"}
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


def paper(document: dict[str, Any]) -> str:
    """The tables of the reproduction's own report, as ``lvseg reproduce`` writes them."""
    from lvseg.reproduction.tables import budget_words, tables

    parts = [f"{budget_words(document)} All of it took {document['core_hours']} hours of one core."]
    for table in tables(document):
        rows = markdown([*table.header], [[*row] for row in table.rows])
        parts += [f"### {table.title}", rows, table.words]
    return "\n\n".join(parts)


def audit(document: dict[str, Any]) -> str:
    """Doubtful labels by patient."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in document["doubtful"]:
        rows.setdefault(row["patient"], []).append(row)
    table = [
        [
            name,
            str(len(own)),
            f"{min(row['dice'] for row in own):.2f} to {max(row['dice'] for row in own):.2f}",
            ", ".join(
                row["file"].removesuffix(".png").split("-IM-0001-")[1]
                for row in sorted(own, key=lambda row: row["file"])
            ),
        ]
        for name, own in sorted(rows.items(), key=lambda item: -len(item[1]))
    ]
    words = (
        f"{len(document['doubtful'])} of {document['pictures']} labels: the network is sure (Dice "
        f"with its own probabilities from {document['sure_from']}) and its Dice with the expert "
        f"below {document['far_below']:.2f}. Mean Dice {document['dice']:.3f}; without them "
        f"{document['dice_without_doubtful']:.3f}. The experts' own masks, drawn one pixel tighter "
        f"all around, would have {document['dice_of_experts_a_pixel_tighter']:.3f}."
    )
    return markdown(["patient", "labels", "Dice", "images"], table) + "\n\n" + words


#: Sets of other scanners, for people.
SETS = {"acdc-external": "ACDC (Siemens)", "mnms-external": "M&Ms (two other vendors)"}


def external(document: dict[str, Any]) -> str:
    """Whole phases of each set, and EF with its intervals."""
    rows, words = [], []
    for name, title in SETS.items():
        found = document["sets"][name]
        for label, structure in STRUCTURES.items():
            for phase in ("ED", "ES") if label in found else ():
                group = found[label]
                dice = group["dice_3d"][phase]
                rows.append(
                    [
                        f"{title}, {structure} at {phase}",
                        str(found["n_patients"]),
                        f"{dice['mean']:.3f} +- {dice['sd']:.3f}",
                        spread(group["volume_ratio"][phase]),
                    ]
                )
        ef, cavity = found["ef"], found["LV_CAVITY"]
        words.append(
            f"{title}: EF against the reference masks', {ef['n']} patients: bias "
            f"{ef['bias']:+.1f} points, SD {ef['sd']:.1f}, mean absolute error {ef['mae']:.1f}, r "
            f"{ef['r']:.3f}; slices with a cavity left empty {cavity['slices_missed']} of "
            f"{cavity['dice_slices']['n']}, drawn beyond it "
            f"{cavity['slices_without_reference_drawn']}."
        )
    held = document["ef_interval"]
    if held["coverage"] is not None:
        words.append(
            f"The 90 % interval of EF holds the reference in {held['coverage']:.0%} of the "
            f"{held['with_interval']} patients of both sets that have one; it is "
            f"{held['width_points_mean']:.0f} points wide on average."
        )
    head = ["set", "patients", "3D Dice", "volume ratio"]
    return markdown(head, rows) + "\n\n" + "\n\n".join(words)


def stored(name: str) -> dict[str, Any]:
    """A result file."""
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text("utf-8"))
    return found


def online_dice() -> dict[str, str]:
    """Mean Dice on the online patients, by how a network's name begins; text for a cell."""
    ladder = {step["key"]: step["scores"]["test"] for step in stored("paper-small")["steps"]}
    return {
        "lvseg,": f"{stored('p2')['by_patient']['dice']['mean']:.3f}",
        "myopari": f"{stored('myopari')['dice']:.3f}",
        "MONAI BasicUNet": f"{ladder['peer-basic-unet']['dice']['mean']:.3f} **",
        "MONAI UNet": f"{ladder['peer-residual-unet']['dice']['mean']:.3f} **",
        "nnU-Net v2 2D, mirrored": "",
        "nnU-Net": f"{trained_longest()['curve'][-1]['dice']:.3f} *",
    }


def trained_longest() -> dict[str, Any]:
    """Of nnU-Net's short trainings the one that took most steps."""
    peers: list[dict[str, Any]] = stored("training-curve")["nnunet"]
    return max(peers, key=lambda peer: peer["curve"][-1]["steps"])


def network_speed(document: dict[str, Any]) -> str:
    """One row a network."""
    scores = online_dice()
    rows = [
        [
            name,
            f"{row['parameters'] / 1e6:.2f}",
            str(row["side_px"]),
            f"{row['gflop']:.2f}" if "gflop" in row else "",
            f"{row['ms_a_frame']:.1f}",
            f"{row['cpu_ms_a_frame']:.1f}",
            f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "",
            f"{row['peak_mb']:.0f}" if "peak_mb" in row else "",
            next((dice for start, dice in scores.items() if name.startswith(start)), ""),
        ]
        for name, row in document["rows"].items()
    ]
    machine, longest = document["machine"], trained_longest()
    words = (
        f"{machine['cores']} cores ({machine['processor']}); peak of a large matrix product "
        f"{document['peak_gflop_s']:.0f} GFLOP/s. Peak MB, where measured, is of a process only "
        "predicting these frames. Dice: online patients, a patient's pictures together. * Every "
        f"third picture alone, after {longest['curve'][-1]['minutes']:.0f} minutes of one core, "
        f"{longest['batch_size']} frames a step (Training, below). ** Taught by 15 patients in the "
        "short setting of the paper's ladder, BasicUNet with a quarter of these parameters."
    )
    head = ["network", "M parameters", "side px", "GFLOP a frame", "ms a frame", "CPU ms a frame"]
    return markdown([*head, "share of the peak", "peak MB", "Dice"], rows) + "\n\n" + words


def int8(document: dict[str, Any]) -> str:
    """Float beside int8, by protocol."""
    names = {"development": "15 validation patients, for choosing", "p2": "P2", "p3": "P3"}
    rows = [
        [
            f"{words}, {MODES[mode]}",
            str(row["pictures"]),
            f"{row['dice_float']:.4f}",
            f"{row['dice_int8']:.4f}",
            f"{row['loss']:+.4f}",
            f"{row['largest_fall_of_a_picture']:.3f}",
        ]
        for name, words in names.items()
        if name in document["rows"]
        for mode, row in document["rows"][name].items()
    ]
    head = ["patients", "n", "Dice, float", "Dice, int8", "loss", "largest loss of a picture"]
    return markdown(head, rows)


def determinism(document: dict[str, Any]) -> str:
    """One row a way."""
    rows = []
    first_of = {}
    for row in document["ways"]:
        same = first_of.setdefault(row["result_sha256"], row["way"])
        rows.append(
            [
                row["way"],
                "" if same == row["way"] else f"as {same}",
                f"{row['largest_probability_difference']:.1e}",
                f"{row['mask_pixels_that_differ']} of {row['mask_pixels']}",
                f"{row['edv_ml_difference']:.2f}, {row['esv_ml_difference']:.2f}",
                f"{row['ef_percent_difference']:.2f}",
            ]
        )
    head = [
        "way",
        "bytes",
        "probability, at most",
        "pixels of the mask",
        "EDV, ESV ml",
        "EF points",
    ]
    return markdown(head, rows)


def training_kills(document: dict[str, Any]) -> str:
    """A sentence."""
    return (
        f"{document['killed']} trainings killed at random moments: {document['usable']} left "
        f"checkpoints that can be read, {document['equal']} were resumed to the bytes of a run "
        "that nobody stopped."
    )


#: Page -> its tables.
PAGES: dict[str, dict[str, Callable[[dict[str, Any]], str]]] = {
    "README.md": {
        "p2": protocol,
        "studies": studies,
        "segment-time": segment_time,
        "installed-size": installed_size,
    },
    "docs/accuracy.md": {"p2": protocol, "p3": protocol, "external": external, "audit": audit},
    "docs/speed.md": {
        "segment-time": segment_time,
        "network-speed": network_speed,
        "int8": int8,
        "training-curve": training_curve,
    },
    "docs/batches.md": {"batch": batch},
    "docs/quality.md": {"calibration": calibration},
    "docs/paper.md": {"paper-small": paper},
    "docs/determinism.md": {"determinism": determinism, "training-kills": training_kills},
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
