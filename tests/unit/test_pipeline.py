"""The whole path with a network that is one threshold, on hearts whose volumes are known.

Frames are the phantom's own mask, so the threshold sees exactly the cavity, and what remains is
the path itself: finding, cutting, going back, cleaning, measuring.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from mask_maker import cavity_alone

from lvseg.cine import Cine, Source, Study
from lvseg.errors import ModelInputError, NotACineError, UsageError
from lvseg.issues import Issue
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import run, segment_mask
from lvseg.postprocess import PostprocessSettings
from lvseg.settings import Settings
from lvseg.write.pictures import write_picture

#: Near the model's 1.33 mm: taken as it is. Fewer than 8 phases: no smoothing over time.
NEAR = PhantomOptions(
    phases=6, slices=11, rows=168, columns=152, pixel_spacing_mm=(1.37, 1.29), circular_fov=False
)


class Threshold:
    """Logit 20 (pixel - 1/2)."""

    runtime = "none"

    def __init__(self, threshold=0.5):
        self.card = ModelCard(
            name="threshold",
            version="1",
            sha256="0" * 64,
            input=InputSpec(spacing_mm=1.33, crop_px=64),
            output=OutputSpec(threshold=threshold),
            training=TrainingData(name="", citation="", licence="", patients=(), split=""),
            parameters=0,
            intended_use="tests",
        )

    def __call__(self, batch):
        return 20 * (batch - np.float32(0.5))


def ideal(options):
    """A cine that shows the cavity and nothing else, its mask and its truth."""
    cine, mask, truth = beating_ventricle(options)
    mask = cavity_alone(mask)
    return replace(cine, frames=mask.labels.astype(np.float32) * 250), mask, truth


@pytest.fixture(scope="module")
def heart():
    return ideal(NEAR)


def test_every_pixel_comes_back_and_the_ejection_fraction_is_the_closed_form(heart):
    cine, mask, truth = heart
    result = run(Study((cine,)), Threshold())
    np.testing.assert_array_equal(result.mask.labels, mask.labels)
    # sums of slabs stay within 1 % of the closed form, EF = 1 - ESV / EDV within 2 % of ESV / EDV
    assert result.measurements.edv_ml == pytest.approx(truth.edv_ml, rel=0.01)
    assert result.measurements.ef_percent == pytest.approx(truth.ef_percent, abs=0.8)
    phases = result.measurements.phases
    assert (phases.end_diastole, phases.end_systole) == (truth.ed_phase, truth.es_phase)


def test_a_resampled_study_keeps_its_grid_and_its_ejection_fraction():
    cine, mask, truth = ideal(replace(NEAR, pixel_spacing_mm=(2.1, 1.8), rows=112, columns=108))
    result = run(Study((cine,)), Threshold())
    assert result.mask.labels.shape == mask.labels.shape
    overlap = 2 * (result.mask.labels & mask.labels).sum()
    assert overlap / (result.mask.labels.sum() + mask.labels.sum()) > 0.97
    assert result.measurements.ef_percent == pytest.approx(truth.ef_percent, abs=2.5)


@pytest.mark.parametrize("offset", [(-55.0, 45.0), (50.0, -48.0)])
def test_a_heart_far_from_the_centre_is_found(offset):
    cine, mask, _ = ideal(replace(NEAR, heart_offset_mm=offset))
    np.testing.assert_array_equal(segment_mask(cine, Threshold()).labels, mask.labels)


def test_batch_size_and_flips_change_nothing_for_a_network_without_place(heart):
    cine, mask, _ = heart
    settings = Settings(batch_size=7, flips=False)
    np.testing.assert_array_equal(segment_mask(cine, Threshold(), settings).labels, mask.labels)


def test_the_threshold_is_the_cards(heart):
    """Probabilities reach 1 / (1 + exp(-10)) = 0.99995."""
    cine, _, _ = heart
    settings = Settings(
        postprocess=PostprocessSettings(faint_from=2)
    )  # no threshold relative to the peak
    assert segment_mask(cine, Threshold(threshold=0.9999), settings).labels.any()
    assert not segment_mask(cine, Threshold(threshold=0.99999), settings).labels.any()


def test_an_empty_study_has_no_numbers_and_says_why(heart):
    cine = replace(heart[0], frames=np.zeros_like(heart[0].frames))
    result = run(Study((cine,)), Threshold())
    assert not result.mask.labels.any()
    assert result.measurements.ef_percent is None
    assert result.verdict == "fail"
    assert "no-cavity" in [issue.code for issue in result.issues]


def test_findings_of_the_reader_come_first_and_stages_are_timed(heart):
    noticed = Issue("from-the-reader", "info", "text")
    stages = []
    study = Study((replace(heart[0], issues=(noticed,)),))
    result = run(study, Threshold(), progress=lambda *call: stages.append(call))
    assert result.issues[0] == noticed
    assert list(result.seconds) == [
        "read",
        "prepare",
        "locate",
        "predict",
        "postprocess",
        "measure",
    ]
    assert stages[-1] == ("predict", 66, 66)  # 6 phases x 11 slices
    assert result.card is not None


@pytest.mark.parametrize("spacing", [None, 1.4])
def test_a_picture_has_areas_and_no_ejection_fraction(tmp_path, spacing):
    rows, columns = np.mgrid[:90, :100]
    disc = (rows - 30) ** 2 + (columns - 60) ** 2 < 15**2
    shaded = np.where(disc, 240, 0) + (rows + columns) % 16
    write_picture(tmp_path / "slice.png", shaded.astype(np.uint8))
    result = run(tmp_path / "slice.png", Threshold(), spacing_mm=spacing)
    np.testing.assert_array_equal(result.mask.labels[0, 0], disc)
    values = result.measurements
    assert values.area_px == ((int(disc.sum()),),)
    if spacing is None:
        assert values.area_mm2 is None
        assert {"unscaled-input", "unknown-spacing"} <= {each.code for each in result.issues}
    else:
        assert values.area_mm2 == ((pytest.approx(disc.sum() * 1.96),),)
    assert values.edv_ml is values.ef_percent is values.volume_ml is None


def test_the_faults_of_a_source_reach_the_caller_as_themselves(tmp_path):
    tiny = Cine(np.zeros((1, 1, 12, 40), np.float32), Source("array", "x"))
    with pytest.raises(ModelInputError, match="12 x 40"):
        run(Study((tiny,)), Threshold())
    with pytest.raises(NotACineError):
        run(Study(()), Threshold())
    with pytest.raises(UsageError, match="above 0"):
        run(tmp_path, Threshold(), spacing_mm=0.0)
