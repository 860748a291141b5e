"""The main job without any optional part: a fresh process in which none can be imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OPTIONAL = (
    *("torch", "monai", "onnx", "onnxscript", "safetensors", "openvino", "tensorboard"),
    *("optuna", "sqlalchemy", "starlette", "uvicorn", "ray", "pyarrow", "openpyxl"),
)

CODE = f"""
import sys
from pathlib import Path

for name in {OPTIONAL}:
    sys.modules[name] = None  # importing it now fails

from lvseg.cine import Study
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import run
from lvseg.predict import load_model

options = PhantomOptions(phases=2, slices=3, rows=96, columns=88, pixel_spacing_mm=(2.2, 1.9))
cine, _, _ = beating_ventricle(options)
predictor = load_model(Path(sys.argv[1]))
result = run(Study((cine,)), predictor)
assert result.mask.labels.shape == cine.shape
assert result.mask.labels.any()
print(predictor.runtime, [name for name in {OPTIONAL} if sys.modules[name] is not None])
"""


def test_the_pipeline_runs_on_a_phantom_with_onnxruntime_alone(tiny_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tiny_model)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "onnxruntime []"
