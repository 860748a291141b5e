"""A fresh process: what loads and what does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

EXTRAS = (
    *("torch", "monai", "onnx", "onnxscript", "safetensors", "openvino", "optuna", "sqlalchemy"),
    *("ray", "pyarrow", "openpyxl"),
)
HEAVY = ("matplotlib", "highdicom", "onnxruntime", "nibabel", "pydicom", "scipy")


def loaded(code: str) -> set[str]:
    """Top-level modules in ``sys.modules`` after running the code in a new interpreter."""
    script = f"{code}\nimport sys\nprint(*{{n.partition('.')[0] for n in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.splitlines()[-1].split())


def test_importing_lvseg_loads_next_to_nothing() -> None:
    assert not loaded("import lvseg") & {*EXTRAS, *HEAVY, "numpy", "pydantic", "typer"}


def test_the_help_loads_no_heavy_library() -> None:
    found = loaded("from lvseg.cli import main\nassert main(['--help']) == 0")
    assert not found & {*EXTRAS, *HEAVY}


@pytest.mark.parametrize(
    "code", ["import lvseg.pipeline", "import lvseg; lvseg.read_study, lvseg.measure, lvseg.dice"]
)
def test_the_main_path_loads_no_extra(code: str) -> None:
    assert not loaded(code) & set(EXTRAS)
