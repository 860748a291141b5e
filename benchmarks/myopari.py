"""The ACDC-taught network inside the PyPI package myopari on the held-out pictures: its Dice.

Runs with lvseg out of the way, in an environment with onnxruntime, scikit-image and Pillow, on the
unpacked wheel (``pip download --no-deps myopari``, ``unzip``): the package's own scaling, network,
cleaning and way back, for the pictures of a patient at a phase as one volume, as its users give it.
Label 3 is the cavity. Nothing of it ships.
Usage: ``python benchmarks/myopari.py DATASET UNPACKED [--judged online]``.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image
from provenance import save

CAVITY = 3


def volumes(dataset: Path, split: str) -> dict[tuple[str, str], list[str]]:
    """Picture files of each patient and phase, base to apex."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    with (dataset / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == split]
    for row in sorted(rows, key=lambda row: int(row["slice_index"])):
        found[row["patient_id"], row["phase"]].append(row["file"])
    return found


def main() -> None:
    """Segment every volume, compare every picture with a cavity."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path)
    parser.add_argument("unpacked", type=Path)
    parser.add_argument("--judged", default="online")
    options = parser.parse_args()
    sys.path.insert(0, str(options.unpacked / "myopari" / "processors"))
    import functions_utils as theirs  # of the wheel

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
    session = onnxruntime.InferenceSession(
        options.unpacked / "myopari" / "Resources" / "tiramisu_acdc_fp32.onnx",
        settings,
        providers=["CPUExecutionProvider"],
    )
    values = {}
    for files in volumes(options.dataset, options.judged).values():
        stack = np.stack(
            [
                np.asarray(Image.open(options.dataset / "images" / file).convert("L"))
                for file in files
            ],
            axis=-1,
        )
        prepared = theirs.preprocess_data_array(stack.astype(np.float32))
        labels = theirs.predict_data_model(prepared, session, onnx=True)
        for place, file in enumerate(files):
            reference = np.asarray(Image.open(options.dataset / "masks" / file)) >= 128
            if not reference.any():
                continue
            found = labels[..., place] == CAVITY
            values[file] = float(2 * (reference & found).sum() / (reference.sum() + found.sum()))
    result = {
        "judged": options.judged,
        "pictures": len(values),
        "dice": round(float(np.mean(list(values.values()))), 4),
        "median_dice": round(float(np.median(list(values.values()))), 4),
        "below_half": sum(value < 0.5 for value in values.values()),
    }
    print(json.dumps(result))
    save("myopari", " ".join(__doc__.split("\n\n")[1].split("Usage")[0].split()), result)


if __name__ == "__main__":
    main()
