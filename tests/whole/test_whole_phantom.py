"""The shipped model on phantoms: what ``lvseg demo`` shows, as classic and Enhanced DICOM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from enhanced_export import EXPORTS
from lvseg import model_store
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import run
from lvseg.predict import Predictor, available_runtimes, load_model


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return load_model(model_store.locate(model_store.DEFAULT))


@pytest.mark.parametrize("enhanced", [False, True], ids=["classic", "enhanced"])
def test_ejection_fraction_of_the_phantom(
    tmp_path: Path, predictor: Predictor, *, enhanced: bool
) -> None:
    cine, _, truth = beating_ventricle(PhantomOptions())
    EXPORTS[enhanced](cine, tmp_path)
    result = run(tmp_path, predictor)
    assert result.measurements.ef_percent == pytest.approx(truth.ef_percent, abs=5)
    assert result.measurements.phases.end_diastole in (0, 1, 19)


def test_engines_agree_on_the_phantom() -> None:
    cine, _, _ = beating_ventricle(PhantomOptions(phases=4, seed=3))
    folder = model_store.locate(model_store.DEFAULT)
    masks = [
        run_mask(cine, load_model(folder, runtime=name))  # type: ignore[arg-type]
        for name in available_runtimes()
    ]
    if len(masks) < 2:
        pytest.skip("missing: openvino beside onnxruntime")
    differing = (masks[0] != masks[1]).sum()
    assert masks[0].sum() > 1000
    assert differing <= 1e-4 * masks[0].sum()  # a pixel on the very edge may fall either way


def run_mask(cine, predictor: Predictor) -> np.ndarray:
    from lvseg.pipeline import segment_mask

    return segment_mask(cine, predictor).labels
