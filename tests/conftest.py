"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data, or a skip that names what is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LVSEG_DATA", default))
    if not (folder / "sunnybrook" / "manifest.csv").is_file():
        pytest.skip("missing: the real data (set LVSEG_DATA to its folder)")
    return folder
