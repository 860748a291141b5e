"""Arrays in, results out: the axes, the spacings, and the same mask as the DICOM of the pixels."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

import lvseg
from lvseg.cine import Cine, Mask
from lvseg.errors import GeometryError, LabelMapError, ReadError, UsageError
from lvseg.phantom import Truth


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> object:
    return lvseg.load_model(tiny_model)


def test_two_lines_give_the_mask_of_the_dicom_of_the_same_pixels(
    phantom: tuple[Cine, Mask, Truth], phantom_dicom: Path, model: object
) -> None:
    cine, _, _ = phantom
    assert (cine.frames == cine.frames.astype(np.uint16)).all()  # stored in DICOM as they are
    array = cine.frames.astype(np.uint16)

    result = lvseg.segment(array, model, pixel_spacing_mm=(1.9, 1.7), slice_spacing_mm=16.0)

    dicom = lvseg.segment(phantom_dicom, model)
    assert dicom.mask.labels.any()
    assert result.mask.labels.tobytes() == dicom.mask.labels.tobytes()
    assert result.measurements.edv_ml == pytest.approx(dicom.measurements.edv_ml)
    again = lvseg.measure(result.mask.labels, pixel_spacing_mm=(1.9, 1.7), slice_spacing_mm=16.0)
    assert again.ef_percent == pytest.approx(dicom.measurements.ef_percent)


def test_three_axes_are_one_phase(phantom: tuple[Cine, Mask, Truth], model: object) -> None:
    frames = phantom[0].frames
    whole, one = lvseg.segment(frames[:1], model), lvseg.segment(frames[0], model)
    assert one.mask.labels.shape == (1, *frames.shape[1:])
    assert (one.mask.labels == whole.mask.labels).all()
    assert one.measurements.ef_percent is None
    assert {"one-phase", "unknown-spacing"} <= {issue.code for issue in one.issues}


def test_a_mask_is_measured_with_the_spacings_given() -> None:
    labels = np.zeros((2, 3, 5, 6), np.int64)
    labels[0, :2, 1:4, 1:5] = 1  # 2 slices x 12 pixels
    labels[1, 0, 1:3, 1:3] = 1  # 4 pixels
    values = lvseg.measure(labels, pixel_spacing_mm=(2.0, 3.0), slice_spacing_mm=8.0)
    # a pixel of 2 x 3 mm in a slab of 8 mm is 0.048 ml: 24 x 0.048 and 4 x 0.048
    assert (values.edv_ml, values.esv_ml) == (pytest.approx(1.152), pytest.approx(0.192))
    assert lvseg.measure(labels == 1, pixel_spacing_mm=(2.0, 3.0)).area_mm2[0][0] == 72.0
    assert lvseg.measure(labels.astype(float)).area_px[0] == (12, 12, 0)
    assert lvseg.measure(labels).edv_ml is None


@pytest.mark.parametrize("axes", [1, 2, 5])
def test_other_numbers_of_axes_are_refused_by_name(axes: int, model: object) -> None:
    shape = (1,) * (axes - 1) + (32,) if axes < 3 else (1, 1, 2, 32, 32)
    with pytest.raises(GeometryError, match=r"\[phase, slice, row, column\].*found"):
        lvseg.segment(np.arange(np.prod(shape)).reshape(shape), model)
    with pytest.raises(GeometryError, match=r"\[phase, slice, row, column\].*found"):
        lvseg.measure(np.zeros(shape, np.uint8))


def test_an_array_that_is_no_image_is_refused(model: object) -> None:
    with pytest.raises(LabelMapError, match="label map"):
        lvseg.segment(np.eye(32, dtype=np.uint8)[None], model)
    with pytest.raises(ReadError, match="real numbers"):
        lvseg.segment(np.ones((1, 32, 32), complex), model)
    with pytest.raises(ReadError, match="at least 16 pixels"):
        lvseg.segment(np.arange(8.0 * 40).reshape(1, 8, 40), model)
    with pytest.raises(ReadError, match="NaN"):
        lvseg.segment(np.full((1, 32, 32), np.nan), model)


def test_an_array_that_is_no_mask_is_refused() -> None:
    for values in (np.full((1, 4, 5), 3), np.full((1, 4, 5), -1), np.full((1, 4, 5), 0.5)):
        with pytest.raises(GeometryError, match="label"):
            lvseg.measure(values)


def test_spacings_are_two_numbers_and_one_and_belong_to_an_array(
    model: object, phantom_dicom: Path
) -> None:
    image = np.arange(32.0 * 40).reshape(1, 32, 40)
    with pytest.raises(GeometryError, match="two numbers"):
        lvseg.segment(image, model, pixel_spacing_mm=1.4)
    with pytest.raises(GeometryError, match="pixel spacing"):
        lvseg.segment(image, model, pixel_spacing_mm=(1400.0, 1400.0))
    with pytest.raises(UsageError, match="array only"):
        lvseg.segment(phantom_dicom, model, slice_spacing_mm=8.0)
    with pytest.raises(UsageError, match="array only"):
        lvseg.measure(Mask(np.zeros((1, 1, 4, 5), np.uint8), (0,)), slice_spacing_mm=8.0)


def test_results_are_a_dictionary_and_a_row(
    phantom: tuple[Cine, Mask, Truth], model: object
) -> None:
    result = lvseg.segment(
        phantom[0].frames, model, pixel_spacing_mm=(1.9, 1.7), slice_spacing_mm=16.0
    )
    document, row = result.to_dict(), result.row()
    assert document["study"]["format"] == "array"
    assert row["study"] == "array"
    assert row["edv_ml"] == document["edv_ml"] == round(result.measurements.edv_ml, 2)
    assert row["verdict"] == result.verdict
    assert row["findings"] == "; ".join(issue.code for issue in result.issues)
    assert row["model"] == "tiny"
    assert not any(isinstance(value, list | dict) for value in row.values())
    values = lvseg.measure(result.mask)
    assert values.to_dict()["phase_index"] == [0, 1, 2, 3]
    assert values.row()["ef_percent"] == row["ef_percent"]


def test_a_row_becomes_a_data_frame_where_pandas_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = lvseg.measure(np.zeros((1, 2, 4, 5), np.uint8))
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        values.to_dataframe()
    pandas = types.SimpleNamespace(DataFrame=lambda rows: ("frame", rows))
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    assert values.to_dataframe() == ("frame", [values.row()])
