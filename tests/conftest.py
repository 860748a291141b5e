"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lvseg.labels import Label


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of the real data, or a skip that names what is missing."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LVSEG_DATA", default))
    if not (folder / "sunnybrook" / "manifest.csv").is_file():
        pytest.skip("missing: the real data (set LVSEG_DATA to its folder)")
    return folder


@pytest.fixture
def scar(monkeypatch: pytest.MonkeyPatch) -> Label:
    """A label that lvseg does not have, for as long as a test runs."""
    made = int.__new__(Label, max(Label) + 1)
    made._name_, made._value_ = "LV_SCAR", int(made)
    monkeypatch.setattr(Label, "_member_names_", [*Label._member_names_, made.name])
    monkeypatch.setitem(Label._member_map_, made.name, made)
    monkeypatch.setitem(Label._value2member_map_, made.value, made)
    assert Label(made.value) is max(Label) is made
    return made
