"""Peak memory of ``lvseg segment`` over batches of growing size, every output.

The three DICOM studies in turn, as often as it takes. Each batch is a process of its own.
Usage: ``python benchmarks/batch_memory.py [--studies 1 3 12]``.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile

from provenance import DATA, save
from studies import STUDIES


def peak_mb(count: int) -> float:
    """Peak memory of the process that segments so many studies."""
    folders = [str(DATA / "sunnybrook-dicom" / study / "dicom") for study in STUDIES]
    sources = itertools.islice(itertools.cycle(folders), count)
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "lvseg.cli", "segment", *sources, "-o", out, "--quiet"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with status {status}")
    return usage.ru_maxrss / 1024


def main() -> None:
    """Measure and save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, nargs="+", default=[1, 3, 12])
    options = parser.parse_args()
    protocol = "one process a batch, default engine and model, every output; largest resident set"
    rows = [
        {"studies": count, "peak_memory_mb": round(peak_mb(count), 1)} for count in options.studies
    ]
    save("batch-memory", protocol, {"rows": rows})


if __name__ == "__main__":
    main()
