"""Time and peak memory of ``lvseg segment`` on one real study, stage by stage.

Each run is a whole process, import included; the runs take turns, so that a busy machine slows
all. Every engine writes every output; the default one writes fewer too.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from provenance import DATA, save

from lvseg import model_store
from lvseg.predict import available_runtimes

EVERY, FEWER, FEWEST = "all", "without DICOM SEG, SR and report", "measurements and NIfTI"
#: What follows ``--formats`` for fewer outputs; measurements.json is always written.
FORMATS = {FEWER: "nifti,png,contours", FEWEST: "nifti"}


@dataclass(frozen=True)
class Kind:
    """One way to run the command."""

    engine: str
    model: str
    outputs: str

    def words(self) -> list[str]:
        """Its options."""
        formats = ["--formats", FORMATS[self.outputs]] if self.outputs in FORMATS else []
        return ["--runtime", self.engine, "--model", self.model, *formats]


def kinds() -> list[Kind]:
    """Every engine with every output, then fewer outputs on the default one."""
    first, *others = available_runtimes()
    return [
        *(Kind(first, model_store.DEFAULT, outputs) for outputs in (EVERY, FEWER, FEWEST)),
        *(Kind(engine, model_store.DEFAULT, EVERY) for engine in others),
    ]


def one_run(study: Path, kind: Kind) -> dict[str, Any]:
    """Run the command once and read its clock, CPU time and peak memory."""
    out = Path(tempfile.mkdtemp())
    command = [sys.executable, "-m", "lvseg.cli", "segment", str(study), "-o", str(out), "--json"]
    start = time.perf_counter()
    process = subprocess.Popen(
        [*command, *kind.words()], stdout=subprocess.PIPE, stderr=subprocess.PIPE
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
    runs: dict[Kind, list[dict[str, Any]]] = {kind: [] for kind in kinds()}
    for _ in range(options.rounds + 1):
        for kind, rows in runs.items():
            rows.append(one_run(options.study, kind))
    protocol = (
        f"{options.rounds} whole processes of each kind after one to warm up, kinds in turn, from "
        "DICOM to the outputs; medians"
    )
    results = [{**asdict(kind), **summary(rows[1:])} for kind, rows in runs.items()]
    save("segment-time", protocol, {"study": options.study.parent.name, "runs": results})


if __name__ == "__main__":
    main()
