"""Time and peak memory of ``lvseg segment`` on one real study, stage by stage.

Each run is a whole process, import included; engines take turns, so that a busy machine slows
both. OpenVINO also runs the int8 model, and one engine runs without DICOM SEG, SR and report, to
tell what these add.
Usage: ``python benchmarks/segment_time.py [STUDY] [--rounds 5]``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from header import DATA, save

from lvseg import weights
from lvseg.predict import available_runtimes

#: The outputs without DICOM SEG, SR and report.
FILES_ONLY = ("--formats", "nifti,png,contours")


def one_run(study: Path, runtime: str, *more: str) -> dict[str, Any]:
    """Run the command once and read its clock, CPU time and peak memory."""
    out = Path(tempfile.mkdtemp())
    command = [sys.executable, "-m", "lvseg.cli", "segment", str(study), "-o", str(out), "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--runtime", runtime, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    output = process.stdout.read() if process.stdout else b""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    shutil.rmtree(out)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    document = json.loads(output)["studies"][0]["measurements"]
    stages = {key: value for key, value in document["seconds"].items() if key != "total"}
    return {
        "wall_s": wall,
        "cpu_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_mb": usage.ru_maxrss / 1024,
        "stages_s": stages,
        "frames": document["study"]["slices"] * document["study"]["phases"],
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians over the rounds, with the range of the wall time."""

    def median(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    walls = [run["wall_s"] for run in runs]
    return {
        "frames": runs[0]["frames"],
        "wall_s": {
            "median": median(walls),
            "min": round(min(walls), 3),
            "max": round(max(walls), 3),
        },
        "cpu_s": median([run["cpu_s"] for run in runs]),
        "peak_memory_mb": median([run["peak_memory_mb"] for run in runs]),
        "stages_s": {k: median([run["stages_s"][k] for run in runs]) for k in runs[0]["stages_s"]},
    }


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = DATA / "sunnybrook-dicom" / "SCD0000101" / "dicom"
    parser.add_argument("study", type=Path, nargs="?", default=default)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    words = {name: (name,) for name in available_runtimes()}
    int8 = f"{weights.DEFAULT}-int8"
    if "openvino" in words:
        words[f"openvino, {int8}"] = ("openvino", "--model", int8)
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in words}
    first, files_only = available_runtimes()[0], []
    for _ in range(options.rounds + 1):
        for name, rows in runs.items():
            rows.append(one_run(options.study, *words[name]))
        files_only.append(one_run(options.study, first, *FILES_ONLY))
    result = {name: summary(rows[1:]) for name, rows in runs.items()}  # the first one warms caches
    protocol = (
        f"{options.rounds} whole processes per engine after one to warm up, engines in turn, "
        "DICOM to measurements, NIfTI, contours, overlays, DICOM SEG, SR and report; medians"
    )
    added = [
        whole["wall_s"] - part["wall_s"]
        for whole, part in zip(runs[first][1:], files_only[1:], strict=True)
    ]
    outputs = {
        "engine": first,
        "without_seg_sr_report": summary(files_only[1:]),
        "seg_sr_report_add_s": {
            "median": round(statistics.median(added), 3),
            "min": round(min(added), 3),
            "max": round(max(added), 3),
        },
    }
    document = {"study": options.study.parent.name, "engines": result, "outputs": outputs}
    save("segment-time", protocol, document)


if __name__ == "__main__":
    main()
