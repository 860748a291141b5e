"""A tiny model, a phantom study as DICOM, and a way to call the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import Ended
from tiny_model import write_tiny_model

from lvseg.cine import Cine, Mask
from lvseg.phantom import PhantomOptions, Truth, beating_ventricle
from lvseg.phantom.dicom_export import write_dicom_cine

#: Small and quick; spacings are never equal.
SMALL = PhantomOptions(
    phases=4,
    slices=6,
    rows=112,
    columns=104,
    pixel_spacing_mm=(1.9, 1.7),
    thickness_mm=13.0,
    gap_mm=3.0,
    slices_above_base=0,
    shortening_slabs=0,
)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder: one threshold."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="session")
def phantom() -> tuple[Cine, Mask, Truth]:
    """A small beating ventricle."""
    return beating_ventricle(SMALL)


@pytest.fixture(scope="session")
def phantom_dicom(
    phantom: tuple[Cine, Mask, Truth], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same as a DICOM folder; read only."""
    folder = tmp_path_factory.mktemp("dicom") / "heart"
    write_dicom_cine(phantom[0], folder)
    return folder


@pytest.fixture
def lvseg_command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the real command line in this process."""
    from lvseg.cli import main

    def run(*arguments: object) -> Ended:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run
