"""Does the same study give the same bytes? Engines, threads and instruction sets, in turn.

Every way is a process of its own that segments the study and writes it. Ways are compared with one
thread of onnxruntime: the largest difference of a probability, pixels of the mask, volumes and EF.
The first way is run twice. Older processors are stood in for: OpenVINO is kept to fewer
instructions (ONEDNN_MAX_CPU_ISA; with SSE4.1 alone it gives nothing at all), and so is NumPy
(NPY_DISABLE_CPU_FEATURES); onnxruntime takes no such order.
Usage: ``python benchmarks/determinism.py [--study DICOM_FOLDER] [--model NAME]``.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from provenance import DATA, save

STUDY = DATA / "sunnybrook-dicom" / "SCD0000101" / "dicom"
#: Differs by the seconds in it; ``result_sha256`` is without them.
MEASUREMENTS = "measurements.json"
#: What NumPy has beyond AVX2 on x86, and may be told not to use.
BEYOND_AVX2 = "AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"


@dataclass(frozen=True)
class Way:
    """One way to run the same study; ``environment`` is added to that of the process."""

    name: str
    runtime: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)


WAYS = (
    Way("onnxruntime, 1 thread", "onnxruntime", 1),
    Way("the same again", "onnxruntime", 1),
    Way("onnxruntime, 2 threads", "onnxruntime", 2),
    Way("OpenVINO, 1 thread", "openvino", 1),
    Way("OpenVINO, 1 thread, again", "openvino", 1),
    Way("OpenVINO, 2 threads", "openvino", 2),
    Way("OpenVINO, AVX2 only", "openvino", 1, {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Way("OpenVINO, AVX only", "openvino", 1, {"ONEDNN_MAX_CPU_ISA": "AVX"}),
    Way("onnxruntime, NumPy AVX2 only", "onnxruntime", 1,
        {"NPY_DISABLE_CPU_FEATURES": BEYOND_AVX2}),
)  # fmt: skip


def work(study: Path, model: str, runtime: str, threads: int, out: Path) -> None:
    """One way, in this process: the study's folder, probabilities and mask go to ``out``."""
    from dataclasses import replace

    from lvseg import model_store
    from lvseg.output import write_study
    from lvseg.pipeline import run
    from lvseg.predict import load_model
    from lvseg.read import find_studies
    from lvseg.settings import Settings

    (ref,) = find_studies(study)
    predictor = load_model(model_store.locate(model), runtime=runtime, threads=threads)  # type: ignore[arg-type]
    result = run(ref, predictor, replace(Settings(), keep_probabilities=True))
    write_study(result, out / "study", study=ref)
    names = [label.name for label in result.probabilities or {}]
    np.savez(
        out / "arrays.npz",
        mask=result.mask.labels,
        **{name: (result.probabilities or {})[type(label)[name]]
           for name, label in zip(names, result.probabilities or {}, strict=True)},
    )  # fmt: skip


def start(way: Way, study: Path, model: str, out: Path) -> dict[str, Any]:
    """Run a way and read what it left."""
    out.mkdir()
    own = [__file__, "--worker", way.runtime, str(way.threads), "--out", str(out)]
    subprocess.run(
        [sys.executable, *own, "--study", str(study), "--model", model],
        env={**os.environ, **way.environment}, check=True,
    )  # fmt: skip
    arrays = dict(np.load(out / "arrays.npz"))
    manifest = json.loads((out / "study" / "manifest.json").read_text())
    document = json.loads((out / "study" / "measurements.json").read_text())
    return {"arrays": arrays, "manifest": manifest, "document": document}


def compared(way: Way, found: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    """How far one way lies from the reference; volumes are those written, of two decimals."""
    own, other = found["arrays"], reference["arrays"]
    differences = [np.abs(own[name] - other[name]).max() for name in own if name != "mask"]
    values, expected = found["document"], reference["document"]
    files, before = found["manifest"]["files"], reference["manifest"]["files"]
    return {
        "way": way.name,
        "runtime": way.runtime,
        "threads": way.threads,
        "environment": way.environment,
        "result_sha256": found["manifest"]["result_sha256"],
        "same_bytes": found["manifest"]["result_sha256"] == reference["manifest"]["result_sha256"],
        "files_that_differ": sorted(
            name for name in before if files.get(name) != before[name] and name != MEASUREMENTS
        ),
        "largest_probability_difference": float(max(differences)),
        "mask_pixels_that_differ": int((own["mask"] != other["mask"]).sum()),
        "mask_pixels": int((other["mask"] > 0).sum()),
        **{
            f"{key}_difference": round(abs(values[key] - expected[key]), 2)
            for key in ("edv_ml", "esv_ml", "ef_percent")
        },
    }  # fmt: skip


def main() -> None:
    """Run every way, save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", type=Path, default=STUDY)
    parser.add_argument("--model", default="lv-sax")
    parser.add_argument("--worker", nargs=2, metavar=("RUNTIME", "THREADS"))
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.worker:
        work(given.study, given.model, given.worker[0], int(given.worker[1]), given.out)
        return
    rows: list[dict[str, Any]] = []
    reference: dict[str, Any] | None = None
    with tempfile.TemporaryDirectory() as scratch:
        for index, way in enumerate(WAYS):
            found = start(way, given.study, given.model, Path(scratch) / str(index))
            reference = reference or found
            rows.append(compared(way, found, reference))
            print(json.dumps(rows[-1]), flush=True)
    protocol = (
        "one process a way: a real study segmented and written; compared with one thread of "
        "onnxruntime; volumes as written, two decimals"
    )
    name = "SCD0000101" if given.study == STUDY else "another study"
    save("determinism", protocol, {"study": name, "model": given.model, "ways": rows})


if __name__ == "__main__":
    main()
