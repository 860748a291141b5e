"""Settings: one object, one TOML file, unknown keys refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lvseg.errors import UsageError
from lvseg.modelcard import InputSpec, ModelCard, OutputSpec, TrainingData
from lvseg.phantom import PhantomOptions, beating_ventricle
from lvseg.pipeline import assess
from lvseg.settings import Settings


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_what_a_file_leaves_out_keeps_its_default(tmp_path: Path) -> None:
    text = (
        'flips = true\n[postprocess]\ngap_phases = 3\n[measurement]\nbase_rule = "slices-of-ed"\n'
    )
    found = Settings.from_toml(written(tmp_path, text))
    plain = Settings()
    assert found == Settings(
        postprocess=replace(plain.postprocess, gap_phases=3),
        measurement=replace(plain.measurement, base_rule="slices-of-ed"),
        flips=True,
    )
    assert found.to_dict()["postprocess"]["gap_phases"] == 3


def test_limits_of_the_checks_come_from_the_file(tmp_path: Path) -> None:
    cine, mask, _ = beating_ventricle(
        PhantomOptions(
            rows=88, columns=96, pixel_spacing_mm=(2.1, 1.9), phases=9, heart_offset_mm=(9.0, -14.0)
        )
    )
    # nobody knows the size of the person and the errors of who drew it; no check objects
    known = ["unknown-body-size", "no-intervals"]
    assert [issue.code for issue in assess(cine, mask).issues] == known
    found = Settings.from_toml(written(tmp_path, "[limits]\nedv_ml = [10, 20]\nfew_slices = 20\n"))
    codes = [issue.code for issue in assess(cine, mask, settings=found).issues]
    assert codes == ["unknown-body-size", "few-slices", "implausible-edv", "no-intervals"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("gap_phases = 3", "gap_phases"),
        ("[postprocess]\ngaps = 3", r"postprocess\.gaps"),
        ("[postprocess]\ngap_phases = 'many'", r"postprocess\.gap_phases"),
        ("[measurement]\nbase_rule = 'none'", r"measurement\.base_rule"),
        ("[limits]\nfewest = 3", r"limits\.fewest"),
        ("[limits]\nef_percent = 5", r"limits\.ef_percent"),
        ("flips = ", "as TOML"),
        ("batch_size = 0", "at least 1"),
        ("batch_size = -2", "0 or more"),
        ("[postprocess]\nthreshold = nan", "from 0 to 1"),
        ("[postprocess]\nthreshold = 7.0", "from 0 to 1"),
        ("[postprocess]\nreach = inf", "finite"),
        ("[postprocess]\nsmoothing = 0.6", r"from 0 to 0\.5"),
        ("[limits]\nef_percent = [85, 5]", "smaller first"),
        ("[limits]\napex_cut_share = 1.5", r"limits\.apex_cut_share.*from 0 to 1"),
    ],
)
def test_what_a_file_may_not_say_is_named(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        Settings.from_toml(written(tmp_path, text))
    assert "\n" not in str(caught.value).split(": ")[0]


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="settings that can be read"):
        Settings.from_toml(tmp_path / "none.toml")


def test_the_threshold_is_the_models_unless_one_is_set() -> None:
    card = ModelCard(
        name="x",
        version="1",
        sha256="0" * 64,
        input=InputSpec(spacing_mm=1.33),
        output=OutputSpec(threshold=0.4),
        training=TrainingData(patients=(), split=""),
        parameters=0,
        intended_use="tests",
    )
    plain = Settings()
    assert plain.for_model(card).postprocess.threshold == 0.4
    own = replace(plain, postprocess=replace(plain.postprocess, threshold=0.7))
    assert own.for_model(card).postprocess.threshold == 0.7
