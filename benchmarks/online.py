"""The shipped model on the online patients, as ``lvseg evaluate --split online`` prints it.

Usage: ``python benchmarks/online.py DATASET``, a folder made by ``lvseg prepare sunnybrook``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from header import save


def main() -> None:
    """Evaluate and save everything but the rows of single images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--split", default="online")
    options = parser.parse_args()
    words = ["evaluate", "--data", str(options.dataset), "--split", options.split, "--json"]
    output = subprocess.run(
        [sys.executable, "-m", "lvseg.cli", *words], check=True, capture_output=True
    ).stdout
    document = json.loads(output)
    document.pop("per_image")
    protocol = (
        f"protocol P2: trained on training + validation, judged on {options.split}; full frame, "
        "all contours, per slice unless said otherwise; intervals bootstrapped by patient"
    )
    save(options.split, protocol, {"result": document}, seed=document["seed"])


if __name__ == "__main__":
    main()
