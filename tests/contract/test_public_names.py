"""The public names of the package, pinned."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lvseg

NAMES = {
    "Cine",
    "LvsegError",
    "Mask",
    "Study",
    "StudyResult",
    "__version__",
    "dice",
    "hausdorff_mm",
    "jaccard",
    "load_model",
    "measure",
    "read_study",
    "segment",
    "write_mask",
}


def test_the_public_names_are_these() -> None:
    assert set(lvseg.__all__) == NAMES
    assert set(dir(lvseg)) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_public_name_is_there_and_described(name: str) -> None:
    value = getattr(lvseg, name)
    assert name == "__version__" or value.__doc__


def test_the_stub_names_the_same() -> None:
    text = Path(lvseg.__file__).with_suffix(".pyi").read_text("utf-8")
    found = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname for alias in node.names if alias.asname == alias.name}
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            assert isinstance(node.target, ast.Name)
            found.add(node.target.id)
    assert found == NAMES


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'frobnicate'"):
        lvseg.frobnicate  # noqa: B018


def test_measure_is_a_function_whatever_was_imported_before() -> None:
    code = """
import lvseg.measurement, lvseg.pipeline
import lvseg, numpy
mask = lvseg.Mask(numpy.zeros((1, 1, 4, 4), numpy.uint8), (0,))
assert lvseg.measure(mask).edv_ml is None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
